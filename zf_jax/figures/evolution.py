"""Fig. 4: how what excites a map most changes over training."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from zf_jax import io
from zf_jax.figures import raster

_MARK = "tab:orange"
_LEGEND = (
    "above: epochs; framed: another image than in the column before; white: silent; "
    "each picture in its own contrast\n"
    "below: how near the last winners' projections have come to those of the last "
    "epoch (mean cosine)"
)
# Of a cell, on each side.
_GAP = 0.04
# Inches.
_WIDEST = 15


class Block(NamedTuple):
    """Some maps of a layer, a row each, over training, a column an epoch.

    Attributes:
      name: of the layer.
      rows: names of the maps.
      projections: [M, E, h, w, 3] signed, each of the map's strongest activation.
      winners: [M, E] int, the image it is in; -1 where the map is silent.
      cosines: [M, E], as the function of that name gives them.
    """

    name: str
    rows: Sequence[str]
    projections: np.ndarray
    winners: np.ndarray
    cosines: np.ndarray

    def rows_from(self, start: int, count: int) -> "Block":
        """Some of the rows; the cosines, drawn as their mean, stay those of all."""
        some = slice(start, start + count)
        return self._replace(
            rows=self.rows[some],
            projections=self.projections[some],
            winners=self.winners[some],
        )


def cosines(projections: np.ndarray) -> np.ndarray:
    """How near a unit's projection has come to what it is in the end.

    Not in the paper, whose fig. 4 mixes two changes, of the features and of the images
    that win: here the image and the place are the last epoch's in every column.

    Args:
      projections: [M, E, h, w, 3], of one unit and image a row.

    Returns:
      [M, E], the cosine to the last column; 0 where one of the two is zero.
    """
    flat = projections.reshape(*projections.shape[:2], -1)
    size = np.linalg.norm(flat, axis=-1)
    both = size * size[:, -1:]
    return (flat * flat[:, -1:]).sum(axis=-1) / np.where(both > 0, both, 1)


def jumps(winners: np.ndarray) -> np.ndarray:
    """[M, E] bool: where another image wins than in the column before; -1 is none."""
    changed = np.zeros(winners.shape, bool)
    changed[:, 1:] = winners[:, 1:] != winners[:, :-1]
    return changed & (winners >= 0)


def plate(
    blocks: Sequence[Block],
    epochs: Sequence[int],
    *,
    title: str,
    path: pathlib.Path,
) -> pathlib.Path:
    """The blocks, several side by side where they fit; a frame where the image jumped.

    A map that is silent after an epoch leaves its place white. Not in the paper, which
    says no more than that the contrast is enhanced: every picture is stretched by
    itself (`raster.stretch`), so its contrast does not tell how strong the map is.
    """
    cell = 0.8 if len(blocks) == 1 else 0.5
    across = cell * len(epochs) + 0.9
    columns = max(1, min(len(blocks), 4, int(_WIDEST / across)))
    lines = [blocks[i : i + columns] for i in range(0, len(blocks), columns)]
    heights = [cell * max(len(b.rows) for b in line) + 0.55 for line in lines]
    figure = Figure(
        figsize=(max(5, across * columns), sum(heights) + 0.9), layout="constrained"
    )
    axes = figure.subplots(len(lines), columns, squeeze=False, height_ratios=heights)
    axes = np.ravel(axes)
    for axis, block in zip(axes, blocks, strict=False):
        _draw(axis, block, epochs)
    for axis in axes[len(blocks) :]:
        axis.axis("off")
    figure.suptitle(title, fontsize=10)
    figure.supxlabel(_LEGEND, fontsize=8)
    return io.save(figure, path, dpi=120)


def _draw(axis, block: Block, epochs: Sequence[int]) -> None:
    """A cell of one by one for each picture, whatever its size in pixels."""
    count, length, height, width = block.projections.shape[:4]
    jumped = jumps(block.winners)
    for row, pictures in enumerate(block.projections):
        for column, picture in enumerate(raster.stretch(pictures)):
            if block.winners[row, column] < 0:
                continue
            left, top = column + _GAP, row + _GAP
            right, bottom = column + 1 - _GAP, row + 1 - _GAP
            axis.imshow(
                picture, extent=(left, right, bottom, top), interpolation="auto"
            )
            if jumped[row, column]:
                size = right - left, bottom - top
                style = {"fill": False, "edgecolor": _MARK, "lw": 1.3}
                axis.add_patch(Rectangle((left, top), *size, **style))
    axis.set(
        xlim=(0, length),
        ylim=(count, 0),
        aspect=height / width,
        frame_on=False,
        xticks=np.arange(length) + 0.5,
        yticks=np.arange(count) + 0.5,
    )
    # A map that is silent in the end comes near to nothing.
    near = block.cosines[block.cosines[:, -1] > 0]
    means = [f"{each:.2f}" for each in near.mean(axis=0)] if len(near) else []
    axis.set_xticklabels(means or [""] * length)
    axis.set_yticklabels(block.rows)
    above = axis.secondary_xaxis("top")
    above.set_xticks(np.arange(length) + 0.5, epochs)
    above.spines["top"].set_visible(False)
    for each in (axis, above):
        each.tick_params(length=0, pad=1, labelsize=7)
    axis.set_title(block.name, fontsize=9, pad=3)
