"""Pooling over [N, C, ...], of any number of axes."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax.pretrained.onnx_ops import windows
from zf_jax.pretrained.onnx_ops.table import Array, Node, operation


@operation("MaxPool")
def max_pool(node: Node, x: Array) -> jax.Array:
    """The largest entry of each window; padding is never the largest."""
    slid = windows.windows(node, x.shape[2:], tuple(node.get("kernel_shape")))
    least = -np.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    return _reduce(x, np.asarray(least, x.dtype), lax.max, slid, slid.all_padding)


@operation("AveragePool")
def average_pool(node: Node, x: Array) -> jax.Array:
    """The mean of each window: of its entries, or with `count_include_pad` padding too.

    What `ceil_mode` adds never counts.
    """
    slid = windows.windows(node, x.shape[2:], tuple(node.get("kernel_shape")))
    zero = np.zeros((), x.dtype)
    sums = _reduce(x, zero, lax.add, slid, slid.all_padding)
    if not any(sum(pad) for pad in slid.all_padding):
        return sums / np.asarray(np.prod(slid.size), x.dtype)
    # How many entries of a window count is known before any image is.
    with jax.ensure_compile_time_eval():
        ones = jnp.ones((1, 1, *x.shape[2:]), x.dtype)
        padding = slid.all_padding
        if node.get("count_include_pad", 0):
            ones = jnp.pad(ones, ((0, 0), (0, 0), *slid.padding), constant_values=1)
            padding = tuple((0, extra) for extra in slid.extra)
        counts = np.asarray(_reduce(ones, zero, lax.add, slid, padding))
    return sums / counts


@operation("GlobalAveragePool")
def global_average_pool(node: Node, x: Array) -> jax.Array:
    """The mean over all positions, which stay as axes of length 1."""
    return x.mean(axis=tuple(range(2, x.ndim)), keepdims=True)


@operation("GlobalMaxPool")
def global_max_pool(node: Node, x: Array) -> jax.Array:
    """The largest entry of all positions, which stay as axes of length 1."""
    return x.max(axis=tuple(range(2, x.ndim)), keepdims=True)


def _reduce(x, start, reduction, slid: windows.Windows, padding) -> jax.Array:
    return lax.reduce_window(
        x,
        start,
        reduction,
        (1, 1, *slid.size),
        (1, 1, *slid.strides),
        ((0, 0), (0, 0), *padding),
        window_dilation=(1, 1, *slid.dilations),
    )
