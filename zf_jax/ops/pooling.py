"""Max pooling with switches, and unpooling (section 2.1).

A switch tells which entry of its window was the largest: a uint8 that counts the
window's entries row by row, ties to the first. With the switches fixed, pooling is a
linear map (`pool_with_switches`), and unpooling is its transpose: where overlapping
windows share a largest entry their signals add up, as in the gradient of max pooling.

Pooling is a chain of comparisons over the window's entries, each a strided slice of
the input. XLA fuses the chain into one loop.

Unpooling, which is also the derivative of pooling, looks up the few windows that every
position of the input lies in. Derived by JAX, it would spread out and pad each entry of
the windows, which takes three times as long on a CPU, and 14 times on one without
AVX-512, which cannot load bytes under a mask.
"""

import functools
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
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


def _pool_forward(op: Pool, x: jax.Array):
    values, switches = pool(op, x)
    # An array without entries tells x's shape.
    return (values, switches), (switches, jnp.zeros((0, *x.shape), x.dtype))


def _pool_backward(op: Pool, saved, cotangents):
    (switches, empty), (signal, _) = saved, cotangents
    return (unpool(op, signal, switches, empty.shape[1:]),)


pool.defvjp(_pool_forward, _pool_backward)


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
    # Another row and column stand for no window. XLA does not fuse the pad into what
    # follows: without it, what comes before is computed anew in each look-up.
    edge = ((0, 0, 0), (0, 1, 0), (0, 1, 0), (0, 0, 0))
    signal, switches = (
        lax.pad(x, jnp.zeros((), x.dtype), edge) for x in (signal, switches)
    )
    total = jnp.zeros(shape, signal.dtype)
    for (rows, down), (columns, across) in itertools.product(*windows):
        index = np.add.outer(op.size[1] * down, across)
        value, switch = (
            x.at[:, rows[:, None], columns].get(mode="promise_in_bounds")
            for x in (signal, switches)
        )
        picked = switch.astype(jnp.int32) == index[None, :, :, None]
        total += jnp.where(picked, value, 0)
    return total


def _windows(
    op: Pool, axis: int, positions: int, count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The windows that each position lies in: the last, the one before, ...

    Returns:
      Pairs of [positions] int: which of the `count` windows, `count` where it lies in
      no such window, and which of its entries the position is.
    """
    size, step = op.size[axis], op.stride[axis]
    at = np.arange(positions) + op.padding[axis][0]
    found = []
    for before in range(-(-size // step)):
        window = at // step - before
        entry = at - window * step
        is_within = (entry < size) & (window >= 0) & (window < count)
        found.append((np.where(is_within, window, count), entry))
    return found
