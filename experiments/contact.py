"""A contact sheet: what is in a data set, class by class.

    python -m experiments.contact --dataset=creatures/64 --out=runs/data

Opens the split (and prepares it, where the data set is built in) and draws the first
images of each class side by side.
"""

import itertools
import pathlib

import numpy as np
from absl import flags

from zf_jax import cli
from zf_jax.data import crops, sources
from zf_jax.figures import plates

_DATASET = flags.DEFINE_string("dataset", None, "TFDS name, or creatures/64")
_SPLIT = flags.DEFINE_string("split", "train", "split of the data set")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "where TFDS keeps data sets")
_OUT = flags.DEFINE_string("out", None, "folder for the picture")
_CLASSES = flags.DEFINE_integer("classes", 10, "rows of the sheet", lower_bound=1)
_EACH = flags.DEFINE_integer("each", 10, "images of a class", lower_bound=1)
_PIXELS = flags.DEFINE_integer("pixels", 64, "side of an image", lower_bound=8)
# How far to look for a class's images: a set sorted by class would be read whole.
_FAR = 20_000


def main() -> list[pathlib.Path]:
    """Reads until every class has its images."""
    source = sources.open_split(_DATASET.value, _SPLIT.value, data_dir=_DATA_DIR.value)
    labels = source.labels[: _CLASSES.value]
    rows = {name: [] for name in labels}
    for example in itertools.islice(source.examples, _FAR):
        row = rows.get(source.labels[int(example["label"])], [None] * _EACH.value)
        if len(row) < _EACH.value:
            image = crops.resize(crops.to_rgb(example["image"]), _PIXELS.value)
            row.append(crops.centre(image, (_PIXELS.value,) * 2) / np.float32(255))
        elif all(len(row) == _EACH.value for row in rows.values()):
            break
    path = pathlib.Path(_OUT.value) / f"{source.name.replace('/', '-')}.png"
    title = f"{source.name}, {_SPLIT.value}: {len(source.examples):,} images"
    return [plates.contact(rows, title=title, path=path)]


if __name__ == "__main__":
    cli.run(main, required=("dataset", "out"))
