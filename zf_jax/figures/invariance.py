"""Fig. 5: how features and the class's probability change as images are warped."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from zf_jax import io
from zf_jax.figures import text

_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple")
_DASHES = ("-", "--", ":", "-.")
# White between pictures, as a share of their height and width.
_GAP = 0.08
# Characters of a panel's title that have room over it.
_NAME = 44


class WarpRow(NamedTuple):
    """One type of warp: N images under A amounts of it.

    Attributes:
      name: of the warp, with the unit of the amounts.
      amounts: [A], ascending.
      shown: [S], the amounts of the pictures.
      pictures: [N, S, h, w, 3] in 0..1.
      curves: for each panel [N + M, A]: of the N images, then of M others, of which
        only the median and the quartiles are drawn.
    """

    name: str
    amounts: np.ndarray
    shown: np.ndarray
    pictures: np.ndarray
    curves: Sequence[np.ndarray]


def draw(
    rows: Sequence[WarpRow],
    panels: Sequence[str],
    names: Sequence[str],
    *,
    title: str,
    path: pathlib.Path,
) -> pathlib.Path:
    """Draws a row a warp: the pictures, then the panels of curves.

    An image's curves have the colour of its frame. A panel has the same scale, from 0
    up, in all rows.

    Args:
      rows: one a warp, with as many curves as there are panels.
      panels: titles of the panels.
      names: of the N images.
      title: of the figure.
      path: of the PNG.
    """
    count, shown, height, width = rows[0].pictures.shape[:4]
    # The pictures are as high as a panel; this is their width, in heights.
    wide = shown * width / (count * height)
    figure = Figure(
        figsize=(3.2 * (wide + 1.15 * len(panels)), 3.1 * len(rows) + 0.8),
        layout="constrained",
    )
    axes = figure.subplots(
        len(rows),
        1 + len(panels),
        squeeze=False,
        width_ratios=[wide] + [1.15] * len(panels),
    )
    for line, row in zip(axes, rows, strict=True):
        _draw_pictures(line[0], row)
        for axis, curves in zip(line[1:], row.curves, strict=True):
            _draw_curves(axis, row, curves, names)
    for column, name in zip(axes.T[1:], panels, strict=True):
        column[0].set_title(text.end(name, _NAME), fontsize=10)
        top = max(axis.dataLim.y1 for axis in column)
        for axis in column:
            # Curves may all be 0, or NaN.
            axis.set_ylim(0, 1.03 * top if top > 0 else 1)
    figure.legend(
        *axes[0, 1].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=7,
        frameon=False,
        fontsize=9,
    )
    figure.suptitle(title, fontsize=11)
    return io.save(figure, path, dpi=100)


def _style(index: int) -> dict:
    """The colour and dashes of an image; twenty images differ."""
    dashes, colour = divmod(index, len(_COLOURS))
    return {"color": _COLOURS[colour], "ls": _DASHES[dashes % len(_DASHES)]}


def _draw_pictures(axis, row: WarpRow) -> None:
    """A line an image, a column an amount."""
    count, shown, height, width = row.pictures.shape[:4]
    for line, pictures in enumerate(row.pictures):
        style = _style(line)
        for column, picture in enumerate(pictures):
            left, top = column + _GAP / 2, line + _GAP / 2
            right, bottom = left + 1 - _GAP, top + 1 - _GAP
            extent = (left, right, bottom, top)
            axis.imshow(picture, extent=extent, interpolation="auto")
            frame = Rectangle((left, top), right - left, bottom - top, fill=False)
            frame.set(edgecolor=style["color"], linestyle=style["ls"], linewidth=1.8)
            axis.add_patch(frame)
    axis.set(
        xlim=(0, shown),
        ylim=(count, 0),
        aspect=height / width,
        frame_on=False,
        yticks=[],
        xlabel=row.name,
    )
    axis.set_xticks(np.arange(shown) + 0.5, [f"{amount:g}" for amount in row.shown])
    axis.tick_params(length=0, labelsize=8)


def _draw_curves(axis, row: WarpRow, curves: np.ndarray, names: Sequence[str]) -> None:
    own, others = np.split(curves, [len(names)])
    others = others[np.isfinite(others).all(axis=1)]
    if len(others):
        low, middle, high = np.percentile(others, [25, 50, 75], axis=0)
        label = f"{len(others)} images, quartiles"
        axis.fill_between(row.amounts, low, high, color="0.85", label=label)
    for index, (curve, name) in enumerate(zip(own, names, strict=True)):
        axis.plot(row.amounts, curve, lw=1.2, label=name, **_style(index))
    if len(others):
        axis.plot(row.amounts, middle, lw=2, color="black", label="their median")
    axis.set_xlim(row.amounts[0], row.amounts[-1])
    axis.set_xlabel(row.name)
    # Degrees: ticks at parts of a turn.
    turn = {"steps": [1, 1.5, 3, 4.5, 9, 10]} if np.ptp(row.amounts) > 180 else {}
    axis.xaxis.set_major_locator(MaxNLocator(nbins=8, **turn))
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
