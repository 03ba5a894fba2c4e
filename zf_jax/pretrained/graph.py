"""An ONNX file as the way of one image through it: node after node, weights beside.

Nothing here knows what a layer is. A file is a protobuf: reading it runs no code.
"""

import math
import pathlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import onnx
from google.protobuf.message import Error as ProtobufError
from onnx import defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from zf_jax.errors import BadInput

OPSETS = range(1, 22)
# An ONNX file itself can hold no larger array than this many float32 (2 GiB).
LARGEST = 2**29
# What a file may have computed in all: the largest classifiers are half of this.
_COMPUTED = 2**28
# What exporters compute weights with; none of these gives more than it was given.
_FOLDED = {"Add", "Sub", "Mul", "Div", "Sqrt", "Reciprocal", "Neg"}
_FOLDED |= {"Cast", "Constant", "Flatten", "Identity", "Reshape", "Squeeze"}
_FOLDED |= {"Transpose", "Unsqueeze"}
# These look at an image's shape, not at the image.
_ASIDE = {"Shape", "Size"}
_DEEPEST = 50


class Node(NamedTuple):
    """One operation on the image's way.

    Attributes:
      op: its type, as ONNX calls it.
      name: its own, for messages; its output's where it has none.
      attributes: as Python values.
      inputs: arrays, in ONNX's order; None where the image comes in, and where an
        input is left out or computed from the image's shape.
      names: of the inputs.
    """

    op: str
    name: str
    attributes: dict[str, Any]
    inputs: tuple[np.ndarray | None, ...]
    names: tuple[str, ...]


class Graph:
    """An ONNX graph.

    Attributes:
      image: name of the one input that is an image.
      size: (channels or rows, ..., ...) of it after the axis of images; None where
        the file leaves them open.
    """

    def __init__(self, path: pathlib.Path):
        """Reads the file.

        Raises:
          BadInput: no such file, not ONNX, of another opset, or without one image.
        """
        self._path = path
        model = _read(path)
        self._opset = _opset(path, model)
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._made = {
            output: node for node in model.graph.node for output in node.output
        }
        self._folded: dict[str, np.ndarray] = {}
        self._computed = 0
        self._uses = defaultdict(list)
        for node in model.graph.node:
            # An input that is left out has the empty name.
            for name in set(node.input) - {""}:
                self._uses[name].append(node)
        self.image, self.size = self._find_image(model.graph)

    def _find_image(self, graph) -> tuple[str, tuple[int | None, ...]]:
        found = {}
        for given in graph.input:
            shape = given.type.tensor_type.shape
            if given.name not in self._stored and len(shape.dim) == 4:
                sizes = (dim.dim_value for dim in list(shape.dim)[1:])
                found[given.name] = tuple(n if n > 0 else None for n in sizes)
        if len(found) != 1:
            names = one_line(": " + ", ".join(map(repr, found))) if found else ""
            raise BadInput(
                f"{self._path}: takes {len(found)} images{names}; a net takes one"
            )
        return found.popitem()

    def way(self) -> Iterator[Node]:
        """The nodes that the image passes, in order, up to where nothing follows.

        Raises:
          BadInput: the way forks or joins, goes round, or a weight is missing.
        """
        tensor, passed = self.image, set()
        while users := [u for u in self._uses[tensor] if u.op_type not in _ASIDE]:
            if len(users) > 1:
                names = ", ".join(f"{describe(user)}" for user in users[:3])
                raise BadInput(f"the way goes to {len(users)} nodes ({names}), not one")
            node = users[0]
            if id(node) in passed:
                raise BadInput(f"{describe(node)} is passed twice, the graph is a ring")
            passed.add(id(node))
            yield self._node(node, tensor)
            tensor = node.output[0] if node.output else ""

    def _node(self, node: onnx.NodeProto, tensor: str) -> Node:
        texts = (node.op_type, node.name, node.domain, *node.input, *node.output)
        # What is no UTF-8 protobuf hands over as bytes.
        if not all(isinstance(text, str) for text in texts):
            raise BadInput(f"{describe(node)} has a name that is no text")
        if node.domain not in ("", "ai.onnx"):
            raise BadInput(f"{describe(node)} is of {node.domain}, not of ONNX itself")
        if list(node.input).count(tensor) > 1:
            raise BadInput(f"{describe(node)} takes the same values twice")
        # Where a reshape leads is known from what follows it.
        wanted = [
            name if name != tensor and node.op_type != "Reshape" else ""
            for name in node.input
        ]
        try:
            inputs = tuple(self._constant(name) if name else None for name in wanted)
        except BadInput as reason:
            raise BadInput(f"{describe(node)}: {reason}") from None
        name = node.name or (node.output[0] if node.output else "")
        attributes = _attributes(node, self._opset)
        return Node(node.op_type, name, attributes, inputs, tuple(node.input))

    def _constant(self, name: str, depth: int = 0) -> np.ndarray:
        """The array called `name`: stored, or computed from what is stored."""
        if name in self._stored:
            return _array(self._stored[name])
        if name in self._folded:
            return self._folded[name]
        node = self._made.get(name)
        if node is None:
            raise BadInput(f"its input {name!r} is missing")
        if node.op_type not in _FOLDED | {"ConstantOfShape"} or depth > _DEEPEST:
            raise BadInput(f"its input {name!r} comes from {describe(node)}, no weight")
        given = [self._constant(each, depth + 1) for each in node.input if each]
        self._folded[name] = folded = self._evaluate(node, given)
        return folded

    def _evaluate(self, node: onnx.NodeProto, given: list[np.ndarray]) -> np.ndarray:
        try:
            self._computed += _entries(node, given)
            if self._computed > _COMPUTED:
                raise BadInput(f"{describe(node)} computes too many entries")
            if node.op_type == "ConstantOfShape":
                return _repeated(node, self._opset, given[0])
            names = [each for each in node.input if each]
            info = [helper.make_tensor_value_info(n, 0, None) for n in names]
            out = [helper.make_tensor_value_info(node.output[0], 0, None)]
            opset = [helper.make_opsetid("", self._opset)]
            model = helper.make_model(
                helper.make_graph([node], "constant", info, out), opset_imports=opset
            )
            feeds = dict(zip(names, given, strict=True))
            return np.asarray(ReferenceEvaluator(model).run(None, feeds)[0])
        except BadInput:
            raise
        # Whatever the reference implementation makes of nonsense.
        except Exception as error:
            raise BadInput(
                f"{describe(node)} cannot be computed ({one_line(error)})"
            ) from None


def describe(node: onnx.NodeProto) -> str:
    """The node for a message."""
    name = node.name or (node.output[0] if node.output else "")
    return f"node {name!r} ({node.op_type})"


def one_line(text: object) -> str:
    """What an error says, or a file, as one line that a terminal can show."""
    line = "".join(c if c.isprintable() else " " for c in str(text)[:2000])
    return " ".join(line.split())[:400] or type(text).__name__


def _read(path: pathlib.Path) -> onnx.ModelProto:
    if not path.is_file():
        what = "not a file" if path.exists() else "no such file"
        raise BadInput(f"{path}: {what}")
    try:
        model = onnx.load(path, format="protobuf")
    except MemoryError:
        raise BadInput(f"{path}: larger than the memory") from None
    except (ProtobufError, onnx.checker.ValidationError, ValueError) as error:
        raise BadInput(f"{path}: not a whole ONNX file ({one_line(error)})") from None
    except OSError as error:
        # Weights in files of their own, beside it.
        raise BadInput(f"{path}: cannot be read ({one_line(error)})") from None
    if not model.graph.node:
        raise BadInput(f"{path}: not an ONNX file, or one without a net")
    return model


def _opset(path: pathlib.Path, model: onnx.ModelProto) -> int:
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    opset = versions[0] if versions else 1
    if opset not in OPSETS:
        raise BadInput(
            f"{path}: of opset {opset}, known are {OPSETS[0]} to {OPSETS[-1]}; "
            "onnx.version_converter converts it"
        )
    return opset


def _attributes(node: onnx.NodeProto, opset: int) -> dict[str, Any]:
    """As Python values, of the types that the opset gives them.

    Raises:
      BadInput: the opset has no such attribute, or fewer inputs.
    """
    if not defs.has(node.op_type, opset):
        raise BadInput(f"{describe(node)} is nothing that opset {opset} has")
    known = defs.get_schema(node.op_type, opset)
    if len(node.input) > known.max_input:
        raise BadInput(f"{describe(node)} takes {len(node.input)} inputs, too many")
    for each in node.attribute:
        given = known.attributes.get(each.name)
        if given is None or given.type.value != each.type:
            raise BadInput(
                f"{describe(node)} has an attribute {each.name!r} that opset {opset} "
                "has not, or of another type"
            )
    try:
        return {a.name: helper.get_attribute_value(a) for a in node.attribute}
    except (ValueError, TypeError) as error:
        raise BadInput(f"{describe(node)}: {one_line(error)}") from None


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    if math.prod(tensor.dims) > LARGEST or min(tensor.dims, default=0) < 0:
        raise BadInput(f"{tensor.name!r} of shape {list(tensor.dims)} cannot be")
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{tensor.name!r} is damaged ({one_line(error)})") from None


def _entries(node: onnx.NodeProto, given: list[np.ndarray]) -> int:
    """How many entries the node's result has, at most."""
    if node.op_type == "ConstantOfShape":
        return math.prod(int(n) for n in given[0].ravel())
    if node.op_type in ("Add", "Sub", "Mul", "Div"):
        return math.prod(np.broadcast_shapes(*(each.shape for each in given)))
    return sum(each.size for each in given)


def _repeated(node: onnx.NodeProto, opset: int, shape: np.ndarray) -> np.ndarray:
    """One value in a shape, without the memory for it."""
    value = _attributes(node, opset).get("value")
    one = np.float32(0) if value is None else _array(value).ravel()[0]
    return np.broadcast_to(one, tuple(int(n) for n in shape.ravel()))
