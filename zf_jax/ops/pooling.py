"""Max pooling with switches, and unpooling (section 2.1).

A switch tells which entry of its window was the largest: a uint8 that counts the
window's entries row by row, ties to the first. With the switches fixed, pooling is a
linear map (`pool_with_switches`), and unpooling is its transpose: where overlapping
windows share a largest entry their signals add up, as in the gradient of max pooling.

Pooling is a chain of comparisons over the window's entries, each a strided slice of
the input. XLA fuses the chain into one loop, and its derivative too, where
`reduce_window` would scatter entry by entry.

Unpooling looks up, for every position of the input, the few windows that it lies in.
Derived as a transpose, it would spread out and pad each entry of the windows, and on a
CPU without AVX-512, which cannot load bytes under a mask, that takes 14 times as long.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax.layers import Pool

# The switch of a window whose signal unpooling drops.
NOWHERE = 255


def _entries(op: Pool, x: jax.Array, fill: float) -> list[jax.Array]:
    """One [N, H', W', C] slice of x per entry of the window, row by row."""
    (rows, columns), (row_step, column_step) = op.size, op.stride
    zero = jnp.asarray(fill, x.dtype)
    x = lax.pad(x, zero, ((0, 0, 0), *((*p, 0) for p in op.padding), (0, 0, 0)))
    count, height, width, channels = x.shape
    return [
        lax.slice(
            x,
            (0, row, column, 0),
            (count, height - rows + row + 1, width - columns + column + 1, channels),
            (1, row_step, column_step, 1),
        )
        for row in range(rows)
        for column in range(columns)
    ]


def pool(op: Pool, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The largest value of every window, and its position in the window.

    Args:
      op: the window.
      x: [N, H, W, C], float.

    Returns:
      values: [N, H', W', C], in x's dtype; NaN where the window has one.
      switches: [N, H', W', C] uint8, row-major index in the window, ties to the first.
    """
    first, *rest = _entries(op, x, -jnp.inf)
    values, switches = first, jnp.zeros(first.shape, jnp.uint8)
    for index, entry in enumerate(rest, start=1):
        better = (entry > values) | jnp.isnan(entry)
        values = jnp.where(better, entry, values)
        switches = jnp.where(better, jnp.uint8(index), switches)
    return values, switches


def pool_with_switches(op: Pool, x: jax.Array, switches: jax.Array) -> jax.Array:
    """Pooling that picks the entries which the switches tell: linear in x.

    Args:
      op: the window.
      x: [N, H, W, C], float.
      switches: [N, H', W', C] uint8, from `pool`.

    Returns:
      [N, H', W', C], in x's dtype.
    """
    entries = enumerate(_entries(op, x, 0.0))
    return sum(jnp.where(switches == i, entry, 0) for i, entry in entries)


def unpool(
    op: Pool, signal: jax.Array, switches: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
    """Puts every value back to where its switch tells, and zeros elsewhere.

    Args:
      op: the window.
      signal: [N, H', W', C] float, what arrives from the layer above.
      switches: [N, H', W', C] uint8, from `pool`.
      shape: of the pool's input, [N, H, W, C].

    Returns:
      An array of `shape`, in the signal's dtype.
    """
    windows = [
        _windows(op, axis, shape[1 + axis], signal.shape[1 + axis]) for axis in (0, 1)
    ]
    total = jnp.zeros(shape, signal.dtype)
    for (rows, down), (columns, across) in itertools.product(*windows):
        index = np.add.outer(op.size[1] * down, across)
        index[np.minimum.outer(down, across) < 0] = -1
        value, switch = (
            x.at[:, rows[:, None], columns].get(mode="clip") for x in (signal, switches)
        )
        picked = switch.astype(jnp.int32) == index[None, :, :, None]
        total += jnp.where(picked, value, 0)
    return total


def _windows(
    op: Pool, axis: int, positions: int, count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The windows that each position lies in: the last, the one before, ...

    Returns:
      Pairs of [positions] int: which of the `count` windows, and which of its entries
      the position is, -1 where it lies in no such window.
    """
    size, step = op.size[axis], op.stride[axis]
    at = np.arange(positions) + op.padding[axis][0]
    found = []
    for before in range(-(-size // step)):
        window = at // step - before
        entry = at - window * step
        is_within = (entry < size) & (window >= 0) & (window < count)
        found.append((window.clip(0, count - 1), np.where(is_within, entry, -1)))
    return found
