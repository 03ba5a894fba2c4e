"""Projections beside their controls: what remains of a picture without the net."""

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from zf_jax import io
from zf_jax.figures import raster


def draw(
    patches: np.ndarray,
    projections: dict[str, np.ndarray],
    captions: Sequence[str],
    *,
    title: str,
    path: pathlib.Path,
) -> pathlib.Path:
    """Draws a row a unit: its patch, then its projections side by side.

    Args:
      patches: [M, h, w, 3] in 0..1.
      projections: [M, h, w, 3], signed, by the heading of their column.
      captions: M lines, one a unit.
      title: of the sheet.
      path: of the PNG.
    """
    count, height, width, _ = patches.shape
    columns = [patches, *map(raster.stretch, projections.values())]
    pictures = np.stack(columns, axis=1).reshape(-1, height, width, 3)
    sheet = raster.grid(pictures, columns=len(columns))
    # From one picture of the sheet to the next, (rows, columns) in pixels.
    step = height + raster.gap(height), width + raster.gap(height)
    cell = max(0.95, min(1.7, width / 90))
    size = cell * len(columns), cell * count * step[0] / step[1]
    figure = Figure(figsize=size)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(sheet, interpolation="auto", aspect="auto")
    axis.axis("off")
    text = {"fontsize": 6.5 + cell, "linespacing": 1.15}
    for index, name in enumerate(["patch", *projections]):
        middle = index * step[1] + width / 2
        axis.text(middle, -0.06 * step[0], name, ha="center", va="bottom", **text)
    for index, caption in enumerate(captions):
        middle = index * step[0] + height / 2
        axis.text(-0.06 * step[1], middle, caption, ha="right", va="center", **text)
    lines = max(name.count("\n") + 1 for name in projections)
    above = 1 + (0.12 + 0.16 * lines) / size[1]
    figure.text(0.5, above, title, ha="center", va="bottom", fontsize=9 + cell)
    return io.save(figure, path, dpi=120)
