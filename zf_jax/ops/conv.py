"""Convolution with learned filters, and its transpose (section 2.1).

A convolution here is a correlation, as in every deep learning library. The transpose is
derived from it by `jax.linear_transpose`, so stride, padding and groups are written
once. It adds no bias: a zero signal stays exactly zero.
"""

import jax
import jax.numpy as jnp
from jax import lax

from zf_jax.layers import Conv, Dense


def conv(op: Conv | Dense, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The layer's filters applied to its input, without bias.

    Args:
      op: the layer's Conv or Dense.
      x: [N, H, W, C] for Conv, [N, D] for Dense; float.
      kernel: [rows, columns, C / groups, channels] or [D, units], in x's dtype.

    Returns:
      [N, H', W', channels] or [N, units], in x's dtype.
    """
    if isinstance(op, Dense):
        return x @ kernel
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=op.stride,
        padding=op.padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=op.groups,
    )


def conv_transpose(
    op: Conv | Dense, signal: jax.Array, kernel: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
    """The transposed convolution: from the layer's feature maps back to its input.

    Args:
      op: the layer's Conv or Dense.
      signal: [N, H', W', channels] or [N, units], what arrives from the layer above.
      kernel: as in `conv`.
      shape: of the layer's input, which stride and padding alone do not tell.

    Returns:
      An array of `shape`, in the signal's dtype.
    """
    x = jax.ShapeDtypeStruct(shape, signal.dtype)
    kernel = jnp.asarray(kernel, signal.dtype)
    transpose = jax.linear_transpose(lambda x: conv(op, x, kernel), x)
    return transpose(signal)[0]
