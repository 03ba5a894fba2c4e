"""Filtering as matrix products, which a CPU does several times faster.

XLA's convolution on CPU loses half its speed and more once its batch outgrows the
cache, matrix products do not. Filters of 3 x 3 entries and stride 1 go by Winograd's
F(2x2, 3x3) (Lavin & Gray 2016): 16 products give what takes 36 otherwise, and float32
errors stay where a convolution's are, near 1e-6 of the largest value. All others
go by patches and one product. Measured by `experiments.benchmark --bench=filters`.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap

from zf_jax.layers import Pair

# F(2x2, 3x3), along one axis. Each of 4 turned entries of the input is entry FIRST of a
# tile of 4, and SIGN times entry SECOND; FILTER turns 3 entries of the kernel, OUTPUT
# the 4 products into 2 entries of the result.
_FIRST, _SECOND, _SIGN = (0, 1, 2, 1), (2, 2, 1, 3), (-1, 1, -1, -1)
_FILTER = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_OUTPUT = ((1, 1, 1, 0), (0, 1, -1, -1))
# Bytes of turned entries worked on together, and of turned kernels up to which that
# helps: larger ones would be read from memory again for every block.
_BLOCK, _MOST_FACTORS = 512 << 10, 4 << 20


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["factors"], meta_fields=["size"]
)
@dataclasses.dataclass(frozen=True)
class Prepared:
    """A kernel, prepared for `filter_maps`.

    Attributes:
      factors: [16, C, maps] for 3 x 3 entries and stride 1, else [entries * C, maps].
      size: its rows and columns.
    """

    factors: jax.Array
    size: Pair


def prepare(kernel: jax.Array, stride: Pair) -> Prepared:
    """Prepares a kernel [rows, columns, C, maps], for many calls."""
    *size, channels, maps = kernel.shape
    if not _is_winograd(tuple(size), stride):
        return Prepared(kernel.reshape(-1, maps), tuple(size))
    # Both axes at once: 16 sums of 9 entries each.
    turn = jnp.asarray(np.kron(_FILTER, _FILTER), kernel.dtype)
    turned = jnp.matmul(turn, kernel.reshape(9, -1), precision="highest")
    return Prepared(turned.reshape(16, channels, maps), (3, 3))


def _is_winograd(size: Pair, stride: Pair) -> bool:
    return size == (3, 3) and stride == (1, 1)


def filter_maps(x: jax.Array, kernel: Prepared, stride: Pair) -> jax.Array:
    """Filters maps, without padding, groups or bias.

    Args:
      x: [N, H, W, C], float.
      kernel: from `prepare`.
      stride: the same as there.

    Returns:
      [N, H', W', maps], in x's dtype.
    """
    filtering = _winograd if _is_winograd(kernel.size, stride) else _patches
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
    rows = -(-height // 2)
    row = 16 * -(-across // 2) * max(channels, maps) * x.dtype.itemsize
    strips = -(-rows // min(rows, max(1, _BLOCK // row)))
    rows = -(-rows // strips)
    images = min(count, max(1, _BLOCK // (rows * row))) if strips == 1 else 1
    blocks = -(-count // images) * strips
    if blocks == 1 or factors.size * factors.dtype.itemsize > _MOST_FACTORS:
        return _tiles(x, factors)
    # Whole blocks: what is filled up is computed and dropped.
    more = -count % images, 2 * rows * strips - height
    x = jnp.pad(x, ((0, more[0]), (0, more[1]), (0, 0), (0, 0)))

    def block(number):
        first = number // strips * images, number % strips * 2 * rows
        cut = images, 2 * rows + 2, width, channels
        return _tiles(lax.dynamic_slice(x, (*first, 0, 0), cut), factors)

    y = lax.map(block, jnp.arange(blocks))
    return y.reshape(len(x), 2 * rows * strips, across, maps)[:count, :height]


def _tiles(x, factors):
    """Tiles of 2 x 2 outputs: an odd row or column more is computed and dropped."""
    height, width = _places(x, (3, 3), (1, 1))
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    rows, columns = -(-height // 2), -(-width // 2)
    turned = _turned(_turned(x, rows, axis=1), columns, axis=2)
    turned = turned.reshape(len(x), 4, rows, 4, columns, -1)
    turned = turned.transpose(1, 3, 0, 2, 4, 5).reshape(16, -1, x.shape[-1])
    products = jnp.einsum("ptc,pcd->ptd", turned, factors)
    products = products.reshape(4, 4, len(x), rows, columns, -1)
    lines = [_sum(row, products) for row in _OUTPUT]
    y = [jnp.stack([_sum(row, line) for row in _OUTPUT], axis=3) for line in lines]
    y = jnp.stack(y, axis=2).reshape(len(x), 2 * rows, 2 * columns, -1)
    return y[:, :height, :width]


def _turned(x, tiles: int, axis: int) -> jax.Array:
    """The turned entries of all tiles along an axis, the first one of each first.

    Index by index: XLA makes one loop of it, of slices it would make many.
    """

    def entries(which):
        index = np.add.outer(which, 2 * np.arange(tiles)).ravel()
        return jnp.take(x, index, axis=axis, mode="clip")

    shape = [1] * x.ndim
    shape[axis] = 4 * tiles
    sign = np.repeat(np.array(_SIGN, x.dtype), tiles).reshape(shape)
    return entries(_FIRST) + sign * entries(_SECOND)


def _sum(factors, arrays):
    """Of arrays times 1, -1 or nothing."""
    total = None
    for factor, array in zip(factors, arrays, strict=True):
        if factor == 1:
            total = array if total is None else total + array
        elif factor == -1:
            total = -array if total is None else total - array
    return total
