"""Operations that pick entries by position.

Positions that are known when the graph is traced are read by `slice`, `rev` and a
`gather` along one axis, whose window rules are known; others by any `gather`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax.pretrained.onnx_ops.table import (
    Array,
    Node,
    integers,
    is_numpy,
    numpy_of,
    operation,
)


def take(x: Array, positions: np.ndarray, axis: int) -> Array:
    """The entries of one axis at known positions.

    Args:
      x: [..., n, ...].
      positions: [m] ints from 0 to n - 1.
      axis: the axis of n, from 0.

    Returns:
      [..., m, ...].
    """
    if is_numpy(x):
        return np.take(x, positions, axis)
    others = tuple(i for i in range(x.ndim) if i != axis)
    dims = lax.GatherDimensionNumbers(
        offset_dims=others, collapsed_slice_dims=(axis,), start_index_map=(axis,)
    )
    sizes = tuple(1 if i == axis else n for i, n in enumerate(x.shape))
    starts = np.asarray(positions, np.int32)[:, None]
    return lax.gather(x, starts, dims, sizes, mode="promise_in_bounds")


@operation("Slice", static=(1, 2, 3, 4))
def slice_(
    node: Node,
    x: Array,
    starts: Array | None = None,
    ends: Array | None = None,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array:
    """Every `step`-th entry from `start` to before `end`, along each axis.

    Before opset 10 these were attributes, and there were no steps.
    """
    if starts is None:
        starts, ends, axes = (node.get(name) for name in ("starts", "ends", "axes"))
    starts, ends = integers(starts), integers(ends)
    axes = range(len(starts)) if axes is None else integers(axes)
    steps = (1,) * len(starts) if steps is None else integers(steps)
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        length = x.shape[axis]
        # ONNX counts an end before the first entry from the end once, as Python does;
        # an end that is still negative then stands before all entries.
        if step < 0 and end < -length:
            end = None
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


@operation("Gather")
def gather(node: Node, x: Array, positions: Array) -> Array:
    """Entries along one axis, at positions of any shape; negative from the end."""
    axis = node.get("axis", 0) % x.ndim
    if not is_numpy(positions):
        return jnp.take(jnp.asarray(x), positions, axis, mode="wrap")
    positions = np.where(positions < 0, positions + x.shape[axis], positions)
    if positions.ndim == 0 and not is_numpy(x):
        return lax.index_in_dim(x, int(positions), axis, keepdims=False)
    taken = take(x, positions.ravel(), axis)
    return taken.reshape(x.shape[:axis] + positions.shape + x.shape[axis + 1 :])


@operation("GatherElements")
def gather_elements(node: Node, x: Array, positions: Array) -> Array:
    """At each place, the entry that stands at `positions` along the axis."""
    axis = node.get("axis", 0) % x.ndim
    xp = numpy_of(x, positions)
    positions = xp.where(positions < 0, positions + x.shape[axis], positions)
    index = list(np.ix_(*(np.arange(n) for n in positions.shape)))
    index[axis] = positions
    return xp.asarray(x)[tuple(index)]


@operation("GatherND")
def gather_nd(node: Node, x: Array, positions: Array) -> Array:
    """Entries, or parts, at positions [..., axes] along the first axes."""
    batch = node.get("batch_dims", 0)
    depth = positions.shape[-1]
    grid = np.ix_(*(np.arange(n) for n in positions.shape[:-1]))[:batch]
    xp = numpy_of(x, positions)
    own = [
        xp.where(positions[..., i] < 0, positions[..., i] + n, positions[..., i])
        for i, n in enumerate(x.shape[batch : batch + depth])
    ]
    return xp.asarray(x)[(*grid, *own)]


@operation("ScatterElements", "Scatter")
def scatter_elements(node: Node, x: Array, positions: Array, updates: Array) -> Array:
    """`x` with `updates` at `positions` along the axis."""
    axis = node.get("axis", 0) % x.ndim
    index = list(np.ix_(*(np.arange(n) for n in positions.shape)))
    index[axis] = jnp.asarray(positions)
    return _scatter(node, x, tuple(index), updates)


@operation("ScatterND")
def scatter_nd(node: Node, x: Array, positions: Array, updates: Array) -> Array:
    """`x` with `updates` at positions [..., axes] along the first axes."""
    positions = jnp.asarray(positions)
    return _scatter(node, x, tuple(jnp.moveaxis(positions, -1, 0)), updates)


def _scatter(node: Node, x: Array, index: tuple, updates: Array) -> jax.Array:
    reduction = node.get("reduction", "none")
    method = {"none": "set", "mul": "multiply"}.get(reduction, reduction)
    return getattr(jnp.asarray(x).at[index], method)(updates)


@operation("OneHot", static=(1,))
def one_hot(node: Node, positions: Array, depth: Array, values: Array) -> Array:
    """`values[1]` at the position along a new axis, elsewhere `values[0]`."""
    (depth,) = integers(depth)
    xp = numpy_of(positions, values)
    axis = node.get("axis", -1) % (positions.ndim + 1)
    own = xp.expand_dims(xp.where(positions < 0, positions + depth, positions), axis)
    shape = [1] * own.ndim
    shape[axis] = depth
    return xp.where(own == np.arange(depth).reshape(shape), values[1], values[0])


@operation("NonZero", static=(0,))
def non_zero(node: Node, x: Array) -> np.ndarray:
    """[rank, number] the positions of the entries that are not 0."""
    return np.stack(np.nonzero(np.atleast_1d(x)))


@operation("Trilu", static=(1,))
def trilu(node: Node, x: Array, k: Array | None = None) -> Array:
    """The upper or the lower triangle from the diagonal number `k`, elsewhere 0."""
    xp = numpy_of(x)
    offset = 0 if k is None else integers(k)[0]
    return (xp.triu if node.get("upper", 1) else xp.tril)(x, offset)
