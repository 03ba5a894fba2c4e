"""Fig. 4: how the strongest projection of a feature map changes over training."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from zf_jax import io
from zf_jax.figures import raster

_FRAME_COLOUR = "tab:orange"
_LEGEND = (
    "above: epochs; framed: another image than in the column before; white: silent; "
    "each picture is scaled by itself\n"
    "below: cosine of the projection of the last epoch's image at that epoch and at "
    "the last, mean over the maps"
)
# White on each side of a picture, as a share of its cell.
_MARGIN = 0.04
# Inches.
_WIDEST = 15


class Block(NamedTuple):
    """M maps of a layer over E epochs, a row a map and a column an epoch.

    Attributes:
      name: of the layer.
      rows: names of the maps.
      projections: [M, E, h, w, 3] signed, of the map's strongest activation.
      images: [M, E] int, the image of that activation; -1 where the map is silent.
      cosines: [M, E], as `cosine_to_last` gives them.
    """

    name: str
    rows: Sequence[str]
    projections: np.ndarray
    images: np.ndarray
    cosines: np.ndarray

    def rows_from(self, start: int, count: int) -> "Block":
        """Some of the rows; `cosines`, drawn as a mean, stay those of all rows."""
        some = slice(start, start + count)
        return self._replace(
            rows=self.rows[some],
            projections=self.projections[some],
            images=self.images[some],
        )


def cosine_to_last(projections: np.ndarray) -> np.ndarray:
    """How similar a unit's projection is to its projection at the last epoch.

    Not in the paper, whose fig. 4 mixes two changes, of the features and of the images
    that win: here the image and the position are the last epoch's in every column.

    Args:
      projections: [M, E, h, w, 3], a row of one unit and image.

    Returns:
      [M, E], the cosine to the last column; 0 where one of the two is zero.
    """
    flat = projections.reshape(*projections.shape[:2], -1)
    size = np.linalg.norm(flat, axis=-1)
    both = size * size[:, -1:]
    return (flat * flat[:, -1:]).sum(axis=-1) / np.where(both > 0, both, 1)


def image_changes(images: np.ndarray) -> np.ndarray:
    """[M, E] bool: where the image is another than in the column before; -1 is none."""
    changed = np.zeros(images.shape, bool)
    changed[:, 1:] = images[:, 1:] != images[:, :-1]
    return changed & (images >= 0)


def draw(
    blocks: Sequence[Block],
    epochs: Sequence[int],
    *,
    title: str,
    path: pathlib.Path,
) -> pathlib.Path:
    """Draws the blocks, several side by side where they fit.

    A picture is framed where its image changed, and left out where the map is silent.
    Not in the paper, which only says that the contrast is enhanced: every picture is
    stretched by itself (`raster.stretch`), so it does not tell how strong the map is.
    """
    cell = 0.8 if len(blocks) == 1 else 0.5
    width = cell * len(epochs) + 0.9
    columns = max(1, min(len(blocks), 4, int(_WIDEST / width)))
    lines = [blocks[i : i + columns] for i in range(0, len(blocks), columns)]
    heights = [cell * max(len(b.rows) for b in line) + 0.55 for line in lines]
    figure = Figure(
        figsize=(max(5, width * columns), sum(heights) + 0.9), layout="constrained"
    )
    axes = figure.subplots(len(lines), columns, squeeze=False, height_ratios=heights)
    axes = np.ravel(axes)
    for axis, block in zip(axes, blocks, strict=False):
        _draw_pictures(axis, block)
        _draw_labels(axis, block, epochs)
    for axis in axes[len(blocks) :]:
        axis.axis("off")
    figure.suptitle(title, fontsize=10)
    figure.supxlabel(_LEGEND, fontsize=8)
    return io.save(figure, path, dpi=120)


def _draw_pictures(axis, block: Block) -> None:
    """Each picture fills a cell of 1 by 1, whatever its size in pixels."""
    changed = image_changes(block.images)
    for row, projections in enumerate(block.projections):
        for column, picture in enumerate(raster.stretch(projections)):
            if block.images[row, column] < 0:
                continue
            left, top = column + _MARGIN, row + _MARGIN
            right, bottom = column + 1 - _MARGIN, row + 1 - _MARGIN
            extent = (left, right, bottom, top)
            axis.imshow(picture, extent=extent, interpolation="auto")
            if changed[row, column]:
                size = right - left, bottom - top
                style = {"fill": False, "edgecolor": _FRAME_COLOUR, "lw": 1.3}
                axis.add_patch(Rectangle((left, top), *size, **style))


def _draw_labels(axis, block: Block, epochs: Sequence[int]) -> None:
    """Epochs above the columns, mean cosines below, names of the maps on the left."""
    count, length, height, width = block.projections.shape[:4]
    axis.set(
        xlim=(0, length),
        ylim=(count, 0),
        aspect=height / width,
        frame_on=False,
        xticks=np.arange(length) + 0.5,
        yticks=np.arange(count) + 0.5,
    )
    # A map that is silent at the last epoch has no projection to compare with.
    cosines = block.cosines[block.cosines[:, -1] > 0]
    means = [f"{each:.2f}" for each in cosines.mean(axis=0)] if len(cosines) else []
    axis.set_xticklabels(means or [""] * length)
    axis.set_yticklabels(block.rows)
    above = axis.secondary_xaxis("top")
    above.set_xticks(np.arange(length) + 0.5, epochs)
    above.spines["top"].set_visible(False)
    for each in (axis, above):
        each.tick_params(length=0, pad=1, labelsize=7)
    axis.set_title(block.name, fontsize=9, pad=3)
