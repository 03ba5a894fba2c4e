"""The whole images that examples are cut from."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from experiments.common.model import LoadedModel
from experiments.explore import occlusion_maps
from experiments.explore.activation_table import LayerTable
from experiments.explore.occlusion_maps import Occlusion
from experiments.explore.unit_numbers import Labels
from zf_jax import cli
from zf_jax.figures import raster
from zf_jax.figures.explorer.content import ImageView

# The larger side of a thumbnail, pixels.
_LARGEST = 224
# Classes that the net finds most probable, and units that an image excites most.
_PREDICTIONS, _UNITS = 5, 12


def views(
    loaded: LoadedModel,
    data,
    numbers: Sequence[int],
    tables: Mapping[str, LayerTable],
    *,
    labels: Labels | None,
    occlusion: Occlusion | None,
) -> Iterator[ImageView]:
    """The images of some numbers, under a progress bar.

    Args:
      loaded: the net.
      data: the images.
      numbers: of those that examples refer to.
      tables: the activations of all layers; the logits among them give predictions.
      labels: of the images; None where they are not known.
      occlusion: None where none was computed.
    """
    logits = next((name for name in tables if loaded.class_names(name)), None)
    peaks = {name: np.asarray(each.values.max(axis=0)) for name, each in tables.items()}
    paths = getattr(data, "paths", None)
    for number in cli.progress(numbers, desc="images"):
        image = data[number]
        thumbnail = _thumbnail(picture(image, loaded))
        yield ImageView(
            number,
            thumbnail,
            size=image.shape[:2],
            name=paths[number].name if paths else None,
            label=labels.names[labels.numbers[number]] if labels else None,
            predictions=_predictions(loaded, tables[logits], number) if logits else (),
            occlusion=_panels(loaded, occlusion, number, thumbnail.shape[:2]),
            most_active=_most_active(tables, peaks, number, logits),
        )


def picture(image: np.ndarray, loaded: LoadedModel) -> np.ndarray:
    """What the net takes [..., C] as pixels [..., 3] uint8."""
    return as_bytes(raster.denormalize(image, loaded.input))


def as_bytes(pictures: np.ndarray) -> np.ndarray:
    """Pictures in 0..1 as uint8."""
    return np.rint(255 * pictures).astype(np.uint8)


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    small = Image.fromarray(pixels)
    small.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    return np.asarray(small)


def _panels(
    loaded: LoadedModel, occlusion: Occlusion | None, number: int, size
) -> tuple[tuple[str, np.ndarray], ...]:
    if occlusion is None or number not in occlusion.classes:
        return ()
    label, probability = occlusion.classes[number]
    caption = f"probability of {loaded.labels[label]}, by the square's position"
    return ((caption, occlusion_maps.panel(probability, size)),)


def _predictions(
    loaded: LoadedModel, table: LayerTable, number: int
) -> tuple[tuple[str, float], ...]:
    values = np.asarray(table.values[number])[None]
    probabilities = np.asarray(loaded.model.probabilities(values))[0]
    best = np.argsort(-probabilities, kind="stable")[:_PREDICTIONS]
    return tuple((loaded.labels[n], float(probabilities[n])) for n in best)


def _most_active(
    tables: Mapping[str, LayerTable],
    peaks: dict[str, np.ndarray],
    number: int,
    logits: str | None,
) -> tuple[tuple[str, int, float], ...]:
    """Units of hidden layers, by their share of the most that any image gives them."""
    found = []
    for name, table in tables.items():
        if name == logits:
            continue
        values, peak = np.asarray(table.values[number]), peaks[name]
        shares = np.where(peak > 0, values / np.where(peak > 0, peak, 1), 0)
        for unit in np.argsort(-shares, kind="stable")[:_UNITS].tolist():
            if values[unit] > 0:
                found.append((shares[unit], name, unit, float(values[unit])))
    # Where shares are equal, higher layers first: they tell more of an image.
    order = {name: index for index, name in enumerate(tables)}
    found.sort(key=lambda each: (-each[0], -order[each[1]]))
    return tuple(each[1:] for each in found[:_UNITS])
