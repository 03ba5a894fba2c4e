"""An ONNX graph, evaluated node by node in JAX.

What does not depend on the image is computed once, when the graph is read, and what
depends on the image's shape alone when it is traced; both stay NumPy.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from jax.ad_checkpoint import checkpoint_name

from zf_jax.errors import BadInput
from zf_jax.pretrained import protobuf
from zf_jax.pretrained.onnx_ops.table import OPERATIONS, Array, Node, is_numpy

Tag = Callable[[jax.Array, str], jax.Array]
ONE = Fraction(1)

# Their results differ from call to call.
_RANDOM = {"RandomNormal", "RandomUniform", "Bernoulli", "Multinomial"}
_RANDOM |= {"RandomNormalLike", "RandomUniformLike"}


@dataclasses.dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can be computed, and what they are given.

    Attributes:
      nodes: those that are not constant.
      constants: values by name, stored or computed.
      inputs: names of the values that are given.
      outputs: names of the values that are asked for.
    """

    nodes: tuple[Node, ...]
    constants: dict[str, np.ndarray]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def needs(self) -> set[str]:
        """Names of values that the nodes take, those of their own graphs included."""
        names = set(self.outputs)
        for node in self.nodes:
            names.update(_taken(node))
        return names - {""}

    def cut(self, outputs: Sequence[str]) -> "Graph":
        """The graph with other outputs, without the nodes that they do not need."""
        wanted, kept = set(outputs), []
        for node in reversed(self.nodes):
            if wanted & set(node.outputs):
                kept.append(node)
                wanted.update(_taken(node))
        cut = dataclasses.replace(
            self, nodes=tuple(reversed(kept)), outputs=tuple(outputs)
        )
        needed = cut.needs()
        constants = {n: v for n, v in self.constants.items() if n in needed}
        return dataclasses.replace(cut, constants=constants)

    def folded(self) -> "Graph":
        """The graph with everything that is constant computed."""
        known, left = dict(self.constants), []
        todo = list(reversed(self.nodes))
        while todo:
            node = todo.pop()
            constant = node.op not in _RANDOM and _taken(node) <= {"", *known}
            condition = known.get(node.inputs[0]) if node.inputs else None
            if node.op == "If" and condition is not None:
                nodes, stored = _inlined(node, condition)
                todo += reversed(nodes)
                known |= stored
            elif constant and node.op in OPERATIONS:
                _run(node, known, known)
            else:
                left.append(node)
        return dataclasses.replace(self, nodes=tuple(left), constants=known)

    def evaluate(
        self,
        given: Mapping[str, Array],
        *,
        repeats: Fraction = ONE,
        tag: Tag = checkpoint_name,
    ) -> tuple[Array, ...]:
        """The outputs.

        Args:
          given: by name, the inputs, and what stands in the place of constants.
          repeats: images that are given over images that the graph is written for.
          tag: names the values that are not NumPy: (value, name) -> value.

        Raises:
          BadInput: a node cannot be computed; it is named.
        """
        values = self.constants | dict(given)
        for node in self.nodes:
            # A constant that was given another value keeps its own for shapes.
            _run(node, values, self.constants, repeats, tag)
        return tuple(values[name] for name in self.outputs)

    def without(self, names: Collection[str]) -> "Graph":
        """The graph without these constants, which are to be given.

        Those that decide shapes stay, too.
        """
        kept = _static(self)
        constants = {
            name: value
            for name, value in self.constants.items()
            if name not in names or name in kept
        }
        return dataclasses.replace(self, constants=constants)

    def missing(self) -> list[Node]:
        """The nodes whose operation is not in the table.

        Which branch an `If` takes that is left here is known when it is computed.
        """
        known = {"If", *OPERATIONS}
        return [node for node in self.nodes if node.op not in known]


def read(graph: onnx.GraphProto, opset: int) -> Graph:
    """The graph of a file, nothing of it computed yet.

    Raises:
      BadInput: a node or an array is not what ONNX allows.
    """
    constants = {each.name: protobuf.array(each) for each in graph.initializer}
    nodes = tuple(_node(each, opset) for each in graph.node)
    inputs = (each.name for each in graph.input if each.name not in constants)
    return Graph(nodes, constants, tuple(inputs), tuple(o.name for o in graph.output))


def _node(node: onnx.NodeProto, opset: int) -> Node:
    texts = (node.op_type, node.name, node.domain, *node.input, *node.output)
    # protobuf gives text that is not UTF-8 as bytes.
    if not all(isinstance(text, str) for text in texts):
        raise BadInput(f"{protobuf.describe(node)} has a name that is no text")
    own = node.domain in ("", "ai.onnx")
    op = node.op_type if own else f"{node.domain}.{node.op_type}"
    try:
        attributes = {
            each.name: _attribute(onnx.helper.get_attribute_value(each), opset)
            for each in node.attribute
        }
    except ValueError as error:
        reason = protobuf.one_line(error)
        raise BadInput(f"{protobuf.describe(node)}: {reason}") from None
    name = protobuf.name(node)
    return Node(op, name, attributes, opset, tuple(node.input), tuple(node.output))


def _attribute(value, opset: int):
    match value:
        case bytes():
            return value.decode(errors="replace")
        case onnx.TensorProto():
            return protobuf.array(value)
        case onnx.GraphProto():
            return read(value, opset)
        case str() | int() | float():
            return value
        case _ if isinstance(value, Sequence):
            return tuple(_attribute(each, opset) for each in value)
        case _:
            return value


def _graphs(node: Node) -> list[Graph]:
    return [each for each in node.attributes.values() if isinstance(each, Graph)]


def _taken(node: Node) -> Set[str]:
    """Names of what the node takes, from outside of its own graphs."""
    names = set(node.inputs)
    for graph in _graphs(node):
        made = {output for each in graph.nodes for output in each.outputs}
        names |= graph.needs() - made - set(graph.constants)
    return names


def _inlined(node: Node, condition: Array) -> tuple[list[Node], dict[str, np.ndarray]]:
    """The nodes and the constants of the branch that an `If` takes."""
    branch = _branch(node, condition)
    renamed = [
        node._replace(op="Identity", attributes={}, inputs=(inner,), outputs=(outer,))
        for inner, outer in zip(branch.outputs, node.outputs, strict=True)
    ]
    return [*branch.nodes, *renamed], branch.constants


def _branch(node: Node, condition: Array) -> Graph:
    if not is_numpy(condition):
        raise BadInput(f"{node}: its condition depends on the pixels of the image")
    return node.get("then_branch" if np.all(condition) else "else_branch")


def _run(
    node: Node,
    values: dict[str, Array],
    constants: Mapping[str, np.ndarray],
    repeats: Fraction = ONE,
    tag: Tag = checkpoint_name,
) -> None:
    """Computes the node from `values`, and enters its results there."""
    try:
        if node.op == "If":
            branch = _branch(node, values[node.inputs[0]])
            own = {**constants, **branch.constants}
            branch = dataclasses.replace(branch, constants=own)
            results = branch.evaluate(values, repeats=repeats, tag=tag)
        else:
            results = _compute(node, _inputs(node, values, constants, repeats))
    except BadInput as reason:
        raise BadInput(f"{node}: {reason}") from None
    # Whatever JAX or NumPy raises where shapes or types do not fit.
    except Exception as error:
        shapes = ", ".join(
            "x".join(map(str, np.shape(values[name]))) or "scalar"
            for name in node.inputs
            if name in values
        )
        raise BadInput(
            f"{node} cannot be computed from {shapes} ({protobuf.one_line(error)})"
        ) from error
    for name, result in zip(node.outputs, results, strict=False):
        if name:
            values[name] = result if is_numpy(result) else tag(result, name)


def _inputs(
    node: Node,
    values: Mapping[str, Array],
    constants: Mapping[str, np.ndarray],
    repeats: Fraction,
) -> list[Array | None]:
    if node.op not in OPERATIONS:
        raise BadInput("is an operation that is not known here")
    inputs = []
    for i, name in enumerate(node.inputs):
        static = i in OPERATIONS[node.op].static
        source = constants if static and name in constants else values
        if name and name not in source:
            raise BadInput(f"its input {name!r} is missing")
        inputs.append(source[name] if name else None)
        if static and not is_numpy(inputs[-1]):
            raise BadInput(f"its input {name!r} depends on the pixels of the image")
    written = node.op == "Reshape" and node.inputs[1] in constants
    if repeats != ONE and written and not is_numpy(inputs[0]):
        inputs[1] = _repeated(inputs[0].shape, inputs[1], repeats)
    return inputs


def _repeated(
    shape: tuple[int, ...], wanted: np.ndarray, repeats: Fraction
) -> np.ndarray:
    """The shape that a Reshape to `wanted` makes of `repeats` times as many images.

    Args:
      shape: of what is reshaped, with all images.
      wanted: as the graph has it.
      repeats: given images over those of the graph.

    Raises:
      BadInput: the images do not lie along the first axis.
    """
    if not shape or shape[0] % repeats.numerator:
        raise BadInput("reshapes values whose first axis is not that of the images")
    wanted = np.array(wanted, np.int64)
    # -1 and 0 follow the images by themselves.
    if wanted.size and wanted[0] > 0:
        first = int(wanted[0]) * repeats
        if first.denominator > 1:
            raise BadInput("reshapes some images to one; export it for one image")
        wanted[0] = int(first)
    return wanted


def _compute(node: Node, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
    function = OPERATIONS[node.op].compute
    if not all(map(is_numpy, inputs)):
        results = function(node, *inputs)
        return results if isinstance(results, tuple) else (results,)
    # 64-bit integers, as in ONNX, and now even where a function is traced.
    with (
        jax.ensure_compile_time_eval(),
        jax.enable_x64(True),
        np.errstate(all="ignore"),
    ):
        results = function(node, *inputs)
        results = results if isinstance(results, tuple) else (results,)
        return tuple(np.asarray(each) for each in results)


def is_weight(value: np.ndarray) -> bool:
    """Whether the constant may be a parameter: floats, more than one."""
    return value.size > 1 and jnp.issubdtype(value.dtype, jnp.floating)


def weights(graph: Graph) -> dict[str, np.ndarray]:
    """The constants of the graph that are parameters of the model, float32.

    What decides a shape in one node and is a number in another is a parameter too.
    """
    found = {}
    for node in graph.nodes:
        static = OPERATIONS[node.op].static if node.op in OPERATIONS else ()
        for i, name in enumerate(node.inputs):
            value = graph.constants.get(name)
            if value is not None and i not in static and is_weight(value):
                with np.errstate(over="ignore"):
                    found[name] = np.asarray(value, np.float32)
        for inner in _graphs(node):
            own = {**graph.constants, **inner.constants}
            found |= weights(dataclasses.replace(inner, constants=own))
    return found


def _static(graph: Graph) -> set[str]:
    """Names of the values that decide shapes."""
    found = set()
    for node in graph.nodes:
        static = OPERATIONS[node.op].static if node.op in OPERATIONS else ()
        found.update(node.inputs[i] for i in static if i < len(node.inputs))
        found = found.union(*map(_static, _graphs(node)))
    return found
