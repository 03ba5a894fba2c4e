"""Maps side by side with what they should show, and the curves that score them."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from zf_jax import io


class Seen(NamedTuple):
    """Some images and their maps.

    Attributes:
      pictures: [N, H, W, 3] in 0..1.
      regions: [N, H, W] bool by name, two at the most.
      maps: [N, H, W] by name, each shown from 0 to its largest; what is below is as 0.
      captions: one an image.
    """

    pictures: np.ndarray
    regions: dict[str, np.ndarray]
    maps: dict[str, np.ndarray]
    captions: Sequence[str]


def table(rows: dict[str, dict[str, tuple[float, float]]]) -> str:
    """Mean and standard error as aligned columns, by map and score."""
    heads = list(next(iter(rows.values())))
    lines = [f"{'map':<12}" + "".join(f"{head:>24}" for head in heads)]
    for name, row in rows.items():
        cells = (f"{mean:.3f} +- {error:.3f}" for mean, error in row.values())
        lines.append(f"{name:<12}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


def plate(
    seen: Seen,
    curves: dict[str, dict[str, np.ndarray]],
    *,
    title: str,
    path: pathlib.Path,
) -> pathlib.Path:
    """A row an image, with its regions' outlines and its maps; mean curves below.

    Args:
      seen: the images.
      curves: by name (deletion, insertion), then by map, [T + 1] over 0 to 1.
      title: of the plate.
      path: of the PNG.
    """
    pictures, regions, maps, captions = seen
    count, columns = len(pictures), 1 + len(maps)
    width, below = 1.5 * columns, 3.0
    figure = Figure(figsize=(width, 1.5 * count + below + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=10)
    above, beneath = figure.subfigures(2, 1, height_ratios=[1.5 * count, below])
    axes = above.subplots(count, columns, squeeze=False)
    for row, line in enumerate(axes):
        line[0].imshow(pictures[row])
        for (name, region), colour in zip(
            regions.items(), ("tab:blue", "tab:red"), strict=False
        ):
            line[0].contour(region[row], levels=[0.5], colors=colour, linewidths=0.9)
            if row == 0:
                line[0].plot([], [], color=colour, lw=1.5, label=name)
        line[0].set_ylabel(captions[row], fontsize=8)
        for axis, (name, each) in zip(line[1:], maps.items(), strict=True):
            top = each[row].max()
            axis.imshow(each[row], cmap="magma", vmin=0, vmax=top if top > 0 else 1)
            if row == 0:
                axis.set_title(name, fontsize=9)
    axes[0, 0].set_title("image", fontsize=9)
    for axis in axes.ravel():
        axis.set(xticks=[], yticks=[])
    lines = axes[0, 0].get_legend_handles_labels()
    above.legend(*lines, loc="outside lower left", fontsize=8, ncols=2, frameon=False)
    for axis, (name, each) in zip(
        beneath.subplots(1, len(curves)), curves.items(), strict=True
    ):
        for kind, curve in each.items():
            axis.plot(np.linspace(0, 1, len(curve)), curve, label=kind, lw=1.3)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("share of the pixels", fontsize=8)
        axis.set_ylabel("probability of the class", fontsize=8)
        axis.xaxis.set_major_formatter(PercentFormatter(1.0))
        axis.set_ylim(0, 1)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    return io.save(figure, path)
