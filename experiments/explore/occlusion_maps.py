"""Fig. 7 for every unit: how much of its strongest example a grey square takes away."""

import pathlib
import zipfile
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from experiments.common import topk_pass
from experiments.common.model import LoadedModel
from zf_jax import cli, io
from zf_jax.figures.explorer import sheets
from zf_jax.probes import occlusion
from zf_jax.probes.topk import TopK

# The square's side as a share of the image's smaller one; it moves by half its side.
_SHARE = 4
# Multiply-adds and values touched by all sweeps.
_CHEAP = 1e13


class Occlusion(NamedTuple):
    """The maps of all units, and of the images that are some unit's strongest.

    Attributes:
      units: by layer, [U, R, S] uint8: of the unit's strongest activation in its
        strongest image, what is left with the square there; 255 stands for all of it.
      classes: by image, the class and its probability by the square's position.
    """

    units: dict[str, np.ndarray]
    classes: dict[int, tuple[int, np.ndarray]]


def sweep(
    loaded: LoadedModel,
    data,
    best: Mapping[str, TopK],
    labels: np.ndarray | None,
) -> Occlusion:
    """Sweeps each image that is the strongest of some unit, for all its units at once.

    Args:
      loaded: the net.
      data: the images, all of one size.
      best: the strongest images of each layer's units.
      labels: [N] int, the class of each image that is looked at; None for a net
        without classes.
    """
    strongest = {name: each.images[:, 0] for name, each in best.items()}
    images, found, classes = strongest_images(best), {}, {}
    outputs_fn = _outputs_fn(loaded, tuple(best))
    fill = loaded.model.prepare(np.asarray(loaded.input.mean))
    for number in cli.progress(images, desc="occlusion"):
        image = data[number]
        square = _square(image.shape)
        outputs = occlusion.sweep(outputs_fn, image, fill=fill, **square)
        outputs = jax.device_get(outputs)
        probability = outputs.pop("probability", None)
        for name, values in outputs["maxima"].items():
            for unit in np.flatnonzero(strongest[name] == number):
                share = values[..., unit] / best[name].values[unit, 0]
                shape = len(strongest[name]), *share.shape
                maps = found.setdefault(name, np.zeros(shape, np.uint8))
                maps[unit] = np.rint(255 * np.clip(share, 0, 1))
        if probability is not None:
            classes[number] = int(labels[number]), probability[..., labels[number]]
    return Occlusion(found, classes)


def save(path: pathlib.Path, key: str, found: Occlusion) -> None:
    """Keeps the maps in an .npz file."""
    arrays = {f"units {name}": each for name, each in found.units.items()}
    for number, (label, probability) in found.classes.items():
        arrays[f"class {number} {label}"] = probability
    io.save_arrays(path, key=np.array(key), **arrays)


def restore(path: pathlib.Path, key: str) -> Occlusion | None:
    """The maps that were kept under the key; None where there are none."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if str(stored["key"]) != key:
                return None
            found = Occlusion({}, {})
            for name in stored.files:
                kind, _, rest = name.partition(" ")
                if kind == "units":
                    found.units[rest] = stored[name]
                elif kind == "class":
                    number, label = map(int, rest.split())
                    found.classes[number] = label, stored[name]
            return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        topk_pass.set_aside(path)
        return None


def strongest_images(best: Mapping[str, TopK]) -> list[int]:
    """The images that are the strongest of some unit, each once."""
    images = np.unique(np.concatenate([each.images[:, 0] for each in best.values()]))
    return images[images >= 0].tolist()


def is_cheap(loaded: LoadedModel, data, best: Mapping[str, TopK]) -> bool:
    """Whether `sweep` takes some ten minutes on two cores at most."""
    images = strongest_images(best)
    if not images:
        return True
    image = jax.ShapeDtypeStruct(np.shape(data[images[0]]), np.float32)
    outputs_fn = _outputs_fn(loaded, tuple(best))
    report = occlusion.explain(outputs_fn, image, **_square(image.shape))
    each = report.positions * sum(row.position_work for row in report.rows)
    return len(images) * each <= _CHEAP


def panel(by_position: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values in 0..1 by the square's position as a picture [*size, 3]."""
    rows, columns = (
        np.arange(length) * count // length
        for length, count in zip(size, by_position.shape, strict=True)
    )
    return sheets.heat(by_position[np.ix_(rows, columns)])


def _square(shape: tuple[int, ...]) -> dict[str, int]:
    side = max(1, min(shape[:2]) // _SHARE)
    return {"side": side, "stride": max(1, side // 2)}


def _outputs_fn(loaded: LoadedModel, layers: tuple[str, ...]):
    """Images to each unit's strongest activation, and the classes' probabilities."""
    apply = loaded.with_maps(layers)

    def outputs_fn(images):
        logits, maps = apply(images)
        maxima = {
            name: each.max(axis=tuple(range(1, each.ndim - 1)))
            if each.ndim > 2
            else each
            for name, each in maps.items()
        }
        if logits is None:
            return {"maxima": maxima}
        return {"maxima": maxima, "probability": loaded.model.probabilities(logits)}

    return outputs_fn
