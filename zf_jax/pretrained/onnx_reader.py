"""The graph of an ONNX file as a `Graph`. Reading one runs no code of the file's."""

from collections.abc import Sequence

import onnx

from zf_jax.errors import BadInput
from zf_jax.pretrained import protobuf
from zf_jax.pretrained.onnx_graph import Graph
from zf_jax.pretrained.onnx_ops.table import Node


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
