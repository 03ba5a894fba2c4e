"""Arrays to pictures: pixels, projections, grids. Pictures are [h, w, 3] in 0..1."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

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


class Words(NamedTuple):
    """What to write: around (column, row) pixels, at most `room` of them wide."""

    text: str
    column: float
    row: float
    room: float
    size: int


def write(sheet: np.ndarray, words: Sequence[Words]) -> np.ndarray:
    """A sheet [h, w, 3] uint8 with words; what is too wide for its room is smaller."""
    picture = Image.fromarray(sheet)
    pen = ImageDraw.Draw(picture)
    for text, column, row, room, size in words:
        size = max(7, int(size * min(1, room / max(1, width(text, size)))))
        pen.text((column, row), text, fill="black", font=_font(size), anchor="mm")
    return np.asarray(picture)


def width(text: str, size: int) -> float:
    """Of written words, pixels."""
    return _font(size).getlength(text)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)
