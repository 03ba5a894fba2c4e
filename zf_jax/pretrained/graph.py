"""An ONNX graph as a chain: the nodes that an image passes one after the other.

Nothing here knows what a layer is.
"""

import pathlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import onnx

from zf_jax.errors import BadInput
from zf_jax.pretrained import protobuf
from zf_jax.pretrained.constants import Constants

# These read the shape of an image, not its values.
_SHAPE_OPS = {"Shape", "Size"}


class Node(NamedTuple):
    """One operation of the chain.

    Attributes:
      op: its type, as ONNX calls it.
      name: its own, for messages; its output's where it has none.
      attributes: as Python values.
      inputs: arrays, in ONNX's order; None for the input that is computed from the
        image, and where an input is left out or computed from the image's shape.
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
      shape: three lengths of the image's axes after that of the batch, in the graph's
        order; None where the file leaves one open.
    """

    def __init__(self, path: pathlib.Path):
        """Reads the file.

        Raises:
          BadInput: no such file, not ONNX, of another opset, or without one image.
        """
        self._path = path
        model = protobuf.read(path)
        self._opset = protobuf.opset(path, model)
        self._constants = Constants(model.graph, self._opset)
        self._consumers = defaultdict(list)
        for node in model.graph.node:
            # An input that is left out has the empty name.
            for name in set(node.input) - {""}:
                self._consumers[name].append(node)
        self.image, self.shape = self._find_image(model.graph)

    def _find_image(self, graph) -> tuple[str, tuple[int | None, ...]]:
        found = {}
        for given in graph.input:
            shape = given.type.tensor_type.shape
            if not self._constants.stored(given.name) and len(shape.dim) == 4:
                sizes = (dim.dim_value for dim in list(shape.dim)[1:])
                found[given.name] = tuple(n if n > 0 else None for n in sizes)
        if len(found) != 1:
            listed = protobuf.one_line(": " + ", ".join(map(repr, found)))
            names = listed if found else ""
            raise BadInput(
                f"{self._path}: takes {len(found)} images{names}; a net takes one"
            )
        return found.popitem()

    def chain(self) -> Iterator[Node]:
        """The nodes from the image to the output, in order.

        Raises:
          BadInput: the graph branches or joins, is a ring, or a weight is missing.
        """
        tensor, passed = self.image, set()
        while nodes := [
            node for node in self._consumers[tensor] if node.op_type not in _SHAPE_OPS
        ]:
            if len(nodes) > 1:
                names = ", ".join(map(protobuf.describe, nodes[:3]))
                raise BadInput(f"the graph branches to {len(nodes)} nodes ({names})")
            node = nodes[0]
            if id(node) in passed:
                raise BadInput(
                    f"{protobuf.describe(node)} is passed twice, the graph is a ring"
                )
            passed.add(id(node))
            yield self._node(node, tensor)
            tensor = node.output[0] if node.output else ""

    def _node(self, node: onnx.NodeProto, tensor: str) -> Node:
        texts = (node.op_type, node.name, node.domain, *node.input, *node.output)
        described = protobuf.describe(node)
        # protobuf gives text that is not UTF-8 as bytes.
        if not all(isinstance(text, str) for text in texts):
            raise BadInput(f"{described} has a name that is no text")
        if node.domain not in ("", "ai.onnx"):
            raise BadInput(f"{described} is of {node.domain}, not of ONNX itself")
        if list(node.input).count(tensor) > 1:
            raise BadInput(f"{described} takes the same values twice")
        # The shape that Reshape leads to is known from the node after it.
        wanted = [
            name if name != tensor and node.op_type != "Reshape" else ""
            for name in node.input
        ]
        try:
            inputs = tuple(self._constants.get(n) if n else None for n in wanted)
        except BadInput as reason:
            raise BadInput(f"{described}: {reason}") from None
        attributes = protobuf.attributes(node, self._opset)
        names = tuple(node.input)
        return Node(node.op_type, protobuf.name(node), attributes, inputs, names)
