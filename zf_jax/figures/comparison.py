"""Fig. 6: first-layer filters of several nets side by side, and their measures."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from zf_jax import io
from zf_jax.figures import sheets


class Filters(NamedTuple):
    """A net's first layer.

    Attributes:
      name: of the net.
      kernel: [h, w, 3, maps], signed.
      stride: (rows, columns), pixels.
      rms: [maps], of each filter.
      bands: means over the filters of the shares of their energy, by band.
      aliased: [maps] in 0..1, of each filter's energy beyond the stride's limit.
    """

    name: str
    kernel: np.ndarray
    stride: tuple[int, int]
    rms: np.ndarray
    bands: Sequence[float]
    aliased: np.ndarray


def filters(
    nets: Sequence[Filters],
    *,
    bands: Sequence[str],
    flat: Sequence[float],
    limit: float,
    path: pathlib.Path,
) -> pathlib.Path:
    """Above, each net's filters on scales of their own and on one; below, measures.

    Args:
      nets: the nets, two or more.
      bands: what the bands are called.
      flat: the share of white noise in each.
      limit: the RMS to which the paper's recipe renormalises larger ones.
      path: of the PNG.
    """
    figure = Figure(figsize=(4.6 * len(nets), 5.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.1, 1))
    pictures = above.subplots(1, 2 * len(nets))
    for index, net in enumerate(nets):
        own, one = pictures[2 * index : 2 * index + 2]
        own.imshow(sheets.filter_sheet(net.kernel), interpolation="nearest")
        one.imshow(
            sheets.filter_sheet(net.kernel, together=True), interpolation="nearest"
        )
        high, wide, _, count = net.kernel.shape
        size = f"{count} filters, {high}x{wide}, stride {net.stride[0]}"
        own.set_title(f"{net.name}\n{size}", fontsize=9)
        one.set_title("the same\non one scale", fontsize=9)
    for axis in pictures:
        axis.axis("off")
    sizes, shares, folded = below.subplots(1, 3)
    _sorted(sizes, nets, [net.rms for net in nets])
    sizes.axhline(limit, color="grey", ls="--", lw=1, label="the paper's limit")
    sizes.set_ylabel("RMS of a filter")
    sizes.set_ylim(bottom=0)
    _bars(shares, nets, bands, flat)
    _sorted(folded, nets, [net.aliased for net in nets])
    folded.set(ylabel="energy that the stride folds", ylim=(0, 1))
    folded.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axis in (sizes, shares, folded):
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
        axis.yaxis.label.set_size(9)
        axis.legend(frameon=False, fontsize=8)
    return io.save(figure, path, dpi=120)


def _sorted(axis, nets: Sequence[Filters], values: Sequence[np.ndarray]) -> None:
    """Each net's values, the largest first; all nets as wide."""
    for net, each in zip(nets, values, strict=True):
        place = np.linspace(0, 1, len(each)) if len(each) > 1 else [0.5]
        axis.plot(place, np.sort(each)[::-1], marker=".", ms=4, lw=1, label=net.name)
    axis.set_xlabel("filters, the largest first", fontsize=9)
    axis.set_xticks([])


def _bars(axis, nets: Sequence[Filters], bands, flat) -> None:
    places, width = np.arange(len(bands)), 0.8 / len(nets)
    for index, net in enumerate(nets):
        left = places + (index - (len(nets) - 1) / 2) * width
        axis.bar(left, net.bands, width, label=net.name)
    for place, share in zip(places, flat, strict=True):
        ends = place - 0.45, place + 0.45
        label = "white noise" if place == 0 else None
        axis.plot(ends, (share, share), color="black", lw=1.2, label=label)
    axis.set_xticks(places, bands, fontsize=8)
    axis.set_xlabel("period, pixels", fontsize=9)
    axis.set(ylabel="mean share of the energy", ylim=(0, 1))
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
