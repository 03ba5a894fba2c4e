"""Fig. 2: pages of a layer's feature maps, projections beside their patches."""

import math
import pathlib
from collections.abc import Sequence

import numpy as np

from zf_jax import io
from zf_jax.figures import raster, text
from zf_jax.figures.text import Caption

# A page is not much wider or higher, pixels.
_WIDEST, _HIGHEST = 4000, 7000
# A map's two grids are enlarged by a whole number, to about this width in pixels.
_MAP_WIDTH = 400
# Pixels: above a map for its caption, between maps, at the page's top and bottom.
_CAPTION, _GAP, _TOP, _BOTTOM = 32, 36, 40, 10


def maps_per_page(size: tuple[int, int], k: int) -> int:
    """How many maps of k patches [h, w] fit on a page that can be read."""
    empty = np.zeros((k, *size, 3), np.float32)
    height, width = _cell(empty, empty, np.ones(k, bool)).shape[:2]
    return _columns(width) * max(1, min(16, _HIGHEST // (height + _CAPTION)))


def draw(
    patches: np.ndarray,
    projections: np.ndarray,
    captions: Sequence[str],
    *,
    title: str,
    path: pathlib.Path,
    shown: np.ndarray | None = None,
) -> pathlib.Path:
    """Draws each map's projections beside the patches that they come from.

    Args:
      patches: [M, K, h, w, 3] in 0..1.
      projections: [M, K, h, w, 3], signed.
      captions: M lines, one a map.
      title: of the page.
      path: of the PNG.
      shown: [M, K] bool, the patches and projections to draw; others stay white. A map
        with none says "never fires". All by default.
    """
    if shown is None:
        shown = np.ones(patches.shape[:2], bool)
    cells = [_cell(*each) for each in zip(patches, projections, shown, strict=True)]
    height, width = cells[0].shape[:2]
    columns = min(len(cells), _columns(width))
    rows = math.ceil(len(cells) / columns)
    used = columns * (width + _GAP)
    # The title has room enough in a size of 12, which is still easy to read.
    page_width = max(used, math.ceil(text.width(title, 12)) + _GAP)
    page_height = _TOP + rows * (_CAPTION + height) + _BOTTOM
    # Pixels are copied, not resampled: a figure of matplotlib takes seconds a page.
    page = np.full((page_height, page_width, 3), 255, np.uint8)
    middle = page_width // 2
    texts = [Caption(title, middle, _TOP / 2, page_width, 17)]
    for index, (cell, caption) in enumerate(zip(cells, captions, strict=True)):
        row, column = divmod(index, columns)
        top = _TOP + row * (_CAPTION + height) + _CAPTION
        left = middle - used // 2 + column * (width + _GAP) + _GAP // 2
        page[top : top + height, left : left + width] = np.rint(255 * cell)
        centre, room = left + width / 2, width + _GAP / 2
        texts.append(Caption(caption, centre, top - 13, room, 14))
        if not shown[index].any():
            texts.append(Caption("never fires", centre, top + height / 2, room, 14))
    return io.save_picture(text.write(page, texts), path)


def _columns(width: int) -> int:
    """Maps in a row of the page: fewer where each is large and full of detail."""
    most = 2 if width > 1.2 * _MAP_WIDTH else 4
    return max(1, min(most, _WIDEST // (width + _GAP)))


def _cell(patches: np.ndarray, projections: np.ndarray, shown: np.ndarray):
    """A map's grid of projections, left of the grid of its patches, in 0..1."""
    hidden = ~shown[:, None, None, None]
    left, right = (
        raster.grid(np.where(hidden, 1.0, pictures))
        for pictures in (raster.stretch(projections), patches)
    )
    between = np.ones((len(left), max(2, len(left) // 20), 3))
    cell = np.concatenate([left, between, right], axis=1)
    if not shown.any():
        cell = np.full_like(cell, 0.95)
    larger = max(1, round(_MAP_WIDTH / cell.shape[1]))
    return cell.repeat(larger, axis=0).repeat(larger, axis=1)
