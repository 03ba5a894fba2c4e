"""Sheets of small pictures: a layer's filters, projections beside their controls."""

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from zf_jax import io
from zf_jax.figures import raster


def filters(kernel: np.ndarray, *, title: str, path: pathlib.Path) -> pathlib.Path:
    """The filters of the first layer (fig. 6), each on its own scale, zero grey.

    Args:
      kernel: [h, w, 3, maps], signed.
      title: of the sheet.
      path: of the PNG.
    """
    sheet = filter_sheet(kernel)
    height = 5 * sheet.shape[0] / sheet.shape[1]
    figure = Figure(figsize=(5, height + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    axis = figure.subplots()
    axis.imshow(sheet, interpolation="nearest")
    axis.axis("off")
    return io.save(figure, path)


def filter_sheet(kernel: np.ndarray, *, together: bool = False) -> np.ndarray:
    """The picture of `filters`; `together`: all on one scale, so that sizes show."""
    pictures = np.moveaxis(kernel, -1, 0)
    if together:
        # One tall picture for the scale.
        tall = raster.stretch(pictures.reshape(1, -1, *pictures.shape[2:]))
        return raster.grid(tall.reshape(pictures.shape))
    return raster.grid(raster.stretch(pictures))


def controls(
    patches: np.ndarray,
    columns: dict[str, np.ndarray],
    captions: Sequence[str],
    *,
    title: str,
    path: pathlib.Path,
) -> pathlib.Path:
    """A row a unit: its patch, and what projections there are of it side by side.

    Args:
      patches: [M, h, w, 3] in 0..1.
      columns: the projections [M, h, w, 3], signed, by what stands above them.
      captions: one a unit.
      title: of the sheet.
      path: of the PNG.
    """
    count, height, width, _ = patches.shape
    shown = [patches, *map(raster.stretch, columns.values())]
    pictures = np.stack(shown, axis=1).reshape(-1, height, width, 3)
    sheet = raster.grid(pictures, columns=len(shown))
    # Where pictures begin in the sheet: at multiples of these.
    step = (np.array(sheet.shape[:2]) + max(1, height // 24)) / (count, len(shown))
    cell = max(0.95, min(1.7, width / 90))
    size = cell * len(shown), cell * count * step[0] / step[1]
    figure = Figure(figsize=size)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(sheet, interpolation="auto", aspect="auto")
    axis.axis("off")
    text = {"fontsize": 6.5 + cell, "linespacing": 1.15}
    for index, name in enumerate(["patch", *columns]):
        middle = index * step[1] + width / 2
        axis.text(middle, -0.06 * step[0], name, ha="center", va="bottom", **text)
    for index, caption in enumerate(captions):
        middle = index * step[0] + height / 2
        axis.text(-0.06 * step[1], middle, caption, ha="right", va="center", **text)
    lines = max(name.count("\n") + 1 for name in columns)
    above = 1 + (0.12 + 0.16 * lines) / size[1]
    figure.text(0.5, above, title, ha="center", va="bottom", fontsize=9 + cell)
    return io.save(figure, path, dpi=120)
