"""Saliency maps beside what they should show, and the curves that score them."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from zf_jax import io

# Inches: an image, the curves.
_CELL, _CURVES = 1.5, 3.0


class SaliencyMaps(NamedTuple):
    """Some images and their saliency maps.

    Attributes:
      images: [N, H, W, 3] in 0..1.
      regions: [N, H, W] bool by name, at most two: where a map should be large.
      maps: [N, H, W] by name, each drawn from 0 to its maximum; negative values are
        drawn as 0.
      captions: N lines, one an image.
    """

    images: np.ndarray
    regions: dict[str, np.ndarray]
    maps: dict[str, np.ndarray]
    captions: Sequence[str]


def table(scores: dict[str, dict[str, tuple[float, float]]]) -> str:
    """Mean and standard error as aligned columns, by map and score."""
    heads = list(next(iter(scores.values())))
    lines = [f"{'map':<12}" + "".join(f"{head:>24}" for head in heads)]
    for name, row in scores.items():
        cells = (f"{mean:.3f} +- {error:.3f}" for mean, error in row.values())
        lines.append(f"{name:<12}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


def draw(
    saliency: SaliencyMaps,
    curves: dict[str, dict[str, np.ndarray]],
    *,
    title: str,
    path: pathlib.Path,
) -> pathlib.Path:
    """Draws a row an image with its regions' outlines and its maps, then the curves.

    Args:
      saliency: the images and their maps.
      curves: mean probability of the class by metric (deletion, insertion) and by map,
        [T + 1] over shares of the pixels from 0 to 1.
      title: of the figure.
      path: of the PNG.
    """
    rows, columns = len(saliency.images), 1 + len(saliency.maps)
    size = _CELL * columns, _CELL * rows + _CURVES + 0.5
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=10)
    above, below = figure.subfigures(2, 1, height_ratios=[_CELL * rows, _CURVES])
    axes = above.subplots(rows, columns, squeeze=False)
    _draw_maps(axes, saliency)
    handles = axes[0, 0].get_legend_handles_labels()
    above.legend(*handles, loc="outside lower left", fontsize=8, ncols=2, frameon=False)
    _draw_curves(below.subplots(1, len(curves)), curves)
    return io.save(figure, path)


def _draw_maps(axes: np.ndarray, saliency: SaliencyMaps) -> None:
    for row, (first, *others) in enumerate(axes):
        first.imshow(saliency.images[row])
        for (name, region), colour in zip(
            saliency.regions.items(), ("tab:blue", "tab:red"), strict=False
        ):
            first.contour(region[row], levels=[0.5], colors=colour, linewidths=0.9)
            if row == 0:
                first.plot([], [], color=colour, lw=1.5, label=name)
        first.set_ylabel(saliency.captions[row], fontsize=8)
        for axis, (name, each) in zip(others, saliency.maps.items(), strict=True):
            top = each[row].max()
            axis.imshow(each[row], cmap="magma", vmin=0, vmax=top if top > 0 else 1)
            if row == 0:
                axis.set_title(name, fontsize=9)
    axes[0, 0].set_title("image", fontsize=9)
    for axis in axes.ravel():
        axis.set(xticks=[], yticks=[])


def _draw_curves(axes, curves: dict[str, dict[str, np.ndarray]]) -> None:
    for axis, (metric, by_map) in zip(axes, curves.items(), strict=True):
        for name, curve in by_map.items():
            axis.plot(np.linspace(0, 1, len(curve)), curve, label=name, lw=1.3)
        axis.set_title(metric, fontsize=9)
        axis.set_xlabel("share of the pixels", fontsize=8)
        axis.set_ylabel("probability of the class", fontsize=8)
        axis.xaxis.set_major_formatter(PercentFormatter(1.0))
        axis.set_ylim(0, 1)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    axes[-1].legend(frameon=False, fontsize=8)
