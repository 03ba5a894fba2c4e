"""Arrays to pictures: pixels, projections, grids. Pictures are [h, w, 3] in 0..1."""

import math

import numpy as np

from zf_jax.spec import Input


def photograph(images: np.ndarray, given: Input) -> np.ndarray:
    """Images as the net takes them ([..., 3] float), back to pictures."""
    return np.clip((images / np.array(given.scale) + np.array(given.mean)) / 255, 0, 1)


def stretch(projections: np.ndarray) -> np.ndarray:
    """Signed projections [N, h, w, 3] to pictures, zero in the middle of the scale.

    Each is scaled by its own 99.5th percentile of magnitudes.
    Not in the paper, which leaves the display open (fig. 4: contrast enhanced).
    """
    size = np.abs(projections).reshape(len(projections), -1)
    top = np.percentile(size, 99.5, axis=1) if size.size else size
    top = np.where(top > 0, top, size.max(axis=1))
    top = np.where(top > 0, top, 1.0)[:, None, None, None]
    return np.clip(0.5 + 0.5 * projections / top, 0, 1)


def grid(pictures: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Pictures [N, h, w, 3] side by side, row by row, with white gaps."""
    count, height, width, _ = pictures.shape
    gap = max(1, height // 24)
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3))
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet
