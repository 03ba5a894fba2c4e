"""Filtering as products where the result is larger than the input, as down a net.

Each entry is multiplied by all of the filters at once, and the patches that come out
are added up where they overlap. A filter that slides over maps that were spread out by
a stride would meet zeros most of the time, and one at the edge of a small map little
else. Winograd's form (`winograd.py`) takes less still, where a stride parts a filter
into 3 x 3 entries for each of its phases: 5 x 5 at a stride of 2.
"""

import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax

from zf_jax.layers import Pair
from zf_jax.ops import winograd
from zf_jax.ops.products import Prepared
from zf_jax.ops.winograd import TILE, TURNED

# What a product takes in Winograd's form, against one of plain patches: there are many
# small matrices, and a larger kernel is read.
_TURNED_COST = 2


def is_turned(places: Pair, size: Pair, dilation: Pair) -> bool:
    """Whether Winograd's form is faster.

    Args:
      places: rows and columns of the maps.
      size: of the filters.
      dilation: as in `filter_maps`. Without any, too little is saved.
    """
    if dilation == (1, 1) or _reach(size, dilation) != (3, 3):
        return False
    tiles = math.prod(-(-n // TILE) for n in places)
    turned = TURNED**2 * tiles * math.prod(dilation)
    return _TURNED_COST * turned < math.prod(places) * math.prod(size)


def _reach(size: Pair, dilation: Pair) -> Pair:
    """Entries that a filter has in a phase: what an entry reaches there."""
    rows, columns = (-(-n // step) for n, step in zip(size, dilation, strict=True))
    return rows, columns


def prepare(kernel: jax.Array, dilation: Pair, *, turned: bool = False) -> Prepared:
    """Prepares a kernel, for many calls.

    Args:
      kernel: [rows, columns, C, maps].
      dilation: as in `filter_maps`.
      turned: for Winograd's form, where the dilation allows it (`is_turned`).

    Returns:
      Its factors are [C, rows * columns * maps], or [36, C, phases * maps].
    """
    *size, channels, maps = kernel.shape
    kernel = kernel[::-1, ::-1]
    if not turned:
        factors = jnp.transpose(kernel, (2, 0, 1, 3)).reshape(channels, -1)
        return Prepared(factors, tuple(size))
    # Entry `i` falls on place `i // dilation` of phase `i % dilation`.
    down, across = dilation
    more = (0, 3 * down - size[0]), (0, 3 * across - size[1])
    kernel = jnp.pad(kernel, (*more, (0, 0), (0, 0)))
    kernel = kernel.reshape(3, down, 3, across, channels, maps)
    kernel = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(3, 3, channels, -1)
    return Prepared(winograd.turn_kernel(kernel), tuple(size), is_turned=True)


def filter_maps(
    x: jax.Array, kernel: Prepared, dilation: Pair, padding: tuple[Pair, Pair]
) -> jax.Array:
    """Filters maps that are spread out, one entry after the other.

    Args:
      x: [N, H, W, C] float. In Winograd's form an entry that is not finite spoils all
        that 4 x 4 of them reach.
      kernel: from `prepare`, in x's dtype.
      dilation: the same as there: from one entry to the next, in rows and columns of
        the result.
      padding: entries around the spread maps, before and after, down and across; below
        zero, those are left out.

    Returns:
      [N, H', W', maps], in x's dtype.
    """
    (down, across), size, reach = dilation, kernel.size, _reach(kernel.size, dilation)
    if kernel.is_turned:
        phases = _tiles(x, kernel.factors, dilation)
    else:
        phases = _patches(x, kernel.factors, size, dilation)
    count, height, width, *_, maps = phases.shape
    full = phases.transpose(0, 1, 3, 2, 4, 5)
    full = full.reshape(count, height * down, width * across, maps)
    # What the whole patches reach, and `padding` less or more.
    edges = [
        (before - n + 1, after - n + 1 - (r * step - n))
        for (before, after), n, r, step in zip(
            padding, size, reach, dilation, strict=True
        )
    ]
    return _padded(full, *edges)


def _patches(x, factors, size: Pair, dilation: Pair) -> jax.Array:
    """One product: the phases, [N, H + reach - 1, W + reach - 1, rows, columns, maps].

    Entry `i` of a patch falls on place `i // dilation` of phase `i % dilation`.
    """
    count, height, width, channels = x.shape
    maps = factors.shape[-1] // math.prod(size)
    patches = x.reshape(-1, channels) @ factors
    patches = patches.reshape(count, height, width, *size, maps)
    reach = _reach(size, dilation)
    shape = count, height + reach[0] - 1, width + reach[1] - 1, maps
    phases = []
    for phase in itertools.product(*map(range, dilation)):
        total = jnp.zeros(shape, x.dtype)
        for i, j in itertools.product(*map(range, phase, size, dilation)):
            at = i // dilation[0], j // dilation[1]
            around = [(a, r - 1 - a) for a, r in zip(at, reach, strict=True)]
            total += _padded(patches[:, :, :, i, j], *around)
        phases.append(total)
    return jnp.stack(phases, axis=3).reshape(*shape[:3], *dilation, maps)


def _tiles(x, factors, dilation: Pair) -> jax.Array:
    """The same by Winograd's form: as many images together as fit the cache, or one."""
    (count, height, width, _), maps = x.shape, factors.shape[-1] // math.prod(dilation)
    shape = count, height + 2, width + 2, *dilation, maps
    if not x.size:
        return jnp.zeros(shape, x.dtype)
    rows, columns = -(-height // TILE), -(-width // TILE)
    image = TURNED**2 * rows * columns * max(factors.shape[1:]) * x.dtype.itemsize
    groups = -(-count // max(1, winograd.block_bytes(factors) // image))
    images = -(-count // groups)
    ends = images * groups - count, TILE * rows - height, TILE * columns - width, 0
    x = jnp.pad(x, [(0, more) for more in ends])
    x = x.reshape(groups, images, *x.shape[1:])
    y = lax.map(lambda x: _whole_tiles(x, factors), x)
    y = y.reshape(-1, *y.shape[2:])[:count, : height + 2, : width + 2]
    return y.reshape(shape)


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
    """6 entries of each tile along an axis of tiles: 4, on one more axis, of one more.

    The last 2 fall on the first of the next tile.
    """

    def moved(x, before: int):
        around = [(0, 0)] * x.ndim
        around[axis] = before, 1 - before
        return jnp.pad(x, around)

    total = [moved(entry, 0) for entry in entries[:TILE]]
    for i, entry in enumerate(entries[TILE:]):
        total[i] += moved(entry, 1)
    return jnp.stack(total, axis=axis + 1)


def _padded(x, rows: Pair, columns: Pair) -> jax.Array:
    """Zeros around [N, H, W, maps], or less of it where the padding is below zero."""
    around = (0, 0, 0), (*rows, 0), (*columns, 0), (0, 0, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), around)
