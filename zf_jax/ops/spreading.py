"""Filtering as products where the result is larger than the input, as down a net.

Each entry is multiplied by all of the filters at once, and the patches that come out
are added up where they overlap. A filter that slides over maps that were spread out by
a stride would meet zeros most of the time, and one at the edge of a small map little
else. Winograd's form (`winograd.py`) takes less still, where a stride parts a filter
into 3 x 3 entries for each of its phases: 5 x 5 at a stride of 2.
"""

import itertools

import jax
import jax.numpy as jnp
from jax import lax

from zf_jax.layers import Pair
from zf_jax.ops import winograd
from zf_jax.ops.products import Prepared, block_bytes
from zf_jax.ops.winograd import TILE, TURNED


def is_winograd(size: Pair, dilation: Pair) -> bool:
    """Whether filters of this size go by Winograd's form."""
    return dilation != (1, 1) and _reach(size, dilation) == (3, 3)


def _reach(size: Pair, dilation: Pair) -> Pair:
    """Entries that a filter has in a phase: what an entry reaches there."""
    rows, columns = (-(-n // step) for n, step in zip(size, dilation, strict=True))
    return rows, columns


def prepare(kernel: jax.Array, dilation: Pair) -> Prepared:
    """Prepares a kernel [rows, columns, C, maps], for many calls.

    Its factors are [C, rows * columns * maps], or [36, C, phases * maps].
    """
    *size, channels, maps = kernel.shape
    kernel = kernel[::-1, ::-1]
    if not is_winograd(tuple(size), dilation):
        factors = jnp.transpose(kernel, (2, 0, 1, 3)).reshape(channels, -1)
        return Prepared(factors, tuple(size))
    # Entry `i` falls on place `i // dilation` of phase `i % dilation`.
    down, across = dilation
    more = (0, 3 * down - size[0]), (0, 3 * across - size[1])
    kernel = jnp.pad(kernel, (*more, (0, 0), (0, 0)))
    kernel = kernel.reshape(3, down, 3, across, channels, maps)
    kernel = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(3, 3, channels, -1)
    return Prepared(winograd.turn_kernel(kernel), tuple(size))


def filter_maps(
    x: jax.Array, kernel: Prepared, dilation: Pair, padding: tuple[Pair, Pair]
) -> jax.Array:
    """Filters maps that are spread out, one entry after the other.

    Args:
      x: [N, H, W, C] float.
      kernel: from `prepare`, in x's dtype.
      dilation: the same as there: from one entry to the next, in rows and columns of
        the result.
      padding: entries around the spread maps, before and after, down and across; below
        zero, those are left out.

    Returns:
      [N, H', W', maps], in x's dtype.
    """
    size = kernel.size
    way = _tiles if is_winograd(size, dilation) else _patches
    phases = way(x, kernel, dilation)
    count, height, width, _ = phases.shape
    full = phases.reshape(count, height, width, *dilation, -1)
    full = full.transpose(0, 1, 3, 2, 4, 5)
    full = full.reshape(count, height * dilation[0], width * dilation[1], -1)
    # What the whole patches reach, and `padding` less or more.
    edges = [
        (before - n + 1, after - n + 1 - (r * step - n), 0)
        for (before, after), n, r, step in zip(
            padding, size, _reach(size, dilation), dilation, strict=True
        )
    ]
    return lax.pad(full, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])


def _patches(x, kernel: Prepared, dilation: Pair) -> jax.Array:
    """One product: [N, H + reach - 1, W + reach - 1, phases * maps]."""
    (count, height, width, channels), size = x.shape, kernel.size
    patches = x.reshape(-1, channels) @ kernel.factors
    patches = patches.reshape(count, height, width, *size, -1)
    reach = _reach(size, dilation)
    shape = count, height + reach[0] - 1, width + reach[1] - 1, patches.shape[-1]
    phases = []
    for phase in itertools.product(*map(range, dilation)):
        total = jnp.zeros(shape, x.dtype)
        for i, j in itertools.product(*map(range, phase, size, dilation)):
            at = i // dilation[0], j // dilation[1]
            around = [(a, r - 1 - a) for a, r in zip(at, reach, strict=True)]
            total += _padded(patches[:, :, :, i, j], *around)
        phases.append(total)
    return jnp.stack(phases, axis=3).reshape(*shape[:3], -1)


def _tiles(x, kernel: Prepared, dilation: Pair) -> jax.Array:
    """The same by Winograd's form, as many images together as fit the cache."""
    (count, height, width, _), factors = x.shape, kernel.factors
    rows, columns = -(-height // TILE), -(-width // TILE)
    x = _padded(x, (0, TILE * rows - height), (0, TILE * columns - width))
    image = TURNED**2 * rows * columns * max(factors.shape[1:]) * x.dtype.itemsize
    groups = -(-count // max(1, block_bytes(factors) // image))
    images = -(-count // groups)
    x = jnp.pad(x, ((0, images * groups - count), (0, 0), (0, 0), (0, 0)))
    x = x.reshape(groups, images, *x.shape[1:])
    y = lax.map(lambda x: _whole_tiles(x, factors), x)
    return y.reshape(-1, *y.shape[2:])[:count, : height + 2, : width + 2]


def _whole_tiles(x, factors) -> jax.Array:
    """[N, H, W, C] of whole tiles -> [N, H + 4, W + 4, phases * maps]."""
    count, rows, columns = len(x), x.shape[1] // TILE, x.shape[2] // TILE
    x = jnp.stack(winograd.turn_down([x[:, i::TILE] for i in range(TILE)]))
    lines = [x[:, :, :, i::TILE] for i in range(TILE)]
    x = jnp.stack(winograd.turn_down(lines), axis=1)
    turned = x.reshape(TURNED**2, -1, x.shape[-1])
    products = jnp.einsum("ptc,pcd->ptd", turned, factors)
    products = products.reshape(TURNED, TURNED, count, rows, columns, -1)
    x = _overlapped(winograd.turn_back_down(products), axis=2)
    x = _overlapped(winograd.turn_back_down(x), axis=3)
    return x.reshape(count, TILE * (rows + 1), TILE * (columns + 1), -1)


def _overlapped(entries: list[jax.Array], axis: int) -> jax.Array:
    """6 entries of each tile along an axis of tiles: 4, and one more axis for them.

    The last 2 fall on the first of the next tile.
    """

    def moved(x, before: int):
        around = [(0, 0, 0)] * x.ndim
        around[axis] = before, 1 - before, 0
        return lax.pad(x, jnp.zeros((), x.dtype), around)

    here, after = entries[:TILE], entries[TILE:]
    total = [moved(entry, 0) for entry in here]
    for i, entry in enumerate(after):
        total[i] += moved(entry, 1)
    return jnp.stack(total, axis=axis + 1)


def _padded(x, rows: Pair, columns: Pair) -> jax.Array:
    around = (0, 0, 0), (*rows, 0), (*columns, 0), (0, 0, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), around)
