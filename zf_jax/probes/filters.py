"""Statistics of filters (fig. 6): their size, their frequencies and their aliasing.

Frequencies are in cycles per pixel of the layer's input; 0.5 is the highest in a
direction. A filter that moves by `stride` pixels keeps frequencies up to
1 / (2 * stride) and folds the others onto them (aliasing).
"""

from typing import NamedTuple

import numpy as np
from scipy import fft

from zf_jax.errors import BadInput
from zf_jax.layers import Pair, pair

# Not in the paper, which names no bands: octaves, periods of more than 8 pixels, of 8
# to 4, and of less.
EDGES = (1 / 8, 1 / 4)
# Not in the paper, which counts by eye.
WEAK = 0.1
# Entries along an axis of the spectrum, so that filters of all sizes share one.
_GRID = 64


class Bands(NamedTuple):
    """Shares of each filter's energy by frequency, in 0..1; all 0 for a zero filter.

    Attributes:
      low: [maps] float, below `EDGES[0]`, the mean included.
      middle: [maps], from there to below `EDGES[1]`.
      high: [maps], the rest, up to the corner at sqrt(0.5).
    """

    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray


def rms(kernel: np.ndarray) -> np.ndarray:
    """Root mean square of each filter (section 3), [maps]; kernel [h, w, C, maps]."""
    return np.sqrt(np.mean(np.square(kernel, dtype=np.float64), axis=(0, 1, 2)))


def renormalised(sizes: np.ndarray, limit: float) -> np.ndarray:
    """What `rms` becomes where filters above `limit` are scaled back to it, [maps]."""
    return np.minimum(sizes, limit)


def weak(kernel: np.ndarray) -> np.ndarray:
    """[maps] bool: which filters' RMS is at most `WEAK` of the median one's."""
    sizes = rms(kernel)
    return sizes <= WEAK * np.median(sizes)


def bands(kernel: np.ndarray) -> Bands:
    """How each filter's energy is spread over three bands of frequency.

    Args:
      kernel: [h, w, C, maps]; the energies of the C channels add up.

    Raises:
      BadInput: larger than the grid of 64 x 64 frequencies.
    """
    down, across = _frequencies()
    distance = np.hypot(down, across)
    low, high = distance < EDGES[0], distance >= EDGES[1]
    return Bands(*(_share(kernel, where) for where in (low, ~low & ~high, high)))


def aliased(kernel: np.ndarray, stride: int | Pair) -> np.ndarray:
    """Share of each filter's energy that its stride folds, [maps] in 0..1.

    This is the energy above 1 / (2 * stride) down or across (Nyquist's limit). It
    describes the filter alone; how much aliasing shows depends on the images.

    Args:
      kernel: [h, w, C, maps].
      stride: of the layer, pixels; (rows, columns) where they differ.

    Raises:
      BadInput: as `bands`.
    """
    limits = (1 / (2 * step) for step in pair(stride))
    down, across = (
        np.abs(axis) > limit for axis, limit in zip(_frequencies(), limits, strict=True)
    )
    return _share(kernel, down | across)


def summary(kernel: np.ndarray, stride: int | Pair, limit: float) -> dict[str, float]:
    """The statistics of a layer's filters, for a table or JSON.

    Args:
      kernel: [h, w, C, maps].
      stride: of the layer, pixels.
      limit: the largest RMS after renormalising.

    Returns:
      How many filters there are and how many are weak; the largest and the median RMS,
      before and after renormalising; the mean shares of energy.

    Raises:
      BadInput: as `bands`.
    """
    sizes = rms(kernel)
    found = {"filters": len(sizes), "weak": int(weak(kernel).sum())}
    for name, each in (
        ("RMS", sizes),
        ("RMS, renormalised", renormalised(sizes, limit)),
    ):
        found[f"{name}: largest"] = float(each.max())
        found[f"{name}: median"] = float(np.median(each))
    for name, share in bands(kernel)._asdict().items():
        found[f"energy: {name}"] = float(share.mean())
    return found | {"energy: aliased": float(aliased(kernel, stride).mean())}


def _frequencies() -> tuple[np.ndarray, np.ndarray]:
    """The spectrum's frequencies, down [G, 1] and across [1, G]."""
    axis = fft.fftfreq(_GRID)
    return axis[:, None], axis[None, :]


def _share(kernel: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Share of each filter's energy in the entries `where` [G, G] of its spectrum."""
    if max(kernel.shape[:2]) > _GRID:
        raise BadInput(
            f"filters of {kernel.shape[0]}x{kernel.shape[1]}: their spectrum has "
            f"{_GRID}x{_GRID} entries; give smaller ones"
        )
    # Zero-padded: the same spectrum, sampled at more frequencies.
    padded = fft.fft2(np.asarray(kernel, np.float64), (_GRID, _GRID), axes=(0, 1))
    energy = np.square(np.abs(padded)).sum(axis=2)
    total = energy.sum(axis=(0, 1))
    return energy[where].sum(axis=0) / np.where(total > 0, total, 1)
