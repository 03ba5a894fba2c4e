"""What the units of a layer respond to, from the strongest activation in each image.

Every function takes `values` [N, U], of N images and U units. An activation counts as
firing above zero, as a rectified one does.
"""

import numpy as np

# Images that are correlated at a time, so that a long table is never copied whole.
_ROWS = 4096


def strongest(values: np.ndarray, k: int) -> np.ndarray:
    """The k images that excite each unit most, the strongest first.

    Args:
      values: [N, U] float.
      k: how many.

    Returns:
      [U, k] int32, indices of images, equal values in the images' order; -1 where there
      are fewer images.
    """
    order = np.argsort(-values, axis=0, kind="stable")[:k].T
    missing = k - order.shape[1]
    return np.pad(order, [(0, 0), (0, missing)], constant_values=-1).astype(np.int32)


def at_quantiles(values: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """The images at quantiles of each unit's activations.

    Args:
      values: [N, U] float.
      quantiles: [q] float in 0..1.

    Returns:
      [U, q] int32, indices of images.
    """
    ranks = np.round(np.asarray(quantiles) * (len(values) - 1)).astype(int)
    return np.argsort(values, axis=0, kind="stable")[ranks].T.astype(np.int32)


def firing_rate(values: np.ndarray) -> np.ndarray:
    """[U] float in 0..1, the share of the images that excite each unit."""
    return np.mean(values > 0, axis=0)


def class_means(values: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """The mean of each unit's activations over the images of each class.

    Args:
      values: [N, U] float.
      labels: [N] int, classes.
      classes: L, how many there are.

    Returns:
      [U, L] float64; NaN for a class without an image.
    """
    sums = np.zeros((classes, values.shape[1]))
    np.add.at(sums, labels, values)
    counts = np.bincount(labels, minlength=classes)
    with np.errstate(invalid="ignore"):
        return (sums / counts[:, None]).T


def selectivity(means: np.ndarray) -> np.ndarray:
    """How much more a unit responds to its best class than to the others.

    (a - b) / (a + b) of the best class's mean a and the mean b over the other classes
    (Morcos et al. 2018), of what is positive in them.

    Args:
      means: [U, L] of `class_means`.

    Returns:
      [U] float in 0..1; NaN for a unit that is never positive, and with fewer than two
      classes that have images.
    """
    positive = np.maximum(means, 0)
    present = np.sum(~np.isnan(means), axis=1)
    best = np.nanmax(np.nan_to_num(positive, nan=0), axis=1, initial=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        others = (np.nansum(positive, axis=1) - best) / (present - 1)
        return (best - others) / (best + others)


def histogram(values: np.ndarray, bins: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """How often each unit takes which values.

    Args:
      values: [N, U] float.
      bins: B, of equal width from a unit's least to its largest value.

    Returns:
      edges [U, B + 1] float and counts [U, B] int.
    """
    found = [np.histogram(unit, bins) for unit in values.T]
    counts, edges = (np.stack(each) for each in zip(*found, strict=True))
    return edges, counts


def alike(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The units whose activations are most correlated with each unit's.

    Args:
      values: [N, U] float.
      count: how many; as many as there are others, where there are fewer.

    Returns:
      units: [U, count] int, the most alike first.
      correlations: [U, count] float in -1..1, Pearson's; 0 where a unit is constant.
    """
    units = values.shape[1]
    mean = values.mean(axis=0, dtype=np.float64)
    products = np.zeros((units, units))
    for first in range(0, len(values), _ROWS):
        centred = values[first : first + _ROWS] - mean
        products += centred.T @ centred
    deviation = np.sqrt(np.diag(products))
    scale = np.where(deviation > 0, deviation, np.inf)
    correlations = products / scale[:, None] / scale
    np.fill_diagonal(correlations, -np.inf)
    order = np.argsort(-correlations, axis=1, kind="stable")[:, : min(count, units - 1)]
    return order, np.take_along_axis(correlations, order, axis=1)
