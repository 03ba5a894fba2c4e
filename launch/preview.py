"""Draws the first images of each class of a data set side by side.

    python -m launch.preview --dataset=creatures/64 --out=runs/data

Prepares the data set first, where it is built in and not yet there.
"""

import dataclasses
import itertools
import os
import pathlib

import numpy as np

from zf_jax import cli
from zf_jax.data import crops, sources
from zf_jax.figures import contact_sheet

# How many images are searched for those of a class: a data set that is sorted by class
# would be read whole.
_MOST_EXAMPLES = 20_000


@dataclasses.dataclass(frozen=True)
class PreviewConfig:
    """A split of a data set, and how much of it is drawn."""

    dataset: str | None = cli.field(
        None, "any TFDS name, folder:PATH, or creatures/64", required=True
    )
    out: pathlib.Path | None = cli.field(None, "folder for the picture", required=True)
    split: str = cli.field("train", "split of the data set")
    data_dir: pathlib.Path | None = cli.field(None, "where TFDS keeps data sets")
    classes: int = cli.field(10, "classes, a row for each", minimum=1)
    per_class: int = cli.field(10, "images of a class", minimum=1, formerly="each")
    pixels: int = cli.field(64, "side of an image, pixels", minimum=8)


def main(config: PreviewConfig) -> list[pathlib.Path]:
    """Reads until every class has its images, and draws them."""
    data_dir = os.fspath(config.data_dir) if config.data_dir else None
    source = sources.open_split(config.dataset, config.split, data_dir=data_dir)
    path = config.out / f"{source.name.replace('/', '-')}.png"
    title = f"{source.name}, {config.split}: {len(source.examples):,} images"
    return [contact_sheet.draw(_rows(config, source), title=title, path=path)]


def _rows(config: PreviewConfig, source: sources.Source) -> dict[str, list]:
    """The first images [pixels, pixels, 3] of each class, 0..1, by its name."""
    size = (config.pixels, config.pixels)
    rows = {name: [] for name in source.labels[: config.classes]}
    for example in itertools.islice(source.examples, _MOST_EXAMPLES):
        row = rows.get(source.labels[int(example["label"])])
        if row is not None and len(row) < config.per_class:
            image = crops.resize(crops.to_rgb(example["image"]), config.pixels)
            row.append(crops.centre(image, size) / np.float32(255))
        elif all(len(row) == config.per_class for row in rows.values()):
            break
    return rows


if __name__ == "__main__":
    cli.run(main)
