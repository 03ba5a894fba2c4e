"""The few images that an experiment looks at one by one: files, or of the data set."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from absl import flags

from experiments.common import dataset
from experiments.common.model import LoadedModel
from zf_jax.errors import BadInput

flags.adopt_module_key_flags(dataset)
_INDICES = flags.DEFINE_list("indices", [], "or: which images of the data set")
_CLASSES = flags.DEFINE_list(
    "classes", [], "true class of each of --images; what the net says if unset"
)


class Chosen(NamedTuple):
    """One image.

    Attributes:
      name: for captions and files.
      image: [H, W, 3] float32, as the net takes it.
      label: its class; None if not known.
      source: what it is from.
      index: in the source.
    """

    name: str
    image: np.ndarray
    label: int | None
    source: dataset.Dataset | dataset.ImageFiles
    index: int


def choose(
    known: LoadedModel,
    files: dataset.ImageFiles | None,
    data: dataset.Dataset | None,
    *,
    otherwise: int = 0,
) -> list[Chosen]:
    """The images that the flags name: all `files`, and --indices of `data`.

    Where they name none, and `otherwise` is so many: the first of as many classes.
    """
    if files is None and not _INDICES.value:
        if otherwise:
            return _of_classes(known, data, otherwise)
        raise BadInput("--images: give image files, or --indices of the data set")
    found = _of_files(known, files) if files else []
    if _CLASSES.value and not files:
        raise BadInput("--classes: those of --images; the data set knows its own")
    if len(set(_INDICES.value)) < len(_INDICES.value):
        raise BadInput(f"--indices={','.join(_INDICES.value)}: several are the same")
    return found + [_of_data(known, data, index) for index in _INDICES.value]


def stack(some: Iterable[Chosen]) -> tuple[np.ndarray, np.ndarray]:
    """Images of one size, [N, H, W, 3], and their classes, [N] int; -1: not known."""
    first, *others = some = list(some)
    for one in others:
        if one.image.shape != first.image.shape:
            (rows, columns), (height, width) = (
                each.image.shape[:2] for each in (one, first)
            )
            raise BadInput(
                f"{one.name}: {rows}x{columns} pixels, and {first.name} "
                f"{height}x{width}; give images of one size"
            )
    labels = [-1 if one.label is None else one.label for one in some]
    return np.stack([one.image for one in some]), np.array(labels)


def wants_data() -> bool:
    """Whether the data set has to be opened for the images."""
    return bool(_INDICES.value)


def _of_files(known: LoadedModel, files: dataset.ImageFiles) -> list[Chosen]:
    classes = _CLASSES.value or [None] * len(files)
    if len(classes) != len(files):
        raise BadInput(f"--classes: {len(classes)} for {len(files)} --images")
    found = []
    for index, label in enumerate(classes):
        if label is not None and label not in known.labels:
            raise BadInput(
                f"--classes={label}: the net knows {', '.join(known.labels) or 'none'}"
            )
        number = known.labels.index(label) if label else None
        name = files.names[index]
        found.append(Chosen(name, files[index], number, files, index))
    return found


def _of_data(known: LoadedModel, data: dataset.Dataset, index: str) -> Chosen:
    if not index.isdigit() or int(index) >= len(data):
        raise BadInput(f"--indices={index}: {data.name} has 0 to {len(data) - 1}")
    return of_data(known, data, int(index))


def of_data(known: LoadedModel, data: dataset.Dataset, number: int) -> Chosen:
    """An image of the data set, whatever the flags."""
    label = data.label(number)
    # The class of another data set is none of the net's.
    known_label = label if data.labels == known.labels else None
    name = f"{data.labels[label]}-{number}".replace("/", "-")
    return Chosen(name, data[number], known_label, data, number)


def _of_classes(known: LoadedModel, data: dataset.Dataset, count: int) -> list[Chosen]:
    """The first images of so many classes, or of as many as there are."""
    firsts, count = {}, min(count, len(data.labels))
    for number in range(len(data)):
        firsts.setdefault(data.label(number), number)
        if len(firsts) == count:
            break
    return [of_data(known, data, number) for number in firsts.values()]
