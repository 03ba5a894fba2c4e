"""The few images that an experiment looks at one by one: files, or of the data set."""

from typing import NamedTuple

import numpy as np
from absl import flags

from experiments import images
from experiments.trained import Known
from zf_jax.errors import BadInput

flags.adopt_module_key_flags(images)
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
    source: images.Dataset | images.Photographs
    index: int


def choose(
    known: Known,
    files: images.Photographs | None,
    data: images.Dataset | None,
) -> list[Chosen]:
    """The images that the flags name: all `files`, and --indices of `data`."""
    if files is None and not _INDICES.value:
        raise BadInput("--images: give image files, or --indices of the data set")
    found = _of_files(known, files) if files else []
    if _CLASSES.value and not files:
        raise BadInput("--classes: those of --images; the data set knows its own")
    if len(set(_INDICES.value)) < len(_INDICES.value):
        raise BadInput(f"--indices={','.join(_INDICES.value)}: several are the same")
    return found + [_of_data(known, data, index) for index in _INDICES.value]


def wants_data() -> bool:
    """Whether the data set has to be opened for the images."""
    return bool(_INDICES.value)


def _of_files(known: Known, files: images.Photographs) -> list[Chosen]:
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


def _of_data(known: Known, data: images.Dataset, index: str) -> Chosen:
    if not index.isdigit() or int(index) >= len(data):
        raise BadInput(f"--indices={index}: {data.name} has 0 to {len(data) - 1}")
    number = int(index)
    label = data.label(number)
    # The class of another data set is none of the net's.
    known_label = label if data.labels == known.labels else None
    name = f"{data.labels[label]}-{number}".replace("/", "-")
    return Chosen(name, data[number], known_label, data, number)
