"""A contact sheet: small pictures in named rows."""

import pathlib

import numpy as np
from matplotlib.figure import Figure

from zf_jax import io
from zf_jax.figures import raster


def draw(
    rows: dict[str, list[np.ndarray]], *, title: str, path: pathlib.Path
) -> pathlib.Path:
    """Draws one row of pictures a name; names without pictures are left out.

    Args:
      rows: pictures [h, w, 3] in 0..1 by name, all of one size within a row.
      title: of the sheet.
      path: of the PNG.
    """
    rows = {name: list(pictures) for name, pictures in rows.items() if len(pictures)}
    longest = max(map(len, rows.values()))
    figure = Figure(figsize=(9, 0.4 + 0.9 * len(rows)), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = np.ravel(figure.subplots(len(rows), 1, squeeze=False))
    for axis, (name, pictures) in zip(axes, rows.items(), strict=True):
        # A shorter row ends in white.
        pictures += [np.ones_like(pictures[0])] * (longest - len(pictures))
        axis.imshow(raster.grid(np.stack(pictures), columns=longest))
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        axis.set(xticks=[], yticks=[], frame_on=False)
    return io.save(figure, path)
