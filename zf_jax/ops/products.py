"""Filtering as matrix products, which a CPU does several times faster.

XLA's convolution on CPU loses half its speed and more once its batch outgrows the
cache, matrix products do not. Filters of 3 x 3 entries and stride 1 go by Winograd's
form (`winograd.py`), all others by patches and one product. Measured by
`experiments.benchmark --bench=filters`.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from zf_jax.layers import Pair
from zf_jax.ops import winograd
from zf_jax.ops.winograd import TILE, TURNED


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["factors"],
    meta_fields=["size", "is_turned"],
)
@dataclasses.dataclass(frozen=True)
class Prepared:
    """A kernel, prepared for `filter_maps`.

    Attributes:
      factors: what patches, or turned entries, are multiplied by: see `prepare`.
      size: its rows and columns.
      is_turned: for Winograd's form.
    """

    factors: jax.Array
    size: Pair
    is_turned: bool = False


def prepare(kernel: jax.Array, stride: Pair) -> Prepared:
    """Prepares a kernel [rows, columns, C, maps], for many calls.

    Its factors are [36, C, maps] for 3 x 3 entries and stride 1, else [entries * C,
    maps].
    """
    *size, _, maps = kernel.shape
    if not _is_winograd(tuple(size), stride):
        return Prepared(kernel.reshape(-1, maps), tuple(size))
    return Prepared(winograd.turn_kernel(kernel), (3, 3), is_turned=True)


def work(places: Pair, size: Pair) -> int:
    """Multiply-adds of `places` of the result, for each map in and out, at stride 1."""
    if not _is_winograd(size, (1, 1)):
        return math.prod(places) * math.prod(size)
    return TURNED**2 * math.prod(-(-n // TILE) for n in places)


def _is_winograd(size: Pair, stride: Pair) -> bool:
    return size == (3, 3) and stride == (1, 1)


def filter_maps(x: jax.Array, kernel: Prepared, stride: Pair) -> jax.Array:
    """Filters maps, without padding, groups or bias.

    Args:
      x: [N, H, W, C] float, made for float32. An entry that is not finite spoils the
        4 x 4 places of the result around it.
      kernel: from `prepare`.
      stride: the same as there.

    Returns:
      [N, H', W', maps], in x's dtype.
    """
    filtering = _winograd if kernel.is_turned else _patches
    return _folded(filtering, kernel.size, stride)(x, kernel.factors)


@functools.cache
def _folded(filtering, size: Pair, stride: Pair):
    """`filtering`, which takes another axis of images as more images."""

    @custom_vmap
    def apply(x, factors):
        return filtering(x, factors, size, stride)

    @apply.def_vmap
    def _(count, batched, x, factors):
        if batched[1] or not batched[0]:
            axes = tuple(0 if each else None for each in batched)
            each = functools.partial(filtering, size=size, stride=stride)
            return jax.vmap(each, axes)(x, factors), True
        y = apply(x.reshape(-1, *x.shape[2:]), factors)
        return y.reshape(count, -1, *y.shape[1:]), True

    return apply


def _places(x: jax.Array, size: Pair, stride: Pair) -> Pair:
    rows, columns = (
        (n - s) // t + 1 for n, s, t in zip(x.shape[1:3], size, stride, strict=True)
    )
    return rows, columns


def _patches(x, factors, size: Pair, stride: Pair):
    rows, columns = _places(x, size, stride)
    down, across = stride
    patches = jnp.concatenate(
        [
            x[
                :,
                i : i + (rows - 1) * down + 1 : down,
                j : j + (columns - 1) * across + 1 : across,
            ]
            for i in range(size[0])
            for j in range(size[1])
        ],
        axis=-1,
    )
    flat = patches.reshape(len(x) * rows * columns, -1)
    return (flat @ factors).reshape(len(x), rows, columns, -1)


def _winograd(x, factors, size: Pair, stride: Pair):
    """Block by block, where all turned entries at once would outgrow the cache.

    A block is a strip of one image's rows, or several whole images.
    """
    (count, _, width, channels), maps = x.shape, factors.shape[-1]
    height, across = _places(x, size, stride)
    if not x.size:
        return jnp.zeros((count, height, across, maps), x.dtype)
    rows = -(-height // TILE)
    row = TURNED**2 * -(-across // TILE) * max(channels, maps) * x.dtype.itemsize
    most = winograd.block_bytes(factors)
    strips = -(-rows // min(rows, max(1, most // row)))
    rows = -(-rows // strips)
    images = min(count, max(1, most // (rows * row))) if strips == 1 else 1
    groups = -(-count // images)
    images = -(-count // groups)
    blocks = groups * strips
    if blocks == 1:
        return _tiles(x, factors)
    # Whole blocks: what is filled up is computed and dropped.
    more = -count % images, TILE * rows * strips - height
    x = jnp.pad(x, ((0, more[0]), (0, more[1]), (0, 0), (0, 0)))

    def block(number):
        first = number // strips * images, number % strips * TILE * rows
        cut = images, TILE * rows + 2, width, channels
        return _tiles(lax.dynamic_slice(x, (*first, 0, 0), cut), factors)

    y = lax.map(block, jnp.arange(blocks))
    return y.reshape(len(x), TILE * rows * strips, across, maps)[:count, :height]


def _tiles(x, factors):
    """Whole tiles: rows and columns that are too many are computed and dropped."""
    height, width = _places(x, (3, 3), (1, 1))
    rows, columns = -(-height // TILE), -(-width // TILE)
    more = [(0, TILE * n - m) for n, m in ((rows, height), (columns, width))]
    x = jnp.pad(x, ((0, 0), *more, (0, 0)))
    x = jnp.stack(winograd.turn(_entries(x, rows, axis=1)))
    x = jnp.stack(winograd.turn(_entries(x, columns, axis=3)), axis=1)
    turned = x.reshape(TURNED**2, -1, x.shape[-1])
    products = jnp.einsum("ptc,pcd->ptd", turned, factors)
    products = products.reshape(*x.shape[:-1], -1)
    back = winograd.turn_back
    lines = [jnp.stack(back(line), axis=3) for line in back(products)]
    y = jnp.stack(lines, axis=2)
    y = y.reshape(-1, TILE * rows, TILE * columns, y.shape[-1])
    return y[:, :height, :width]


def _entries(x, tiles: int, axis: int) -> list[jax.Array]:
    """The first entries of all tiles along an axis, the second ones, and so on."""
    last = TILE * (tiles - 1) + 1
    return [lax.slice_in_dim(x, i, i + last, TILE, axis=axis) for i in range(TURNED)]
