"""What is known of an image besides its class, cut as the image is (`crops.py`).

The boxes of its parts and its silhouette, as `creatures` brings them, and boxes of
other images from a CSV file. A box is [4] int: top, left, bottom, right in pixels of
the crop, the last two excluded.
"""

import csv
import io
import math
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from zf_jax.data import crops
from zf_jax.errors import BadInput
from zf_jax.layers import Pair

_COLUMNS = ("image", "part", "top", "left", "bottom", "right")


def part_boxes(
    example: dict, parts: Sequence[str], *, size: Pair, resize: int
) -> np.ndarray:
    """Where parts of an example are, [B, 4] int; `box` tells how they are rounded.

    Args:
      example: of a data set, with "parts", boxes as tfds.features.BBox by name.
      parts: names of those wanted.
      size: (rows, columns) of the centre crop, pixels.
      resize: the image's smaller side before the crop, pixels.

    Raises:
      BadInput: the data set has no parts, or not all of these.
    """
    if "parts" not in example:
        raise BadInput(
            f"parts: the data set has no boxes of any, but {', '.join(example)}; take "
            "creatures, or files with their boxes"
        )
    known = example["parts"]
    if missing := [part for part in parts if part not in known]:
        raise BadInput(f"part {missing[0]!r}: the data set has {', '.join(known)}")
    shape = example["image"].shape[:2]
    return np.stack([box(known[p], shape, size=size, resize=resize) for p in parts])


def silhouette(example: dict, *, size: Pair, resize: int) -> np.ndarray:
    """Where an example's object is, [H, W] bool.

    Args:
      example: of a data set, with "mask", a PNG file's bytes or [h, w] or [h, w, 1]
        uint8, above 127 on the object.
      size: as `part_boxes` takes it.
      resize: as `part_boxes` takes it.

    Raises:
      BadInput: the data set has no masks.
    """
    if "mask" not in example:
        raise BadInput(
            f"mask: the data set has none, but {', '.join(example)}; take creatures"
        )
    mask = example["mask"]
    if isinstance(mask, bytes):
        mask = np.asarray(Image.open(io.BytesIO(mask)))
    mask = crops.resize(mask.reshape(mask.shape[:2]), resize)
    return crops.centre(mask, size) > 127


def box(
    relative: Sequence[float], shape: Pair, *, size: Pair, resize: int
) -> np.ndarray:
    """A box of an image in its crop, [4] int, every pixel that it touches.

    What lies beyond the crop is cut off; of a box that lies beyond it altogether,
    nothing is left: bottom is not below top, or right not beyond left.

    Args:
      relative: ymin, xmin, ymax, xmax in sides of the image, 0 to 1.
      shape: of the image, (rows, columns).
      size: as `part_boxes` takes it.
      resize: as `part_boxes` takes it.
    """
    # As large as the image comes out of it.
    resized = crops.resize(np.zeros(shape, np.uint8), resize).shape
    first = [(n - s) // 2 for n, s in zip(resized, size, strict=True)]
    # To four digits of a pixel: a float32 edge on a pixel's border touches no more.
    edges = np.round(np.reshape(relative, (2, 2)).astype(float) * resized, 4) - first
    low = np.clip(np.floor(edges[0]), 0, size)
    high = np.clip(np.ceil(edges[1]), 0, size)
    return np.concatenate([low, high]).astype(int)


def covered(boxes: np.ndarray, size: Pair) -> np.ndarray:
    """The pixels [H, W] that boxes [B, 4] cover together, bool."""
    region = np.zeros(size, bool)
    for top, left, bottom, right in boxes:
        region[top:bottom, left:right] = True
    return region


def read_boxes(path: str | pathlib.Path) -> dict[str, dict[str, tuple]]:
    """Boxes of image files from a CSV file: image,part,top,left,bottom,right.

    Returns:
      By image and part, (top, left, bottom, right) in pixels of the file.

    Raises:
      BadInput: a file that cannot be read, other columns, a line that is no box.
    """
    path = pathlib.Path(path).expanduser()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not a text file") from None
    rows = csv.DictReader(lines)
    if sorted(rows.fieldnames or []) != sorted(_COLUMNS):
        raise BadInput(f"{path}: its first line has to be {','.join(_COLUMNS)}")
    found: dict[str, dict[str, tuple]] = {}
    for row in rows:
        try:
            edges = tuple(float(row[name]) for name in _COLUMNS[2:])
        except (TypeError, ValueError):
            edges = ()
        top, left, bottom, right = edges or (math.nan,) * 4
        if None in row or not (0 <= top < bottom < math.inf > right > left >= 0):
            raise BadInput(
                f"{path}, line {rows.line_num}: no box; write image,part and pixels "
                "0 <= top < bottom, 0 <= left < right"
            )
        found.setdefault(row["image"], {})[row["part"]] = edges
    if not found:
        raise BadInput(f"{path}: holds no boxes")
    return found
