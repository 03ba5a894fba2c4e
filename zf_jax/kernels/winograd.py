"""Winograd's F(4x4, 3x3): a 3 x 3 convolution by a quarter of the multiplications.

Lavin & Gray 2016. A tile of 6 x 6 entries of the input is transformed, multiplied point
by point with the transformed kernel, and transformed back into a tile of 4 x 4 entries
of the result: 36 products for each pair of channels, where a convolution takes 144.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap

from zf_jax.kernels.tuning import BLOCK_BYTES, FAR, NEAR

# Side of a tile of the result, and of the tile of the input that it depends on.
_OUT, _IN = 4, 6


def multiply_adds(size: Sequence[int]) -> int:
    """For a result of `size` (rows, columns), for each pair of channels."""
    return _IN**2 * math.prod(-(-n // _OUT) for n in size)


def transform_kernel(kernel: jax.Array) -> jax.Array:
    """A kernel [3, 3, C, D] as `conv` takes it, [36, C, D]."""
    along_axis = _kernel_transform()
    matrix = jnp.asarray(np.kron(along_axis, along_axis), kernel.dtype)
    transformed = jnp.matmul(matrix, kernel.reshape(9, -1), precision="highest")
    return transformed.reshape(_IN**2, *kernel.shape[2:])


def _kernel_transform() -> np.ndarray:
    """[6, 3]: a filter's polynomial at the points, scaled as `_transform` needs it."""
    points = np.array([0, NEAR, -NEAR, FAR, -FAR])
    distances = [np.prod(point - points[points != point]) for point in points]
    at_points = points[:, None] ** np.arange(3) / np.array(distances)[:, None]
    # The last point is infinity.
    return np.concatenate([at_points, [[0, 0, 1]]])


@custom_vmap
def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A convolution without padding; `jax.vmap` makes the mapped axis more images.

    Args:
      x: [N, H, W, C] float, made for float32. An entry that is not finite spoils the
        4 x 4 positions of the result around it.
      kernel: from `transform_kernel`, [36, C, D].

    Returns:
      [N, H - 2, W - 2, D], in x's dtype.
    """
    return _by_blocks(x, kernel)


@conv.def_vmap
def _conv_vmapped(count, is_mapped, x, kernel):
    if is_mapped[1] or not is_mapped[0]:
        axes = tuple(0 if each else None for each in is_mapped)
        return jax.vmap(_by_blocks, axes)(x, kernel), True
    y = conv(x.reshape(-1, *x.shape[2:]), kernel)
    return y.reshape(count, -1, *y.shape[1:]), True


def _by_blocks(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes block by block, since all transformed tiles would outgrow the cache.

    A block is a strip of one image's rows, or several whole images.
    """
    (count, height, width, channels), channels_out = x.shape, kernel.shape[-1]
    height, columns = height - 2, width - 2
    if not x.size:
        return jnp.zeros((count, height, columns, channels_out), x.dtype)
    rows = -(-height // _OUT)
    row_of_tiles = _IN**2 * -(-columns // _OUT) * max(channels, channels_out)
    row_bytes = row_of_tiles * x.dtype.itemsize
    # The transformed kernel is read again for every block.
    block_bytes = max(BLOCK_BYTES, kernel.size * kernel.dtype.itemsize // 2)
    strips = -(-rows // min(rows, max(1, block_bytes // row_bytes)))
    rows = -(-rows // strips)
    images = min(count, max(1, block_bytes // (rows * row_bytes))) if strips == 1 else 1
    groups = -(-count // images)
    images = -(-count // groups)
    if groups * strips == 1:
        return _by_tiles(x, kernel)
    # Whole blocks: the images and rows that fill the last one up are dropped again.
    more_images, more_rows = -count % images, _OUT * rows * strips - height
    x = jnp.pad(x, ((0, more_images), (0, more_rows), (0, 0), (0, 0)))

    def block(number):
        first = number // strips * images, number % strips * _OUT * rows
        size = images, _OUT * rows + 2, width, channels
        return _by_tiles(lax.dynamic_slice(x, (*first, 0, 0), size), kernel)

    y = lax.map(block, jnp.arange(groups * strips))
    y = y.reshape(len(x), _OUT * rows * strips, columns, channels_out)
    return y[:count, :height]


def _by_tiles(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Whole tiles: the rows and columns that fill the last one up are dropped again."""
    height, width = x.shape[1] - 2, x.shape[2] - 2
    rows, columns = -(-height // _OUT), -(-width // _OUT)
    pads = [(0, _OUT * n - m) for n, m in ((rows, height), (columns, width))]
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    x = jnp.stack(_transform(_entries(x, rows, axis=1)))
    x = jnp.stack(_transform(_entries(x, columns, axis=3)), axis=1)
    tiles = x.reshape(_IN**2, -1, x.shape[-1])
    products = jnp.einsum("ptc,pcd->ptd", tiles, kernel)
    products = products.reshape(*x.shape[:-1], -1)
    lines = [
        jnp.stack(_inverse_transform(line), axis=3)
        for line in _inverse_transform(products)
    ]
    y = jnp.stack(lines, axis=2)
    y = y.reshape(-1, _OUT * rows, _OUT * columns, y.shape[-1])
    return y[:, :height, :width]


def _entries(x: jax.Array, tiles: int, axis: int) -> list[jax.Array]:
    """The first entries of all tiles along an axis, the second ones, and so on."""
    last = _OUT * (tiles - 1) + 1
    return [lax.slice_in_dim(x, i, i + last, _OUT, axis=axis) for i in range(_IN)]


def _transform(d: Sequence[jax.Array]) -> list[jax.Array]:
    """6 entries of the input, as values at the 6 points."""
    near, far = NEAR**2, FAR**2
    even_near, odd_near = d[4] - far * d[2], NEAR * (d[3] - far * d[1])
    even_far, odd_far = d[4] - near * d[2], FAR * (d[3] - near * d[1])
    return [
        near * far * d[0] - (near + far) * d[2] + d[4],
        even_near + odd_near,
        even_near - odd_near,
        even_far + odd_far,
        even_far - odd_far,
        near * far * d[1] - (near + far) * d[3] + d[5],
    ]


def _inverse_transform(m: Sequence[jax.Array]) -> list[jax.Array]:
    """The products at the 6 points, as 4 entries of the result."""
    near, near_odd, far, far_odd = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    return [
        m[0] + near + far,
        NEAR * near_odd + FAR * far_odd,
        NEAR**2 * near + FAR**2 * far,
        NEAR**3 * near_odd + FAR**3 * far_odd + m[5],
    ]
