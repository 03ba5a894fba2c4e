"""Sums, means and extremes along axes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax.pretrained.onnx_ops.table import (
    Node,
    integers,
    numpy_of,
    operation,
)


def _reduce(function: Callable) -> Callable:
    """An operation that reduces the axes of an attribute or, later, of an input."""

    def compute(node: Node, x, axes=None):
        axes = node.get("axes") if axes is None else integers(axes)
        if axes is None or len(axes) == 0:
            # Without axes nothing is summed, but squares and logarithms are taken.
            none = node.get("noop_with_empty_axes", 0)
            axes = () if none else range(np.ndim(x))
        axes = tuple(axis % max(np.ndim(x), 1) for axis in axes)
        keep = bool(node.get("keepdims", 1))
        return function(numpy_of(x), x, axis=axes, keepdims=keep)

    return compute


def _extreme(name: str, low: bool) -> Callable:
    """The least or greatest entry; of none, the value that every other one beats."""

    def function(xp, x, **along):
        if x.size:
            return getattr(xp, name)(x, **along)
        if x.dtype == bool:
            worst = low
        elif np.issubdtype(x.dtype, np.integer):
            worst = getattr(np.iinfo(x.dtype), "max" if low else "min")
        else:
            worst = np.inf if low else -np.inf
        return getattr(xp, name)(x, initial=np.asarray(worst, x.dtype), **along)

    return function


def _sum(xp, x, **along):
    # NumPy adds small integers as int64.
    return xp.sum(x, **along).astype(x.dtype)


def _prod(xp, x, **along):
    return xp.prod(x, **along).astype(x.dtype)


def _mean(xp, x, **along):
    return xp.mean(x, **along).astype(x.dtype)


def _l1(xp, x, **along):
    return _sum(xp, xp.abs(x), **along)


def _l2(xp, x, **along):
    return xp.sqrt(_sum(xp, xp.square(x), **along)).astype(x.dtype)


def _sum_square(xp, x, **along):
    return _sum(xp, xp.square(x), **along)


def _log_sum(xp, x, **along):
    return xp.log(_sum(xp, x, **along)).astype(x.dtype)


def _log_sum_exp(xp, x, **along):
    del xp
    return jax.scipy.special.logsumexp(jnp.asarray(x), **along)


def _arg(name: str) -> Callable:
    """The first position of the greatest or least entry, or the last."""

    def compute(node: Node, x):
        xp = numpy_of(x)
        axis = node.get("axis", 0) % np.ndim(x)
        keep = bool(node.get("keepdims", 1))
        if node.get("select_last_index", 0):
            mirrored = getattr(xp, name)(xp.flip(x, axis), axis=axis, keepdims=keep)
            return x.shape[axis] - 1 - mirrored
        return getattr(xp, name)(x, axis=axis, keepdims=keep)

    return compute


def _cumulative(name: str, neutral: int) -> Callable:
    """Sums or products of the entries so far, without the own one if `exclusive`."""

    def compute(node: Node, x, axis):
        xp = numpy_of(x)
        axis = integers(axis)[0] % np.ndim(x)
        if node.get("reverse", 0):
            x = xp.flip(x, axis)
        result = getattr(xp, name)(x, axis=axis, dtype=x.dtype)
        if node.get("exclusive", 0):
            before = lax.slice_in_dim if xp is jnp else _slice_in_dim
            first = xp.full_like(before(x, 0, 1, axis=axis), neutral)
            most = before(result, 0, x.shape[axis] - 1, axis=axis)
            result = xp.concatenate([first, most], axis)
        return xp.flip(result, axis) if node.get("reverse", 0) else result

    return compute


def _slice_in_dim(x: np.ndarray, start: int, stop: int, axis: int) -> np.ndarray:
    return x[(slice(None),) * axis + (slice(start, stop),)]


@operation("TopK", static=(1,))
def top_k(node: Node, x, k=None):
    """The k greatest or least entries along an axis, and their positions.

    Of equal entries the first comes first.
    """
    k = node.get("k") if k is None else integers(k)[0]
    axis = node.get("axis", -1) % np.ndim(x)
    moved = jnp.moveaxis(jnp.asarray(x), axis, -1)
    if node.get("largest", 1):
        _, indices = lax.top_k(moved, k)
    else:
        indices = jnp.argsort(moved, axis=-1, stable=True)[..., :k]
    values = jnp.take_along_axis(moved, indices, -1)
    indices = indices.astype(jax.dtypes.canonicalize_dtype(np.int64))
    return jnp.moveaxis(values, -1, axis), jnp.moveaxis(indices, -1, axis)


operation("ArgMax")(_arg("argmax"))
operation("ArgMin")(_arg("argmin"))
operation("CumProd", static=(1,))(_cumulative("cumprod", 1))
operation("CumSum", static=(1,))(_cumulative("cumsum", 0))
operation("ReduceL1", static=(1,))(_reduce(_l1))
operation("ReduceL2", static=(1,))(_reduce(_l2))
operation("ReduceLogSum", static=(1,))(_reduce(_log_sum))
operation("ReduceLogSumExp", static=(1,))(_reduce(_log_sum_exp))
operation("ReduceMax", static=(1,))(_reduce(_extreme("max", low=False)))
operation("ReduceMean", static=(1,))(_reduce(_mean))
operation("ReduceMin", static=(1,))(_reduce(_extreme("min", low=True)))
operation("ReduceProd", static=(1,))(_reduce(_prod))
operation("ReduceSum", static=(1,))(_reduce(_sum))
operation("ReduceSumSquare", static=(1,))(_reduce(_sum_square))
