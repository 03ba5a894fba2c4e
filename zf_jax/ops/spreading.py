"""Filtering as one product, where the result is larger than the input.

Each entry is multiplied by all of the filters at once, and the patches that come out
are added up where they overlap. Down a net that is the least arithmetic: a filter that
slides over maps that were spread out by a stride meets zeros most of the time, and one
at the edge of a small map meets little else.
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
            around = [(a, r - 1 - a, 0) for a, r in zip(at, reach, strict=True)]
            total += lax.pad(
                patches[:, :, :, i, j],
                jnp.zeros((), x.dtype),
                [(0, 0, 0), *around, (0, 0, 0)],
            )
        phases.append(total)
    full = jnp.stack(phases, axis=3).reshape(*shape[:3], *dilation, maps)
    full = full.transpose(0, 1, 3, 2, 4, 5)
    full = full.reshape(count, shape[1] * dilation[0], shape[2] * dilation[1], maps)
    # What the whole patches reach, and `padding` less or more.
    edges = [
        (before - n + 1, after - n + 1 - (r * step - n), 0)
        for (before, after), n, r, step in zip(
            padding, size, reach, dilation, strict=True
        )
    ]
    return lax.pad(full, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
