"""Fig. 6: the filters of a net's first layer."""

import pathlib

import numpy as np
from matplotlib.figure import Figure

from zf_jax import io
from zf_jax.figures import raster


def draw(kernel: np.ndarray, *, title: str, path: pathlib.Path) -> pathlib.Path:
    """Draws the filters, each on its own scale with zero in grey.

    Args:
      kernel: [h, w, C, M], signed; C is 3, or 1 for grey.
      title: of the sheet.
      path: of the PNG.
    """
    sheet = filter_grid(kernel)
    height = 5 * sheet.shape[0] / sheet.shape[1]
    figure = Figure(figsize=(5, height + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    axis = figure.subplots()
    axis.imshow(sheet, interpolation="nearest")
    axis.axis("off")
    return io.save(figure, path)


def filter_grid(kernel: np.ndarray, *, shared_scale: bool = False) -> np.ndarray:
    """The filters [h, w, C, M] as one picture.

    With `shared_scale`, filters of small weights look paler than those of large ones.
    """
    pictures = np.moveaxis(kernel, -1, 0)
    if shared_scale:
        # All filters in one tall picture get one scale.
        tall = raster.stretch(pictures.reshape(1, -1, *pictures.shape[2:]))
        return raster.grid(tall.reshape(*pictures.shape[:-1], 3))
    return raster.grid(raster.stretch(pictures))
