"""The strongest weights between the units of neighbouring layers of a Spec."""

import itertools

import numpy as np

from zf_jax.figures.explorer.content import Weight
from zf_jax.geometry import shapes
from zf_jax.layers import Conv
from zf_jax.spec import Spec

# Weights of a unit that are named, on either side.
_COUNT = 6


def strongest(net: Spec, params: dict) -> tuple[dict[str, tuple], dict[str, tuple]]:
    """Each unit's strongest weights from the layer below and to the layer above.

    A weight between two maps is the sum of the filter over its window: what the upper
    unit gains where the lower map is constant. Between a map and a dense unit it is the
    sum over the map.

    Returns:
      By layer name, a tuple of `Weight`s for each unit: below, and above.
    """
    below, above = {}, {}
    sizes = shapes(net)
    for lower, upper in itertools.pairwise(net.layers):
        channels = sizes[lower.name].output[-1]
        kernel = np.asarray(params[upper.name]["kernel"], np.float32)
        matrix = _matrix(upper.filter, kernel, channels)
        below[upper.name] = _largest(matrix.T, lower.name)
        above[lower.name] = _largest(matrix, upper.name)
    return below, above


def _matrix(filtering, kernel: np.ndarray, channels: int) -> np.ndarray:
    """[lower units, upper units]: the weights summed over positions."""
    if not isinstance(filtering, Conv):
        # The rows of a dense layer are positions, then channels.
        return kernel.reshape(-1, channels, kernel.shape[-1]).sum(axis=0)
    summed = kernel.sum(axis=(0, 1))
    if filtering.groups == 1:
        return summed
    matrix = np.zeros((channels, summed.shape[1]), np.float32)
    lower, upper = (length // filtering.groups for length in matrix.shape)
    for group in range(filtering.groups):
        rows = slice(group * lower, (group + 1) * lower)
        columns = slice(group * upper, (group + 1) * upper)
        matrix[rows, columns] = summed[:, columns]
    return matrix


def _largest(rows: np.ndarray, layer: str) -> tuple[tuple[Weight, ...], ...]:
    """Of each row the entries of the largest magnitude that are not 0."""
    order = np.argsort(-np.abs(rows), axis=1, kind="stable")[:, :_COUNT]
    return tuple(
        tuple(Weight(layer, int(n), float(row[n])) for n in chosen if row[n] != 0)
        for row, chosen in zip(rows, order, strict=True)
    )
