"""The images of one class whose parts are known: of the data set, or files and a CSV.

Flags shared by the experiments: --kind, --count, --parts, --boxes.
"""

from typing import NamedTuple

import numpy as np
from absl import flags

from experiments.common import dataset
from experiments.common.model import LoadedModel
from zf_jax.data import annotations, image_files
from zf_jax.errors import BadInput

_KIND = flags.DEFINE_string("kind", "dog", "class of the data set's images")
_COUNT = flags.DEFINE_integer("count", 5, "images of it, the first ones", lower_bound=2)
_PARTS = flags.DEFINE_list("parts", ["left_eye", "right_eye", "nose"], "which parts")
_BOXES = flags.DEFINE_string(
    "boxes",
    None,
    "where they are in --images: a CSV file of image,part,top,left,bottom,right in "
    "pixels of the image file, which it names with its extension",
)


class PartBoxes(NamedTuple):
    """Images with the boxes of their parts.

    Attributes:
      images: N of them, [H, W, 3] float32, as the net takes them.
      boxes: [N, B, 4] int, in pixels of the images (`data/truth.py`).
      parts: B names.
      names: N.
      title: what they are.
    """

    images: list[np.ndarray]
    boxes: np.ndarray
    parts: list[str]
    names: list[str]
    title: str


def choose(known: LoadedModel) -> PartBoxes:
    """The images that the flags name.

    Raises:
      BadInput: fewer than two or fewer than --count, an unknown class or part, boxes
        that are not known or beyond their image.
    """
    if bool(_BOXES.value) != dataset.files_given():
        raise BadInput("--images and --boxes: give both, or a data set with parts")
    parts = list(dict.fromkeys(_PARTS.value))
    if not parts:
        raise BadInput("--parts: give some, as left_eye,nose")
    return (_of_files if _BOXES.value else _of_data)(known, parts)


def _of_data(known: LoadedModel, parts: list[str]) -> PartBoxes:
    data = dataset.Dataset(known)
    if _KIND.value not in data.labels:
        raise BadInput(
            f"--kind={_KIND.value}: {data.name} has {', '.join(data.labels)}"
        )
    label, found = data.labels.index(_KIND.value), {}
    for index in range(len(data)):
        example = data.example(index)
        if example["label"] != label:
            continue
        boxes = annotations.part_boxes(example, parts, **data.cut)
        # A part that the crop has cut off cannot be covered.
        if (boxes[:, 2:] > boxes[:, :2]).all():
            found[index] = boxes
        if len(found) == _COUNT.value:
            break
    else:
        raise BadInput(
            f"--count={_COUNT.value}: {data.name} has {len(found)} images of "
            f"{_KIND.value} that show {', '.join(parts)}"
        )
    return PartBoxes(
        [data[index] for index in found],
        np.stack(list(found.values())),
        parts,
        [f"{_KIND.value}-{index}" for index in found],
        f"{len(found)} images of {_KIND.value} of {data.name}",
    )


def _of_files(known: LoadedModel, parts: list[str]) -> PartBoxes:
    boxes = annotations.read_boxes(_BOXES.value)
    files = dataset.ImageFiles(known)
    if len(files) < 2:
        raise BadInput("--images: 1 image; a correspondence is of two or more")
    found, named = [], {}
    for index, path in enumerate(files.paths):
        if (other := named.setdefault(path.name, path)) is not path:
            raise BadInput(
                f"--images: {other} and {path} have one name, and {_BOXES.value} tells "
                "images by it; rename one"
            )
        own = boxes.get(path.name, {})
        if missing := [part for part in parts if part not in own]:
            raise BadInput(f"{_BOXES.value}: no {missing[0]} of {path.name}")
        shape = image_files.read(path).shape[:2]
        if files[index].shape != files[0].shape:
            raise BadInput(
                f"{path}: comes out as {files[index].shape[:2]}, {files.paths[0]} as "
                f"{files[0].shape[:2]} pixels; features of one size are compared"
            )
        cut = {"size": files[index].shape[:2], "resize": known.resize}
        placed = [
            annotations.box(_relative(own[p], shape), shape, **cut) for p in parts
        ]
        for part, box in zip(parts, placed, strict=True):
            beyond = own[part][2] > shape[0] or own[part][3] > shape[1]
            if beyond or (box[2:] <= box[:2]).any():
                raise BadInput(
                    f"{_BOXES.value}: {part} of {path.name} lies outside of the image "
                    f"of {shape[0]}x{shape[1]} pixels, or of the middle that is seen"
                )
        found.append(placed)
    together = [files[index] for index in range(len(files))]
    return PartBoxes(together, np.array(found), parts, files.names, files.title)


def _relative(box: tuple, shape: tuple[int, int]) -> np.ndarray:
    return np.array(box) / (*shape, *shape)
