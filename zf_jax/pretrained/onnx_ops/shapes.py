"""Operations that move entries and do not compute."""

import math

import numpy as np

from zf_jax.pretrained.onnx_ops.table import Array, Node, integers, operation


@operation("Constant")
def constant(node: Node) -> np.ndarray:
    """The array that the node stores."""
    (value,) = node.attributes.values()
    if "value_float" in node.attributes or "value_floats" in node.attributes:
        return np.asarray(value, np.float32)
    return np.asarray(value)


@operation("Shape")
def shape(node: Node, x: Array) -> np.ndarray:
    """The shape, or a part of it, int64."""
    return np.asarray(x.shape, np.int64)[node.get("start", 0) : node.get("end")]


@operation("Flatten")
def flatten(node: Node, x: Array) -> Array:
    """Two axes: those before `axis` as one, and the others as one."""
    axis = node.get("axis", 1)
    first = math.prod(x.shape[:axis]) if axis else 1
    return x.reshape(first, math.prod(x.shape) // first if first else -1)


@operation("Reshape", static=(1,))
def reshape(node: Node, x: Array, shape: Array) -> Array:
    """The same entries in another shape; 0 stands for an axis as it was."""
    wanted = integers(shape)
    if not node.get("allowzero", 0):
        wanted = tuple(n or x.shape[i] for i, n in enumerate(wanted))
    return x.reshape(wanted)
