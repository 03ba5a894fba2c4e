"""The few images that an experiment looks at one by one: files, or of the data set."""

import pathlib
from typing import NamedTuple

import numpy as np
from absl import flags

from experiments import trained
from zf_jax import convnet
from zf_jax.data import crops, photographs
from zf_jax.errors import BadInput
from zf_jax.training.checkpoint import About

_IMAGES = flags.DEFINE_list("images", [], "image files to look at")
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
      index: in the data set; -1 for a file.
    """

    name: str
    image: np.ndarray
    label: int | None
    index: int


def images(about: About, data: trained.Images | None) -> list[Chosen]:
    """The images that the flags name; `data` is read for --indices alone."""
    if not _IMAGES.value and not _INDICES.value:
        raise BadInput("--images: give image files, or --indices of the data set")
    if _CLASSES.value and len(_CLASSES.value) != len(_IMAGES.value):
        raise BadInput(
            f"--classes: {len(_CLASSES.value)} for {len(_IMAGES.value)} --images"
        )
    classes = _CLASSES.value or [None] * len(_IMAGES.value)
    files = zip(_IMAGES.value, classes, strict=True)
    found = [_file(about, *file) for file in files]
    found += [_example(about, data, index) for index in _INDICES.value]
    names = [one.name for one in found]
    for name in {name for name in names if names.count(name) > 1}:
        raise BadInput(f"--images: several are called {name}, and so would be pictures")
    return found


def wants_data() -> bool:
    """Whether the data set has to be opened for the images."""
    return bool(_INDICES.value)


def _file(about: About, path: str, label: str | None) -> Chosen:
    if label is not None and label not in about.labels:
        raise BadInput(f"--classes={label}: the net knows {', '.join(about.labels)}")
    image = crops.resize(photographs.read(path), about.resize)
    image = convnet.prepare(crops.centre(image, about.net.input.size), about.net.input)
    index = about.labels.index(label) if label else None
    return Chosen(pathlib.Path(path).stem, np.asarray(image), index, -1)


def _example(about: About, data: trained.Images, index: str) -> Chosen:
    if not index.isdigit() or int(index) >= len(data):
        raise BadInput(f"--indices={index}: {data.name} has 0 to {len(data) - 1}")
    number = int(index)
    label = data.label(number)
    # The class of another data set is none of the net's.
    known = label if data.labels == about.labels else None
    name = f"{data.labels[label]}-{number}".replace("/", "-")
    return Chosen(name, data[number], known, number)
