"""Filtering: correlation with learned filters, and its transpose (section 2.1).

The transpose is derived from the way up by `jax.linear_transpose`, so stride, padding
and groups are written once. No bias goes down: a zero signal stays exactly zero.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from zf_jax.layers import Conv, Dense, Pair

# On a CPU, JAX 0.10.2 takes up to three times as long for maps without any padding, JAX
# 0.12.0 does not. Filters of few entries are as fast.
_SLOW_UNPADDED = jax.__version_info__ < (0, 11)
_ENTRIES = 128


def conv(op: Conv | Dense, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The layer's filters applied to its input, without bias.

    Args:
      op: the layer's Conv or Dense.
      x: [N, H, W, C] for Conv, [N, D] for Dense; float.
      kernel: [rows, columns, C / groups, maps] or [D, units], in x's dtype.

    Returns:
      [N, H', W', maps] or [N, units], in x's dtype.
    """
    if isinstance(op, Conv) and _is_slow(op, kernel):
        # Zeros behind the last column: the same sums, and at most one column too many.
        columns = (x.shape[2] - op.size[1]) // op.stride[1] + 1
        y = _filter(op, x, kernel, ((0, 0), (0, 1)))
        return y if y.shape[2] == columns else lax.slice_in_dim(y, 0, columns, axis=2)
    return _filter(op, x, kernel)


def _is_slow(op: Conv, kernel: jax.Array) -> bool:
    if not _SLOW_UNPADDED or jax.default_backend() != "cpu":
        return False
    entries = math.prod(kernel.shape[:3])
    return op.size != (1, 1) and not any(map(any, op.padding)) and entries >= _ENTRIES


def _filter(op: Conv | Dense, x, kernel, padding: tuple[Pair, Pair] | None = None):
    if isinstance(op, Dense):
        return x @ kernel
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=op.stride,
        padding=padding or op.padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=op.groups,
    )


def conv_transpose(
    op: Conv | Dense, signal: jax.Array, kernel: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
    """Transposed filtering: every filter flipped, from the maps back to the input.

    Args:
      op: the layer's Conv or Dense.
      signal: [N, H', W', maps] or [N, units], what arrives from above.
      kernel: as in `filter_maps`.
      shape: of the layer's input, which stride and padding alone do not tell.

    Returns:
      An array of `shape`, in the signal's dtype.
    """
    x = jax.ShapeDtypeStruct(shape, signal.dtype)
    kernel = jnp.asarray(kernel, signal.dtype)
    transpose = jax.linear_transpose(lambda x: _filter(op, x, kernel), x)
    return transpose(signal)[0]
