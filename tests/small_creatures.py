"""A small creatures/64, drawn in seconds."""

import pathlib
from unittest import mock

from zf_jax.creatures import builder


def prepare(folder: pathlib.Path) -> None:
    """Writes 96 images to learn from and 50 to judge by into a data_dir.

    What is on disk is opened as it is, so every command takes it for the whole set.
    """
    config = next(c for c in builder.Creatures.BUILDER_CONFIGS if c.name == "64")
    with mock.patch.multiple(config, train=96, validation=50):
        made = builder.Creatures(config="64", data_dir=folder)
        made.download_and_prepare(file_format="array_record")
