"""Fig. 6: first-layer filters of several nets side by side, and their measures."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from zf_jax import io
from zf_jax.figures import filter_sheet


class FirstLayer(NamedTuple):
    """A net's first layer of M filters.

    Attributes:
      name: of the net.
      kernel: [h, w, 3, M], signed.
      stride: (rows, columns), pixels.
      rms: [M], root mean square of each filter.
      bands: share of the energy in each band of frequencies, mean over the filters.
      aliased: [M] in 0..1, share of each filter's energy that the stride aliases.
    """

    name: str
    kernel: np.ndarray
    stride: tuple[int, int]
    rms: np.ndarray
    bands: Sequence[float]
    aliased: np.ndarray


def draw(
    nets: Sequence[FirstLayer],
    *,
    bands: Sequence[str],
    white_noise: Sequence[float],
    rms_limit: float,
    path: pathlib.Path,
) -> pathlib.Path:
    """Draws the filters, each on its own scale and all on one, above their measures.

    Args:
      nets: two or more.
      bands: names of the bands.
      white_noise: the share of white noise's energy in each band.
      rms_limit: the paper's recipe scales larger filters down to this RMS.
      path: of the PNG.
    """
    figure = Figure(figsize=(4.6 * len(nets), 5.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.1, 1))
    _draw_filters(above.subplots(1, 2 * len(nets)), nets)
    rms, energy, aliased = below.subplots(1, 3)
    _draw_sorted(rms, nets, [net.rms for net in nets])
    rms.axhline(rms_limit, color="grey", ls="--", lw=1, label="the paper's limit")
    rms.set_ylabel("RMS of a filter")
    rms.set_ylim(bottom=0)
    _draw_bands(energy, nets, bands, white_noise)
    _draw_sorted(aliased, nets, [net.aliased for net in nets])
    aliased.set(ylabel="energy aliased by the stride", ylim=(0, 1))
    aliased.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axis in (rms, energy, aliased):
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
        axis.yaxis.label.set_size(9)
        axis.legend(frameon=False, fontsize=8)
    return io.save(figure, path, dpi=120)


def _draw_filters(axes, nets: Sequence[FirstLayer]) -> None:
    for index, net in enumerate(nets):
        own, shared = axes[2 * index : 2 * index + 2]
        own.imshow(filter_sheet.filter_grid(net.kernel), interpolation="nearest")
        shared.imshow(
            filter_sheet.filter_grid(net.kernel, shared_scale=True),
            interpolation="nearest",
        )
        height, width, _, count = net.kernel.shape
        size = f"{count} filters, {height}x{width}, stride {net.stride[0]}"
        own.set_title(f"{net.name}\n{size}", fontsize=9)
        shared.set_title("the same\non one scale", fontsize=9)
    for axis in axes:
        axis.axis("off")


def _draw_sorted(axis, nets: Sequence[FirstLayer], values) -> None:
    """Each net's values from the largest; all nets over the same width."""
    for net, each in zip(nets, values, strict=True):
        positions = np.linspace(0, 1, len(each)) if len(each) > 1 else [0.5]
        axis.plot(
            positions, np.sort(each)[::-1], marker=".", ms=4, lw=1, label=net.name
        )
    axis.set_xlabel("filters, the largest first", fontsize=9)
    axis.set_xticks([])


def _draw_bands(axis, nets: Sequence[FirstLayer], bands, white_noise) -> None:
    centres, width = np.arange(len(bands)), 0.8 / len(nets)
    for index, net in enumerate(nets):
        left = centres + (index - (len(nets) - 1) / 2) * width
        axis.bar(left, net.bands, width, label=net.name)
    for centre, share in zip(centres, white_noise, strict=True):
        ends = centre - 0.45, centre + 0.45
        label = "white noise" if centre == 0 else None
        axis.plot(ends, (share, share), color="black", lw=1.2, label=label)
    axis.set_xticks(centres, bands, fontsize=8)
    axis.set_xlabel("period, pixels", fontsize=9)
    axis.set(ylabel="mean share of the energy", ylim=(0, 1))
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
