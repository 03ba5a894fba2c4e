"""How similar projections are: structural similarity and rank correlation.

The figures of Adebayo et al. 2018, with the functions of scikit-image and scipy.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats
from skimage import metrics


class Similarity(NamedTuple):
    """How similar projections are; NaN where one of the two is constant.

    Attributes:
      ssim: [N], structural similarity, each picture scaled by its largest magnitude.
      spearman: [N], rank correlation of the signed pixels.
      spearman_abs: [N], rank correlation of the pixels' magnitudes: whether the same
        pixels are drawn, in either sign.
    """

    ssim: np.ndarray
    spearman: np.ndarray
    spearman_abs: np.ndarray


def compare(projections: np.ndarray, others: np.ndarray) -> Similarity:
    """Compares projections [N, h, w, C] with as many others, pair by pair.

    SSIM is computed in windows of 7 x 7 pixels, or as large as a smaller picture
    allows; it is NaN below 3 x 3. Grey around a small projection counts as equal.
    """
    rows = [
        _similarity(one, other)
        if np.ptp(one) > 0 and np.ptp(other) > 0
        else (np.nan, np.nan, np.nan)
        for one, other in zip(projections, others, strict=True)
    ]
    return Similarity(*np.array(rows, float).reshape(-1, 3).T)


def _similarity(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    one, other = (each / np.abs(each).max() for each in (one, other))
    side = min(7, *one.shape[:2])
    ssim = np.nan
    if side >= 3:
        ssim = metrics.structural_similarity(
            one, other, win_size=side - 1 + side % 2, channel_axis=-1, data_range=2.0
        )
    ranks = stats.spearmanr(one.ravel(), other.ravel()).statistic
    one, other = np.abs(one).ravel(), np.abs(other).ravel()
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return ssim, ranks, np.nan
    return ssim, ranks, stats.spearmanr(one, other).statistic
