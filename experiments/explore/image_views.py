"""The images that examples refer to, as an explorer shows them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from experiments.common.model import LoadedModel
from experiments.explore.activation_table import LayerTable
from experiments.explore.unit_pictures import as_bytes
from zf_jax.figures import raster
from zf_jax.figures.explorer.content import ImageView

# Rows and columns of a thumbnail at most.
_LARGEST = 224
# Classes that are named, and units of each layer.
_PREDICTIONS, _UNITS = 5, 3


def views(
    loaded: LoadedModel,
    data,
    numbers: Sequence[int],
    tables: Mapping[str, LayerTable],
    labels: np.ndarray | None,
    panels: Mapping[int, tuple[tuple[str, np.ndarray], ...]],
) -> Iterator[ImageView]:
    """The images of these numbers.

    Args:
      loaded: the net.
      data: its images.
      numbers: which.
      tables: activations by layer.
      labels: [N] int, classes of the data set; None where they are not known.
      panels: of occlusion, by image.
    """
    strengths = {layer: each.values.max(axis=0) for layer, each in tables.items()}
    logits = next((layer for layer in tables if loaded.class_names(layer)), None)
    for number in map(int, numbers):
        image = data[number]
        yield ImageView(
            number,
            thumbnail=_thumbnail(raster.denormalize(image, loaded.input)),
            size=image.shape[:2],
            name=data.paths[number].name if labels is None else None,
            label=None if labels is None else data.labels[labels[number]],
            predictions=_predictions(loaded, tables[logits].values[number])
            if logits
            else (),
            occlusion=panels.get(number, ()),
            most_active=_most_active(number, tables, strengths),
        )


def _thumbnail(image: np.ndarray) -> np.ndarray:
    found = Image.fromarray(as_bytes(image))
    # It keeps the proportions, and what is small already.
    found.thumbnail((_LARGEST, _LARGEST), Image.Resampling.BOX)
    return np.asarray(found)


def _predictions(
    loaded: LoadedModel, logits: np.ndarray
) -> tuple[tuple[str, float], ...]:
    (found,) = np.asarray(loaded.model.probabilities(np.array(logits)[None]))
    order = np.argsort(-found, kind="stable")[:_PREDICTIONS].tolist()
    return tuple((loaded.labels[each], float(found[each])) for each in order)


def _most_active(
    number: int, tables: Mapping[str, LayerTable], strengths: Mapping[str, np.ndarray]
) -> tuple[tuple[str, int, float], ...]:
    """Of each layer the units that come nearest to their strongest activation."""
    found = []
    for layer, table in tables.items():
        values, most = np.array(table.values[number]), strengths[layer]
        share = np.where(most > 0, values / np.where(most > 0, most, 1), -np.inf)
        order = np.lexsort([-most, -share])[:_UNITS].tolist()
        found += [
            (layer, unit, float(values[unit])) for unit in order if values[unit] > 0
        ]
    return tuple(found)
