"""Sheets: many small pictures in one WebP file, a row for each unit or image."""

import dataclasses
import pathlib

import matplotlib
import numpy as np
from PIL import Image

from zf_jax.errors import BadInput

# Larger pictures are made smaller: a page shows nine of them beside nine others.
LARGEST = 128
# Pictures up to this many pixels a side are kept exactly: lossy WebP halves the
# resolution of colours, and a filter of 7 x 7 pixels has none to give.
_EXACT = 16
# The demo of 874 units takes some 40 MB.
_QUALITY = 72
# Pixels of a WebP file's side.
_MOST = 16383


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Where the pictures of a sheet lie.

    Attributes:
      columns: pictures in a row.
      pitch: (h, w) from one picture to the next.
      size: (h, w) of a picture; the rest of its pitch is padding.
    """

    columns: int
    pitch: tuple[int, int]
    size: tuple[int, int]


def write(path: pathlib.Path, pictures: np.ndarray) -> Sheet:
    """Writes pictures [rows, columns, h, w, 3] uint8 as one WebP file.

    Raises:
      BadInput: the file would be larger than WebP allows.
    """
    rows, columns, height, width = pictures.shape[:4]
    # WebP halves colours: an even pitch keeps those of neighbours apart.
    padding = ((0, 0), (0, 0), (0, height % 2), (0, width % 2), (0, 0))
    padded = np.pad(pictures, padding, mode="edge")
    pitch = padded.shape[2:4]
    sheet = padded.swapaxes(1, 2).reshape(rows * pitch[0], columns * pitch[1], 3)
    if max(sheet.shape) > _MOST:
        raise BadInput(
            f"{path.name}: {columns} pictures of {height} x {width} pixels in each of "
            f"{rows} rows do not fit a WebP file of {_MOST:,} pixels a side; give fewer"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    exact = max(height, width) <= _EXACT
    Image.fromarray(sheet).save(path, quality=_QUALITY, method=2, lossless=exact)
    return Sheet(columns, pitch, (height, width))


def heat(maps: np.ndarray) -> np.ndarray:
    """Maps [...] in 0..1 as pictures [..., 3] uint8, from dark to bright."""
    colors = matplotlib.colormaps["viridis"](np.clip(maps, 0, 1), bytes=True)
    return colors[..., :3]


def shrink(pictures: np.ndarray, largest: int = LARGEST) -> np.ndarray:
    """Pictures [rows, columns, h, w, 3] with at most `largest` pixels a side."""
    rows, columns, height, width = pictures.shape[:4]
    scale = largest / max(height, width)
    if scale >= 1:
        return pictures
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = [
        Image.fromarray(picture).resize(size, Image.Resampling.BOX)
        for picture in pictures.reshape(-1, height, width, 3)
    ]
    return np.stack(small).reshape(rows, columns, *size[::-1], 3)
