"""Numbers of few bits, and back.

An activation that is quantised stays float32 here: it is a whole number, and has the
derivative that training gives it, as if it were not rounded ("straight through"). Where
the least number stands for zero, as behind a rectifier, quantising rectifies.
"""

import jax
import jax.numpy as jnp
import numpy as np
import onnx

from zf_jax.errors import BadInput
from zf_jax.pretrained.onnx_ops.table import Array, Node, is_numpy, operation


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
    limits = jnp.iinfo(kind)
    zero = _zero(node, zero_point, x)
    found = jnp.clip(_round(scaled), limits.min - zero, limits.max - zero) + zero
    return found.astype(kind) if is_numpy(x) else found


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


@jax.custom_jvp
def _round(x: Array) -> jax.Array:
    """To whole numbers, halves to the even; passes a derivative on as it is."""
    return jnp.round(x)


_round.defjvps(lambda tangent, _, x: tangent)


def _zero(node: Node, zero_point: Array | None, x: Array) -> Array | float:
    """The zero point for the entries of x, a number where there is one."""
    if zero_point is None:
        return 0.0
    if zero_point.size == 1 and is_numpy(zero_point):
        return float(zero_point.item())
    return _along(node, zero_point, x).astype(x.dtype)


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
