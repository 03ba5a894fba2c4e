"""Images of one class whose parts are known: of a data set, or files and a CSV."""

import dataclasses
import pathlib
from typing import NamedTuple

import numpy as np

from experiments.common import dataset, output
from experiments.common.dataset import DataConfig
from experiments.common.model import LoadedModel
from zf_jax import cli
from zf_jax.data import annotations, image_files
from zf_jax.errors import BadInput
from zf_jax.layers import Pair


@dataclasses.dataclass(frozen=True)
class PartConfig:
    """Which images of which class, and which of their parts."""

    class_name: str = cli.field(
        "dog", "class of the data set's images", formerly="kind"
    )
    count: int = cli.field(5, "images of the class, the first ones", minimum=2)
    parts: tuple[str, ...] = cli.field(
        ("left_eye", "right_eye", "nose"), "which parts of them"
    )
    boxes: pathlib.Path | None = cli.field(
        None,
        "where the parts are in --images: a CSV file of image,part,top,left,bottom,"
        "right in pixels of the image file, which it names with its extension",
    )


class PartBoxes(NamedTuple):
    """Images with the boxes of their parts.

    Attributes:
      images: N of them, [H, W, 3] float32, as the net takes them.
      boxes: [N, B, 4] int, in pixels of the images (`data/annotations.py`).
      parts: B names.
      names: N.
      title: what they are.
    """

    images: list[np.ndarray]
    boxes: np.ndarray
    parts: list[str]
    names: list[str]
    title: str


def choose(config: PartConfig, source: DataConfig, loaded: LoadedModel) -> PartBoxes:
    """The images with the boxes of their parts.

    Raises:
      BadInput: fewer than two or fewer than --count, an unknown class or part, boxes
        that are not known or beyond their image.
    """
    if bool(config.boxes) != bool(source.images):
        raise BadInput("--images and --boxes: give both, or a data set with parts")
    parts = list(dict.fromkeys(config.parts))
    if not parts:
        raise BadInput("--parts: give some, as left_eye,nose")
    if config.boxes:
        return _of_files(
            config.boxes, dataset.ImageFiles(source, loaded), loaded, parts
        )
    return _of_data(config, dataset.Dataset(source, loaded), parts)


def _of_data(config: PartConfig, data: dataset.Dataset, parts: list[str]) -> PartBoxes:
    """The first images of the class that show all parts."""
    name = config.class_name
    if name not in data.labels:
        raise BadInput(f"--class_name={name}: {data.name} has {', '.join(data.labels)}")
    label, found = data.labels.index(name), {}
    for index in range(len(data)):
        example = data.example(index)
        if example["label"] != label:
            continue
        boxes = annotations.part_boxes(example, parts, **data.cut)
        # A part that the crop has cut off cannot be covered.
        if (boxes[:, 2:] > boxes[:, :2]).all():
            found[index] = boxes
        if len(found) == config.count:
            break
    else:
        raise BadInput(
            f"--count={config.count}: {data.name} has {len(found)} images of {name} "
            f"that show {', '.join(parts)}"
        )
    return PartBoxes(
        [data[index] for index in found],
        np.stack(list(found.values())),
        parts,
        [f"{name}-{index}" for index in found],
        f"{len(found)} images of {name} of {data.name}",
    )


def _of_files(
    csv: pathlib.Path, files: dataset.ImageFiles, loaded: LoadedModel, parts: list[str]
) -> PartBoxes:
    """All files, with the boxes that a CSV file has of them."""
    known = annotations.read_boxes(csv)
    if len(files) < 2:
        raise BadInput("--images: 1 image; a correspondence is of two or more")
    _check_names(files.paths, csv)
    images = [files[index] for index in range(len(files))]
    boxes = []
    for path, image in zip(files.paths, images, strict=True):
        if image.shape != images[0].shape:
            raise BadInput(
                f"{path}: comes out as {image.shape[:2]}, {files.paths[0]} as "
                f"{images[0].shape[:2]} pixels; features of one size are compared"
            )
        own = known.get(path.name, {})
        if missing := [part for part in parts if part not in own]:
            raise BadInput(f"{csv}: no {missing[0]} of {path.name}")
        cut = {"size": image.shape[:2], "resize": loaded.resize}
        placed = _place({part: own[part] for part in parts}, path, **cut)
        if outside := [part for part, box in placed.items() if box is None]:
            raise BadInput(
                f"{csv}: {outside[0]} of {path.name} lies outside of the image, or of "
                "the middle that is seen"
            )
        boxes.append(list(placed.values()))
    names = output.distinct([path.stem for path in files.paths])
    return PartBoxes(images, np.array(boxes), parts, names, files.title)


def _check_names(paths: list[pathlib.Path], csv: pathlib.Path) -> None:
    """Refuses two files of one name, by which the CSV file tells images."""
    named = {}
    for path in paths:
        if (other := named.setdefault(path.name, path)) is not path:
            raise BadInput(
                f"--images: {other} and {path} have one name, and {csv} tells images "
                "by it; rename one"
            )


def _place(
    boxes: dict[str, tuple], path: pathlib.Path, *, size: Pair, resize: int
) -> dict[str, np.ndarray | None]:
    """Boxes of a file in pixels of its crop; None for one that lies outside."""
    shape = image_files.read(path).shape[:2]
    placed = {}
    for part, (top, left, bottom, right) in boxes.items():
        relative = np.array((top, left, bottom, right)) / (*shape, *shape)
        box = annotations.box(relative, shape, size=size, resize=resize)
        lies_in_file = bottom <= shape[0] and right <= shape[1]
        seen = lies_in_file and (box[2:] > box[:2]).all()
        placed[part] = box if seen else None
    return placed
