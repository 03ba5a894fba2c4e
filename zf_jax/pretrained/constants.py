"""Arrays of an ONNX graph that do not depend on the image: stored or computed.

Exporters leave arithmetic between stored arrays in the graph, such as the transpose of
a kernel. The onnx package's reference implementation computes it.
"""

import math

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from zf_jax.errors import BadInput
from zf_jax.pretrained import protobuf

# All entries that a file may have computed: the largest classifiers need half of this.
_MAX_COMPUTED = 2**28
# Exporters compute weights with these. None gives more entries than it was given.
_FOLDED = {"Add", "Sub", "Mul", "Div", "Sqrt", "Reciprocal", "Neg"}
_FOLDED |= {"Cast", "Constant", "Flatten", "Identity", "Reshape", "Squeeze"}
_FOLDED |= {"Transpose", "Unsqueeze"}
_MAX_DEPTH = 50


class Constants:
    """The constants of a graph, computed where they are asked for."""

    def __init__(self, graph: onnx.GraphProto, opset: int):
        self._opset = opset
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._producers = {
            output: node for node in graph.node for output in node.output
        }
        self._folded: dict[str, np.ndarray] = {}
        self._computed = 0

    def stored(self, name: str) -> bool:
        """Whether the file stores an array of that name."""
        return name in self._stored

    def get(self, name: str, depth: int = 0) -> np.ndarray:
        """The array called `name`.

        Raises:
          BadInput: there is none, it is damaged, or it depends on the image.
        """
        if name in self._stored:
            return protobuf.array(self._stored[name])
        if name in self._folded:
            return self._folded[name]
        node = self._producers.get(name)
        if node is None:
            raise BadInput(f"its input {name!r} is missing")
        if node.op_type not in _FOLDED | {"ConstantOfShape"} or depth > _MAX_DEPTH:
            raise BadInput(
                f"its input {name!r} comes from {protobuf.describe(node)}, no weight"
            )
        inputs = [self.get(each, depth + 1) for each in node.input if each]
        self._folded[name] = folded = self._evaluate(node, inputs)
        return folded

    def _evaluate(self, node: onnx.NodeProto, inputs: list[np.ndarray]) -> np.ndarray:
        try:
            self._computed += _result_entries(node, inputs)
            if self._computed > _MAX_COMPUTED:
                raise BadInput(f"{protobuf.describe(node)} computes too many entries")
            if node.op_type == "ConstantOfShape":
                return _constant_of_shape(node, self._opset, inputs[0])
            names = [each for each in node.input if each]
            info = [helper.make_tensor_value_info(n, 0, None) for n in names]
            out = [helper.make_tensor_value_info(node.output[0], 0, None)]
            opset = [helper.make_opsetid("", self._opset)]
            model = helper.make_model(
                helper.make_graph([node], "constant", info, out), opset_imports=opset
            )
            feeds = dict(zip(names, inputs, strict=True))
            return np.asarray(ReferenceEvaluator(model).run(None, feeds)[0])
        except BadInput:
            raise
        # The reference implementation raises anything at nonsense.
        except Exception as error:
            raise BadInput(
                f"{protobuf.describe(node)} cannot be computed "
                f"({protobuf.one_line(error)})"
            ) from None


def _result_entries(node: onnx.NodeProto, inputs: list[np.ndarray]) -> int:
    """An upper bound of the number of entries of the node's result."""
    if node.op_type == "ConstantOfShape":
        return math.prod(int(n) for n in inputs[0].ravel())
    if node.op_type in ("Add", "Sub", "Mul", "Div"):
        return math.prod(np.broadcast_shapes(*(each.shape for each in inputs)))
    return sum(each.size for each in inputs)


def _constant_of_shape(
    node: onnx.NodeProto, opset: int, shape: np.ndarray
) -> np.ndarray:
    """One value broadcast to the shape, so that it takes no memory."""
    value = protobuf.attributes(node, opset).get("value")
    one = np.float32(0) if value is None else protobuf.array(value).ravel()[0]
    return np.broadcast_to(one, tuple(int(n) for n in shape.ravel()))
