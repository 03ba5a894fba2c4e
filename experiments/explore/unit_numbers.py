"""The numbers of a layer's units: what the explorer sorts, filters and plots."""

import dataclasses
from typing import NamedTuple

import numpy as np

from experiments.explore.activation_table import LayerTable
from zf_jax.figures.explorer import content
from zf_jax.probes import unit_statistics
from zf_jax.probes.topk import TopK

# Of the activations over images; the strongest examples are shown anyway.
QUANTILES = np.array([0.5, 0.75, 0.9, 0.95, 0.99])
# Units that are named as like another one.
_ALIKE = 6


class Labels(NamedTuple):
    """The classes of the images.

    Attributes:
      numbers: [N] int, each image's class.
      names: of the classes.
    """

    numbers: np.ndarray
    names: tuple[str, ...]


def top(table: LayerTable, k: int) -> TopK:
    """The k images that excite each unit most; image -1 where it is silent."""
    return _at(table, unit_statistics.strongest(table.values, k), only_active=True)


def at_quantiles(table: LayerTable) -> TopK:
    """Images at `QUANTILES` of each unit's activations."""
    return _at(table, unit_statistics.at_quantiles(table.values, QUANTILES))


def dead(best: TopK) -> np.ndarray:
    """[U] bool: no image excites the unit."""
    return best.images[:, 0] < 0


def of_layer(
    name: str, table: LayerTable, best: TopK, labels: Labels | None
) -> content.LayerUnits:
    """What the table of activations tells of a layer's units.

    Args:
      name: the layer's.
      table: of all images.
      best: of `top`.
      labels: None where the classes of the images are not known.
    """
    edges, counts = unit_statistics.histogram(table.values)
    units = content.LayerUnits(
        name,
        strength=np.asarray(table.values.max(axis=0)),
        dead=dead(best),
        examples=content.Examples(best.images, best.values, best.positions),
        firing_rate=unit_statistics.firing_rate(table.values),
        histogram=content.Histogram(
            edges, counts, "strongest activation of each image"
        ),
        where=_where(table.mean_map),
        alike=_alike(table.values, dead(best)),
    )
    by_class = _by_class(table.values, labels)
    if labels:
        by_class["best_class"][units.dead] = -1
    return dataclasses.replace(units, **by_class)


def _at(table: LayerTable, images: np.ndarray, only_active: bool = False) -> TopK:
    """Values and positions of chosen images [U, k]."""
    units = np.arange(len(images))[:, None]
    values = table.values[images, units]
    if only_active:
        # Rectified activations are 0 where a unit is silent.
        images = np.where(np.isfinite(values) & (values != 0), images, -1)
    positions = table.positions[images, units].astype(np.int32)
    return TopK(values, images, positions)


def _where(mean_map: np.ndarray | None) -> np.ndarray | None:
    """The mean maps, each divided by its largest entry; None of a single position."""
    if mean_map is None or mean_map[0].size < 2:
        return None
    largest = mean_map.max(axis=(1, 2), keepdims=True)
    return mean_map / np.where(largest > 0, largest, 1)


def _alike(values: np.ndarray, is_dead: np.ndarray) -> tuple | None:
    """The units like each live unit, dead ones left out."""
    if min(values.shape) < 2:
        return None
    found = zip(*unit_statistics.alike(values, _ALIKE), is_dead, strict=True)
    return tuple(
        ()
        if dead
        else tuple(
            (other, near)
            for other, near in zip(others, correlations, strict=True)
            if not is_dead[other]
        )
        for others, correlations, dead in found
    )


def _by_class(values: np.ndarray, labels: Labels | None) -> dict[str, np.ndarray]:
    if labels is None:
        return {}
    count = len(labels.names)
    means = unit_statistics.class_means(values, labels.numbers, count)
    found = {
        "class_means": means,
        "best_class": np.where(np.isnan(means), -np.inf, means).argmax(axis=1),
    }
    if len(np.unique(labels.numbers)) > 1:
        found["selectivity"] = unit_statistics.selectivity(means)
    return found
