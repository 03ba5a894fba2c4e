"""Operations that compute each entry by itself."""

import jax
import numpy as np

from zf_jax.pretrained.onnx_ops.table import Array, Node, is_numpy, operation


@operation("Add")
def add(node: Node, a: Array, b: Array) -> Array:
    """a + b, broadcast."""
    return a + b


@operation("Relu")
def relu(node: Node, x: Array) -> Array:
    """The rectifier."""
    return np.maximum(x, 0) if is_numpy(x) else jax.nn.relu(x)


@operation("Softmax")
def softmax(node: Node, x: Array) -> jax.Array:
    """Along one axis; before opset 13 along that axis and all after it."""
    if node.opset >= 13:
        return jax.nn.softmax(x, axis=node.get("axis", -1))
    first = node.get("axis", 1) % x.ndim
    return jax.nn.softmax(x, axis=tuple(range(first, x.ndim)))
