"""Arrays to pictures ([h, w, 3], values in 0..1): images, signed maps, grids."""

import math

import numpy as np
from skimage import util

from zf_jax.errors import BadInput
from zf_jax.spec import Input


def denormalize(images: np.ndarray, given: Input) -> np.ndarray:
    """Undoes the net's preprocessing.

    Args:
      images: [..., C] float, (pixels - mean) * scale; C is 3, or 1 for grey.
      given: the net's input, which holds the mean and the scale.

    Returns:
      [..., 3] in 0..1; what lies outside is clipped.

    Raises:
      BadInput: another number of channels.
    """
    pixels = images / np.array(given.scale) + np.array(given.mean)
    return _to_rgb(np.clip(pixels / 255, 0, 1))


def stretch(projections: np.ndarray) -> np.ndarray:
    """Signed projections [N, h, w, C] to pictures [N, h, w, 3] with zero at 0.5.

    C is 3, or 1 for grey; any other raises BadInput. Each projection is divided by the
    99.5th percentile of its own magnitudes.
    Not in the paper: it leaves the display open (fig. 4 says "contrast enhanced").
    """
    size = np.abs(projections).reshape(len(projections), -1)
    top = np.percentile(size, 99.5, axis=1) if size.size else size
    top = np.where(top > 0, top, size.max(axis=1))
    top = np.where(top > 0, top, 1.0)[:, None, None, None]
    return _to_rgb(np.clip(0.5 + 0.5 * projections / top, 0, 1))


def _to_rgb(pictures: np.ndarray) -> np.ndarray:
    """[..., 3] of [..., 1 | 3]."""
    channels = pictures.shape[-1]
    if channels not in (1, 3):
        raise BadInput(
            f"pictures: have {channels} channels; give 3, or 1 for grey, "
            "as a slice of them"
        )
    return np.repeat(pictures, 3, axis=-1) if channels == 1 else pictures


def gap(height: int) -> int:
    """The pixels that `grid` leaves white between pictures of this height."""
    return max(1, height // 24)


def grid(pictures: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Pictures [N, h, w, 3] in one picture, row by row, with white gaps.

    The grid is as square as it can be where `columns` is not given.
    """
    count, height = pictures.shape[:2]
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    between = gap(height)
    sheet = util.montage(
        pictures,
        fill=(1, 1, 1),
        padding_width=between,
        grid_shape=(rows, columns),
        channel_axis=-1,
    )
    # montage also pads the border.
    return sheet[between:-between, between:-between]
