"""Filtering as one product, where the result is larger than the input, as down a net.

Each entry is multiplied by all of the filters at once, and the patches that come out
are added up where they overlap. A filter that slides over maps that were spread out by
a stride would meet zeros most of the time, and one at the edge of a small map little
else. Of maps that are mostly zero themselves the entries that are not go one by one.
"""

import itertools

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from zf_jax.layers import Pair

# What this names in a traced function is mostly zero.
MOSTLY_ZERO = "mostly_zero"


def mostly_zero(x: jax.Array) -> jax.Array:
    """The same, named: few of its entries are not zero, once rectified one in ten."""
    return checkpoint_name(x, MOSTLY_ZERO)


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


def filter_sparse_maps(
    x: jax.Array, kernel: jax.Array, dilation: Pair, padding: tuple[Pair, Pair]
) -> jax.Array:
    """`filter_maps`, adding up the patches of the entries that are not zero alone.

    Of a window's entries unpooling fills one, and rectifying clears half of those: some
    one in ten is left. On a CPU it pays to look for them where patches are large.
    Images go one by one, each on a single core.
    """
    if not x.size:
        return filter_maps(x, kernel, dilation, padding)
    full = lax.map(lambda image: _spread(image, kernel, dilation), x)
    return _cropped(full, kernel.shape[1:3], padding)


def _spread(x: jax.Array, kernel: jax.Array, dilation: Pair) -> jax.Array:
    """[H, W, C] -> all that the patches of its entries reach, [H', W', maps]."""
    (height, width, channels), (_, *size, maps) = x.shape, kernel.shape
    rows, columns = _reached((height, width), size, dilation)
    # Rows of patches, whose columns and maps lie side by side in the result too; map by
    # map, so that what an entry is multiplied by is read once.
    kernel = kernel.reshape(channels, size[0], -1)
    entries = jnp.transpose(x, (2, 0, 1)).reshape(-1)
    which, count = _nonzero(entries)
    channel, place = jnp.divmod(which, height * width)
    row, column = jnp.divmod(place, width)
    down, across = row * dilation[0], column * dilation[1] * maps
    value = entries[which]

    def add(i, total):
        patch = value[i] * lax.dynamic_index_in_dim(kernel, channel[i], keepdims=False)
        at = down[i], across[i]
        there = lax.dynamic_slice(total, at, patch.shape)
        return lax.dynamic_update_slice(total, there + patch, at)

    total = jnp.zeros((rows, columns * maps), x.dtype)
    return lax.fori_loop(0, count, add, total).reshape(rows, columns, maps)


def _nonzero(entries: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Which entries [N] are not zero: their numbers, [N] int32, and how many they are.

    One by one, which on a CPU takes a third of `jnp.nonzero`'s time.
    """

    def look_at(i, found):
        which, count = found
        which = which.at[count].set(i, mode="promise_in_bounds")
        return which, count + (entries[i] != 0).astype(count.dtype)

    begin = jnp.zeros(entries.shape, jnp.int32), jnp.int32(0)
    return lax.fori_loop(0, entries.size, look_at, begin)


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
