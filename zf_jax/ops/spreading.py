"""Filtering as one product, where the result is larger than the input, as down a net.

Each entry is multiplied by all of the filters at once, and the patches that come out
are added up where they overlap. A filter that slides over maps that were spread out by
a stride would meet zeros most of the time, and one at the edge of a small map little
else.
"""

import itertools

import jax
import jax.numpy as jnp
from jax import lax

from zf_jax.layers import Pair


def prepare(kernel: jax.Array) -> jax.Array:
    """Prepares a kernel [rows, columns, C, maps]: [C, rows, columns, maps], flipped."""
    return jnp.transpose(kernel[::-1, ::-1], (2, 0, 1, 3))


def filter_maps(
    x: jax.Array, kernel: jax.Array, dilation: Pair, padding: tuple[Pair, Pair]
) -> jax.Array:
    """Filters maps that are spread out, one entry after the other.

    Args:
      x: [N, H, W, C] float.
      kernel: from `prepare`, in x's dtype.
      dilation: from one entry to the next, in rows and columns of the result.
      padding: entries around the spread maps, before and after, down and across; below
        zero, those are left out.

    Returns:
      [N, H', W', maps], in x's dtype.
    """
    (count, height, width, channels), (_, *size, maps) = x.shape, kernel.shape
    patches = x.reshape(-1, channels) @ kernel.reshape(channels, -1)
    patches = patches.reshape(count, height, width, *size, maps)
    # Entry `i` of a patch falls on place `i // dilation` of phase `i % dilation`.
    reach = [-(-n // step) for n, step in zip(size, dilation, strict=True)]
    shape = count, height + reach[0] - 1, width + reach[1] - 1, maps
    phases = []
    for phase in itertools.product(*map(range, dilation)):
        total = jnp.zeros(shape, x.dtype)
        for i, j in itertools.product(*map(range, phase, size, dilation)):
            at = i // dilation[0], j // dilation[1]
            around = [(a, r - 1 - a) for a, r in zip(at, reach, strict=True)]
            total += _padded(patches[:, :, :, i, j], around)
        phases.append(total)
    full = jnp.stack(phases, axis=3).reshape(*shape[:3], *dilation, maps)
    full = full.transpose(0, 1, 3, 2, 4, 5)
    full = full.reshape(count, shape[1] * dilation[0], shape[2] * dilation[1], maps)
    rows, columns = _reached(x.shape[1:3], size, dilation)
    return _cropped(full[:, :rows, :columns], size, padding)


def _reached(places: Pair, size: Pair, dilation: Pair) -> Pair:
    """Rows and columns of all that the patches reach."""
    rows, columns = (
        max(0, (count - 1) * step + n)
        for count, n, step in zip(places, size, dilation, strict=True)
    )
    return rows, columns


def _cropped(full: jax.Array, size: Pair, padding: tuple[Pair, Pair]) -> jax.Array:
    """What `padding` leaves of all that the patches reach, [N, H, W, maps]."""
    edges = [
        (before - n + 1, after - n + 1)
        for (before, after), n in zip(padding, size, strict=True)
    ]
    return _padded(full, edges)


def _padded(x: jax.Array, around) -> jax.Array:
    """Zeros around [N, H, W, maps], or less of it where the padding is below zero."""
    edges = (0, 0, 0), *((*each, 0) for each in around), (0, 0, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), edges)
