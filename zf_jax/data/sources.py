"""Opens a data set by its TFDS name, prepared as array_record, without TensorFlow.

`creatures/...` is built in and prepared on first use, as is a folder of images,
`folder:PATH`. What else is on disk is opened as it is; what is not is never downloaded
behind the user's back: the error says how.
"""

import dataclasses
import difflib
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.data_sources import base

from zf_jax.creatures import builder
from zf_jax.data import class_folders, folder, preparation
from zf_jax.data.class_folders import PREFIX
from zf_jax.errors import BadInput

BUILT_IN = "creatures"


class Source(NamedTuple):
    """A split of a data set, by index.

    Attributes:
      name: of the data set.
      split: which part of it.
      examples: examples[i] has "image", [H, W, C] uint8, and "label", an int.
      labels: names of the classes.
      data_dir: where TFDS keeps it, absolute; None for ~/tensorflow_datasets.
    """

    name: str
    split: str
    examples: Sequence[dict]
    labels: tuple[str, ...]
    data_dir: str | None = None


def open_split(name: str, split: str, *, data_dir: str | None = None) -> Source:
    """Opens one split.

    Args:
      name: as TFDS writes it, "creatures/64", "imagenette/320px-v2", "imagenet2012",
        or "folder:PATH".
      split: "train", "validation", "train[:90%]", as TFDS writes it.
      data_dir: where TFDS keeps its data; ~/tensorflow_datasets by default.

    Raises:
      BadInput: no such data set or split, no images with labels in it, or not
        prepared; the message says what would prepare it.
    """
    if name.startswith(PREFIX):
        # A run keeps the name, and may be looked at from elsewhere.
        name = PREFIX + class_folders.locate(name.removeprefix(PREFIX))
    if data_dir:
        data_dir = os.path.abspath(os.path.expanduser(data_dir))
    builder = _builder(name, data_dir)
    if not builder.is_prepared() and name.split("/")[0] == BUILT_IN:
        preparation.prepare(builder, f"dataset {name!r}")
        # Another process may have prepared what this builder does not know of.
        builder = _builder(name, data_dir)
    _check_prepared(builder, name, data_dir)
    features = builder.info.features
    if not {"image", "label"} <= set(features):
        raise BadInput(
            f"dataset {name!r}: needs image and label, has {', '.join(features)}"
        )
    if not isinstance(features["label"], tfds.features.ClassLabel):
        raise BadInput(f"dataset {name!r}: its label is a number, not a class")
    examples = _examples(builder, name, split)
    labels = tuple(features["label"].names)
    return Source(name, split, examples, labels, data_dir or None)


def subset(source: Source, indices: Sequence[int]) -> Source:
    """Some examples of a source, in this order; one may occur several times."""
    return source._replace(examples=_Subset(source.examples, tuple(map(int, indices))))


class _Subset(Sequence):
    def __init__(self, examples: Sequence[dict], indices: tuple[int, ...]):
        self.examples, self.indices = examples, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict:
        return self.examples[self.indices[index]]


def first_difference(labels: Sequence[str], others: Sequence[str]) -> str:
    """Where two lists of class names first differ, in words; "" if they are the same.

    As "class 2 is cow, not dog", or "there are 3, not 4, without owl".
    """
    if len(labels) != len(others):
        missing = [name for name in others if name not in labels]
        added = [name for name in labels if name not in others]
        which = f", without {missing[0]}" if missing else ""
        which = which or (f", with {added[0]}" if added else "")
        return f"there are {len(labels)}, not {len(others)}{which}"
    for index, (label, other) in enumerate(zip(labels, others, strict=True)):
        if label != other:
            return f"class {index} is {label}, not {other}"
    return ""


def classes(source: Source) -> np.ndarray:
    """[N] int, the label of every example; no image is decoded for it."""
    examples = encoded(source.examples)
    return np.array([int(examples[i]["label"]) for i in range(len(examples))])


def encoded(examples: Sequence[dict]) -> Sequence[dict]:
    """The examples with "image" as the bytes of its file, where they come from TFDS."""
    if isinstance(examples, _Subset):
        return _Subset(encoded(examples.examples), examples.indices)
    if not isinstance(examples, base.BaseDataSource):
        return examples
    skipped = dict(examples.decoders or {}) | {"image": tfds.decode.SkipDecoding()}
    return dataclasses.replace(examples, decoders=skipped)


def _builder(name: str, data_dir: str | None):
    if name.startswith(PREFIX):
        return folder.open_builder(name.removeprefix(PREFIX), data_dir)
    base, _, config = name.partition("/")
    if base == BUILT_IN:
        configs = [each.name for each in builder.Creatures.BUILDER_CONFIGS]
        if config not in configs:
            known = ", ".join(f"{BUILT_IN}/{each}" for each in configs)
            raise BadInput(f"dataset {name!r}: there are {known}")
        return builder.Creatures(config=config, data_dir=data_dir)
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (ValueError, ImportError, AssertionError) as error:
        if os.path.isdir(name):
            reason = f"TFDS knows none; did you mean {PREFIX}{name}?"
        elif isinstance(error, tfds.core.DatasetNotFoundError):
            reason = f"TFDS knows none; {_hint(base)}"
        else:
            # A wrong configuration or version, or a builder that needs a package.
            configs = tfds.builder_cls(base).builder_configs if base in _known() else {}
            known = ", ".join(f"{base}/{each}" for each in configs)
            wrong = configs and config.split(":")[0] not in configs
            reason = f"there are {known}" if wrong else _line(error)
        raise BadInput(f"dataset {name!r}: {reason}") from error


def _hint(base: str) -> str:
    if near := difflib.get_close_matches(base, set(_known()), 3):
        return f"did you mean {' or '.join(near)}?"
    return f"see tfds.list_builders(), or give {PREFIX}PATH for your images"


def _examples(builder, name: str, split: str) -> Sequence[dict]:
    features, splits = builder.info.features, builder.info.splits
    wanted = {part.split("[")[0] for part in split.split("+")}
    if not wanted <= set(splits):
        remedy = ""
        if "validation" in wanted and "test" in splits:
            remedy = "; take test: --validation_split=test to train, --split=test later"
        raise BadInput(
            f"split {split!r}: {name} has {', '.join(sorted(splits))}{remedy}"
        )
    # A mask would cost as much to decode as its image.
    skipped = {
        name: tfds.decode.SkipDecoding()
        for name, feature in features.items()
        if name != "image" and isinstance(feature, tfds.features.Image)
    }
    try:
        examples = builder.as_data_source(split=split, decoders=skipped or None)
        count = len(examples)
    except (ValueError, AssertionError) as error:
        raise BadInput(f"split {split!r} of {name}: {_line(error)}") from error
    if not count:
        raise BadInput(f"split {split!r} of {name}: holds no examples")
    return examples


def _known() -> list[str]:
    return tfds.list_builders(with_community_datasets=False)


def _check_prepared(builder, name: str, data_dir: str | None) -> None:
    where = f" --data_dir={data_dir}" if data_dir else ""
    if not builder.is_prepared():
        raise BadInput(
            f"dataset {name!r}: not prepared in {builder.data_path}; prepare it once: "
            f"pip install tensorflow-cpu && "
            f"tfds build {name} --file_format=array_record{where}"
        )
    formats = {builder.info.file_format, *builder.info.alternative_file_formats}
    if not any(each and each.value == "array_record" for each in formats):
        raise BadInput(
            f"dataset {name!r}: prepared, but not as array_record; convert it once: "
            "pip install tensorflow-cpu && tfds convert_format "
            f"--dataset_version_dir={builder.data_path} --out_file_format=array_record"
        )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
