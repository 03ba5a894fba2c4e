"""Pooling over [N, C, ...], of any number of axes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax.pretrained.onnx_ops import windows
from zf_jax.pretrained.onnx_ops.table import Array, Node, integers, operation


@operation("MaxPool")
def max_pool(node: Node, x: Array) -> jax.Array | tuple[jax.Array, jax.Array]:
    """The largest entry of each window, and where it is; padding never is.

    The second output is the number of the entry in all of x; the first of equal ones.
    """
    slid = windows.windows(node, x.shape[2:], tuple(node.get("kernel_shape")))
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    least = np.asarray(-np.inf if floating else jnp.iinfo(x.dtype).min, x.dtype)
    largest = _reduce(x, least, lax.max, slid, slid.all_padding)
    if not node.wants(1):
        return largest
    numbers = np.arange(x.size).reshape(x.shape)
    if node.get("storage_order", 0):
        columns = x.shape[:2] + x.shape[:1:-1]
        numbers = np.moveaxis(
            np.arange(x.size).reshape(columns),
            range(-1, 1 - x.ndim, -1),
            range(2, x.ndim),
        )

    def larger(a, b):
        first = (a[0] > b[0]) | ((a[0] == b[0]) & (a[1] <= b[1]))
        return tuple(jnp.where(first, p, q) for p, q in zip(a, b, strict=True))

    operands = lax.stop_gradient(x), jnp.asarray(numbers)
    start = least, np.asarray(np.iinfo(operands[1].dtype).max, operands[1].dtype)
    return largest, _reduce(operands, start, larger, slid, slid.all_padding)[1]


@operation("MaxUnpool", static=(2,))
def max_unpool(
    node: Node, x: Array, numbers: Array, shape: Array | None = None
) -> jax.Array:
    """The entries of x at the numbers that `MaxPool` gave; zero elsewhere."""
    size = node.get("kernel_shape")
    axes = len(size)
    strides, pads = node.get("strides", (1,) * axes), node.get("pads", (0,) * 2 * axes)
    pooled = tuple(
        (x.shape[i + 2] - 1) * strides[i] + size[i] - pads[i] - pads[i + axes]
        for i in range(axes)
    )
    pooled = x.shape[:2] + pooled
    out = jnp.zeros(math.prod(pooled), x.dtype)
    out = out.at[numbers.ravel()].set(x.ravel()).reshape(pooled)
    if shape is None:
        return out
    after = [(0, n - m) for n, m in zip(integers(shape), pooled, strict=True)]
    return jnp.pad(out, after)


@operation("AveragePool")
def average_pool(node: Node, x: Array) -> jax.Array:
    """The mean of each window: of its entries, or with `count_include_pad` padding too.

    What `ceil_mode` adds never counts.
    """
    slid = windows.windows(node, x.shape[2:], tuple(node.get("kernel_shape")))
    zero = np.zeros((), x.dtype)
    sums = _reduce(x, zero, lax.add, slid, slid.all_padding)
    include = node.get("count_include_pad", 0)
    if not any(slid.extra) and (include or not any(map(sum, slid.padding))):
        return sums / np.asarray(np.prod(slid.size), x.dtype)
    # How many entries of a window count is known before any image is.
    with jax.ensure_compile_time_eval():
        ones = jnp.ones((1, 1, *x.shape[2:]), x.dtype)
        padding = slid.all_padding
        if include:
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


@operation("LpPool")
def lp_pool(node: Node, x: Array) -> jax.Array:
    """The p-norm of each window."""
    slid = windows.windows(node, x.shape[2:], tuple(node.get("kernel_shape")))
    p = node.get("p", 2)
    zero = np.zeros((), x.dtype)
    sums = _reduce(jnp.abs(x) ** p, zero, lax.add, slid, slid.all_padding)
    return sums ** (1 / p)


@operation("GlobalLpPool")
def global_lp_pool(node: Node, x: Array) -> jax.Array:
    """The p-norm of all positions, which stay as axes of length 1."""
    p = node.get("p", 2)
    axes = tuple(range(2, x.ndim))
    return (jnp.abs(x) ** p).sum(axis=axes, keepdims=True) ** (1 / p)


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
