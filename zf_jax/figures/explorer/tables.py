"""What the explorer's data files say: plain lists and numbers for JSON."""

import math
from typing import Any

import numpy as np

from zf_jax.figures.explorer import content

# Classes of a unit whose mean activations are kept.
_CLASSES = 10
# Columns of a layer by which its units are sorted and filtered.
_COLUMNS = (
    "strength",
    "firing_rate",
    "selectivity",
    "best_class",
    "control_similarity",
)


def number(value: float) -> float | int | None:
    """A number with the four digits that a page shows; None if it is not finite."""
    if not math.isfinite(value):
        return None
    if value == int(value):
        return int(value)
    return float(f"{value:.4g}")


def numbers(values: np.ndarray) -> list:
    """An array as nested lists of `number`."""
    if values.ndim == 1:
        return [number(value) for value in values.tolist()]
    return [numbers(part) for part in values]


def layer(
    units: content.LayerUnits, *, rules: dict[str, list[str]], sheets: dict[str, dict]
) -> dict:
    """What is said of a layer as a whole, with a column for each number of its units.

    Args:
      units: the layer's.
      rules: the controls of each rule.
      sheets: where the pictures of each sheet of a block lie.
    """
    found = {name: getattr(units, name) for name in _COLUMNS}
    columns = {name: numbers(each) for name, each in found.items() if each is not None}
    columns["dead"] = [int(dead) for dead in units.dead]
    return {
        "columns": columns,
        "rules": list(rules.items()),
        "sheets": sheets,
        "epochs": list(units.epochs),
        "quantile": [] if units.quantile is None else numbers(units.quantile),
        "histogram_of": units.histogram.of if units.histogram else "",
    }


def unit(units: content.LayerUnits, index: int, layers: dict[str, int]) -> dict:
    """What the page of one unit says; a key is absent where nothing is known.

    Args:
      units: of its layer.
      index: the unit's number.
      layers: the number of each layer, by name.
    """
    said: dict[str, Any] = {"examples": _examples(units.examples, index)}
    if units.quantiles is not None:
        said["quantiles"] = _examples(units.quantiles, index)
    if units.histogram is not None:
        edges = units.histogram.edges
        edges = edges[index] if edges.ndim == 2 else edges
        said["edges"] = numbers(edges)
        said["counts"] = numbers(units.histogram.counts[index])
    if units.class_means is not None:
        means = units.class_means[index]
        # A class without images has no mean.
        best = np.argsort(np.where(np.isnan(means), np.inf, -means), kind="stable")
        best = [each for each in best[:_CLASSES].tolist() if np.isfinite(means[each])]
        said["classes"] = [[each, number(float(means[each]))] for each in best]
    for side in ("below", "above"):
        weights = getattr(units, f"weights_{side}")
        if weights is not None:
            said[side] = [
                [layers[each.layer], int(each.unit), number(float(each.weight))]
                for each in weights[index]
            ]
    if units.alike is not None:
        said["alike"] = [
            [int(other), number(float(correlation))]
            for other, correlation in units.alike[index]
        ]
    return said


def image(view: content.ImageView, layers: dict[str, int]) -> dict:
    """What the page of one image says."""
    return {
        "predictions": [[name, number(float(p))] for name, p in view.predictions],
        "panels": [
            {"caption": caption, "size": picture.shape[:2]}
            for caption, picture in view.occlusion
        ],
        "units": [
            [layers[layer], int(index), number(float(value))]
            for layer, index, value in view.most_active
        ],
    }


def image_row(view: content.ImageView) -> list:
    """What pages of units say of an image, and its thumbnail's size."""
    prediction = view.predictions[0][0] if view.predictions else None
    sizes = [*view.size], [*view.thumbnail.shape[:2]]
    return [int(view.index), view.name, view.label, prediction, *sizes]


def _examples(examples: content.Examples, index: int) -> dict[str, list]:
    said = {
        "image": [int(image) for image in examples.image[index]],
        "value": numbers(examples.value[index]),
    }
    if examples.position is not None:
        said["position"] = examples.position[index].tolist()
    if examples.box is not None:
        said["box"] = examples.box[index].tolist()
    return said
