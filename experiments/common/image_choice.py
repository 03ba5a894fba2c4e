"""The few images that an experiment examines one by one: files, or of the data set."""

import dataclasses
import difflib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from experiments.common import dataset, output
from experiments.common.model import LoadedModel
from zf_jax import cli
from zf_jax.errors import BadInput


@dataclasses.dataclass(frozen=True)
class ImageConfig:
    """Which images, beside all --images."""

    indices: tuple[int, ...] = cli.field((), "or: which images of the data set")
    classes: tuple[str, ...] = cli.field(
        (),
        "true class of each of --images, by name or number; what the net says if "
        "unset. A name with a comma stands in double quotes",
    )


class ChosenImage(NamedTuple):
    """One image.

    Attributes:
      name: for captions and files; no two images of a choice share one.
      image: [H, W, C] float32, as the net takes it.
      label: its class; None if not known.
      source: where it is from.
      index: in the source.
    """

    name: str
    image: np.ndarray
    label: int | None
    source: dataset.Dataset | dataset.ImageFiles
    index: int


def choose(
    config: ImageConfig,
    loaded: LoadedModel,
    files: dataset.ImageFiles | None,
    data: dataset.Dataset | None,
    *,
    default_classes: int = 0,
    taken: Iterable[str] = (),
) -> list[ChosenImage]:
    """The images of a configuration: all `files`, and some of `data` by index.

    Args:
      config: the choice.
      loaded: the net.
      files: of --images; None if there are none.
      data: the data set; None if it is not needed.
      default_classes: so many classes whose first image is taken where none is named.
      taken: names that no image may have.

    Raises:
      BadInput: no images, an unknown index, or a class that is unknown or ambiguous.
    """
    if files is None and not config.indices:
        if default_classes:
            return _first_of_classes(loaded, data, default_classes)
        raise BadInput("--images: give image files, or --indices of the data set")
    if config.classes and not files:
        raise BadInput("--classes: those of --images; the data set knows its own")
    if len(set(config.indices)) < len(config.indices):
        listed = ",".join(map(str, config.indices))
        raise BadInput(f"--indices={listed}: several are the same")
    found = _of_files(config, loaded, files) if files else []
    for index in config.indices:
        if not 0 <= index < len(data):
            raise BadInput(f"--indices={index}: {data.name} has 0 to {len(data) - 1}")
        found.append(of_data(loaded, data, index))
    names = output.distinct([each.name for each in found], taken)
    return [each._replace(name=name) for each, name in zip(found, names, strict=True)]


def stack(images: Iterable[ChosenImage]) -> tuple[np.ndarray, np.ndarray]:
    """Images of one size, [N, H, W, C], and their classes, [N] int; -1: not known.

    Raises:
      BadInput: they differ in size.
    """
    first, *others = images = list(images)
    for one in others:
        if one.image.shape != first.image.shape:
            (rows, columns), (height, width) = (
                each.image.shape[:2] for each in (one, first)
            )
            raise BadInput(
                f"{one.name}: {rows}x{columns} pixels, and {first.name} "
                f"{height}x{width}; give images of one size"
            )
    labels = [-1 if one.label is None else one.label for one in images]
    return np.stack([one.image for one in images]), np.array(labels)


def class_number(name: str, labels: tuple[str, ...]) -> int:
    """The class that a user means: its name, or its number where that is no name.

    Raises:
      BadInput: no such class, or several of that name.
    """
    if found := [i for i, label in enumerate(labels) if label == name]:
        if len(found) > 1:
            raise BadInput(
                f"--classes={name}: classes {', '.join(map(str, found))} have that "
                "name; give the number"
            )
        return found[0]
    if name.isdecimal() and int(name) < len(labels):
        return int(name)
    if not labels:
        raise BadInput(f"--classes={name}: the net knows no classes")
    near = difflib.get_close_matches(name, labels, n=5, cutoff=0.4) or labels[:5]
    raise BadInput(
        f"--classes={name}: none of the net's {len(labels)} classes; near to it: "
        f"{', '.join(dict.fromkeys(near))}; or a number up to {len(labels) - 1}"
    )


def of_data(loaded: LoadedModel, data: dataset.Dataset, index: int) -> ChosenImage:
    """An image of the data set."""
    label = data.label(index)
    # The class of another data set is none of the net's.
    known = label if data.labels == loaded.labels else None
    name = f"{data.labels[label]}-{index}".replace("/", "-")
    return ChosenImage(name, data[index], known, data, index)


def _of_files(
    config: ImageConfig, loaded: LoadedModel, files: dataset.ImageFiles
) -> list[ChosenImage]:
    classes = config.classes or [None] * len(files)
    if len(classes) != len(files):
        raise BadInput(
            f"--classes: {len(classes)} for {len(files)} --images; a class whose name "
            "has a comma is given by its number"
        )
    labels = [
        None if name is None else class_number(name, loaded.labels) for name in classes
    ]
    return [
        ChosenImage(files.paths[index].stem, files[index], label, files, index)
        for index, label in enumerate(labels)
    ]


def _first_of_classes(
    loaded: LoadedModel, data: dataset.Dataset, count: int
) -> list[ChosenImage]:
    """The first image of each of so many classes, or of as many as there are."""
    firsts, count = {}, min(count, len(data.labels))
    for index in range(len(data)):
        firsts.setdefault(data.label(index), index)
        if len(firsts) == count:
            break
    return [of_data(loaded, data, index) for index in firsts.values()]
