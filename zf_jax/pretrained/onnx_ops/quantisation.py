"""Numbers of few bits, and back.

Rounding has no derivative: what an activation that is quantised passes back is zero.
"""

import jax.numpy as jnp
import numpy as np
import onnx

from zf_jax.errors import BadInput
from zf_jax.pretrained.onnx_ops.table import Array, Node, operation


@operation("QuantizeLinear")
def quantize_linear(
    node: Node, x: Array, scale: Array, zero_point: Array | None = None
) -> Array:
    """round(x / scale) + zero_point, in the range of the type; halves to the even."""
    if zero_point is not None:
        kind = zero_point.dtype
    else:
        stored = node.get("output_dtype", 0) or onnx.TensorProto.UINT8
        kind = onnx.helper.tensor_dtype_to_np_dtype(stored)
    precision = node.get("precision", 0)
    wide = onnx.helper.tensor_dtype_to_np_dtype(precision) if precision else scale.dtype
    own = _along(node, scale, x)
    scaled = (x.astype(wide) / own.astype(wide)).astype(x.dtype)
    if not jnp.issubdtype(kind, jnp.integer):
        return _as_small_float(node, scaled, kind)
    found = jnp.round(scaled)
    if zero_point is not None:
        found = found + _along(node, zero_point, x).astype(found.dtype)
    limits = jnp.iinfo(kind)
    return jnp.clip(found, int(limits.min), int(limits.max)).astype(kind)


@operation("DequantizeLinear")
def dequantize_linear(
    node: Node, x: Array, scale: Array, zero_point: Array | None = None
) -> Array:
    """(x - zero_point) * scale, in the scale's type."""
    kind = scale.dtype
    if stored := node.get("output_dtype", 0):
        kind = onnx.helper.tensor_dtype_to_np_dtype(stored)
    found = jnp.asarray(x).astype(jnp.float32)
    if zero_point is not None:
        found = found - _along(node, zero_point, x).astype(jnp.float32)
    return (found * _along(node, scale, x).astype(jnp.float32)).astype(kind)


@operation("DynamicQuantizeLinear")
def dynamic_quantize_linear(node: Node, x: Array) -> tuple[Array, Array, Array]:
    """x in uint8, the scale and the zero point, which are those of its range with 0."""
    low, high = jnp.minimum(x.min(), 0), jnp.maximum(x.max(), 0)
    scale = (high - low) / 255
    safe = jnp.where(scale == 0, 1, scale)
    zero_point = jnp.clip(jnp.round(-low / safe), 0, 255)
    found = jnp.clip(jnp.round(x / safe) + zero_point, 0, 255)
    return found.astype(jnp.uint8), scale, zero_point.astype(jnp.uint8)


def _as_small_float(node: Node, x: Array, kind: np.dtype) -> Array:
    if node.get("saturate", 1):
        largest = float(jnp.finfo(kind).max)
        x = jnp.where(jnp.isinf(x) | jnp.isnan(x), x, jnp.clip(x, -largest, largest))
    return x.astype(kind)


def _along(node: Node, value: Array, x: Array) -> Array:
    """The scale or zero point for the entries of x: one, or by axis, or by block."""
    if value.size == 1 and not node.get("block_size", 0):
        return value.reshape((1,) * x.ndim)
    axis = node.get("axis", 1) % x.ndim
    if size := node.get("block_size", 0):
        return jnp.repeat(value, size, axis)[tuple(slice(n) for n in x.shape)]
    if value.ndim != 1:
        raise BadInput(f"has a scale or zero point of shape {value.shape}")
    return value.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
