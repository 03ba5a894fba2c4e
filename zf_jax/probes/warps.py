"""Translation, scale and rotation of images (fig. 5), resampled in JAX.

A warp is a matrix M [2, 3]. The result's pixel at p = (row, column), counted from the
centre, is taken from M[:, :2] @ p + M[:, 2] in the image. The functions that make one
take arrays too: [A] amounts give [A, 2, 3].
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.scipy import ndimage

from zf_jax.errors import BadInput

Border = Literal["mean", "edge"]

_MODES = {"mean": "constant", "edge": "nearest"}


def translate(rows: jax.Array | float) -> jax.Array:
    """Moves images down by `rows` pixels, which need not be whole; negative: up."""
    rows = jnp.asarray(rows, jnp.float32)
    none, one = jnp.zeros_like(rows), jnp.ones_like(rows)
    return _matrix((one, none, -rows), (none, one, none))


def scale(ratio: jax.Array | float) -> jax.Array:
    """Enlarges images by `ratio`; nothing is smoothed, so ratios below 1 alias."""
    inverse = 1 / jnp.asarray(ratio, jnp.float32)
    none = jnp.zeros_like(inverse)
    return _matrix((inverse, none, none), (none, inverse, none))


def rotate(degrees: jax.Array | float) -> jax.Array:
    """Rotates images counterclockwise; multiples of 90 degrees are exact."""
    degrees = jnp.asarray(degrees, jnp.float32)
    quarters = jnp.round(degrees / 90)
    rest = jnp.deg2rad(degrees - 90 * quarters)
    cos, sin = jnp.cos(rest), jnp.sin(rest)
    turns = [quarters % 4 == turn for turn in range(4)]
    cos, sin = (
        jnp.select(turns, [cos, -sin, -cos, sin]),
        jnp.select(turns, [sin, cos, -sin, -cos]),
    )
    none = jnp.zeros_like(cos)
    return _matrix((cos, sin, none), (-sin, cos, none))


def _matrix(*rows) -> jax.Array:
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def apply(images: jax.Array, warp: jax.Array, border: Border = "mean") -> jax.Array:
    """Warps images about their centre by bilinear interpolation.

    Translations by whole pixels, and rotations of square images by multiples of 90
    degrees, are exact. A pixel that is taken from less than a pixel beyond the border
    mixes the border with what lies beyond.

    Args:
      images: [N, H, W, C] float, as `convnet.prepare` makes them.
      warp: [2, 3].
      border: what is seen beyond the image. "mean": 0, the mean colour of images that
        had their mean taken off; "edge": the nearest pixel.
        Not in the paper: border and interpolation.

    Returns:
      [N, H, W, C], of the images' dtype.

    Raises:
      BadInput: an unknown border.
    """
    if border not in _MODES:
        raise BadInput(f"border {border!r}: there are {', '.join(_MODES)}")
    middle = [(n - 1) / 2 for n in images.shape[1:3]]
    row, column = jnp.meshgrid(
        *(jnp.arange(n) - m for n, m in zip(images.shape[1:3], middle, strict=True)),
        indexing="ij",
    )
    # Not as a product of matrices: accelerators round the factors of those.
    positions = [
        warp[axis, 0] * row + warp[axis, 1] * column + warp[axis, 2] + middle[axis]
        for axis in (0, 1)
    ]

    def resample(channel):
        return ndimage.map_coordinates(channel, positions, order=1, mode=_MODES[border])

    # One channel of one image; all share the positions.
    resample = jax.vmap(jax.vmap(resample, in_axes=-1, out_axes=-1))
    return resample(images).astype(images.dtype)
