"""Text on pictures that are copied pixel by pixel, drawn by Pillow."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

_SMALLEST = 7


class Caption(NamedTuple):
    """A line of text and its position.

    Attributes:
      line: what to write.
      column, row: pixels; the line is centred there.
      room: pixels; a line that is wider is written smaller.
      size: of the type, pixels.
    """

    line: str
    column: float
    row: float
    room: float
    size: int


def write(sheet: np.ndarray, captions: Sequence[Caption]) -> np.ndarray:
    """The sheet [h, w, 3] uint8 with the captions on it."""
    picture = Image.fromarray(sheet)
    pen = ImageDraw.Draw(picture)
    for line, column, row, room, size in captions:
        shrunk = int(size * min(1, room / max(1, width(line, size))))
        font = _font(max(_SMALLEST, shrunk))
        pen.text((column, row), line, fill="black", font=font, anchor="mm")
    return np.asarray(picture)


def width(line: str, size: int) -> float:
    """The width of the line in this size, pixels."""
    return _font(size).getlength(line)


def end(name: str, most: int) -> str:
    """A name of at most so many characters: the end of one that is longer.

    The ends of names such as layers/block0/relu tell them apart.
    """
    return name if len(name) <= most else "…" + name[-(most - 1) :]


def number(value: float) -> str:
    """A number in a caption: 26,123 and not 2.61e+04."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)
