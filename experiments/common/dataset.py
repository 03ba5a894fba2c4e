"""The images that an experiment goes through: a data set's, or image files.

Flags shared by the experiments: --images, or --dataset with its split.
"""

import copy
import functools
import hashlib
import math
import os
import sys
from collections.abc import Iterator

import numpy as np
from absl import flags

from experiments.common.model import LoadedModel
from zf_jax import cli
from zf_jax.data import batches, image_files, sources
from zf_jax.errors import BadInput

_IMAGES = flags.DEFINE_list("images", [], "image files, folders, or patterns as *.jpg")
_STRICT = flags.DEFINE_bool("strict", False, "stop at a file that cannot be read")
_DATASET = flags.DEFINE_string(
    "dataset", None, "TFDS name, or folder:PATH; the training run's if unset"
)
_SPLIT = flags.DEFINE_string("split", "validation", "split of the data set")
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "where TFDS keeps data sets; where the run had it if unset"
)
_BATCH = flags.DEFINE_integer(
    "batch_size", 64, "images computed together", lower_bound=1
)


# Bytes of images kept, for whoever asks for them again.
_KEPT = 64 << 20


class Dataset:
    """A split: centre crops of one size."""

    def __init__(self, known: LoadedModel):
        name = _DATASET.value or known.dataset
        if name is None:
            raise BadInput(
                "--images or --dataset: say which images; an ONNX file knows none"
            )
        where = _DATA_DIR.value
        if not where and name == known.dataset and _exists(known.data_dir):
            where = known.data_dir
        source = sources.open_split(name, _SPLIT.value, data_dir=where)
        self.name = f"{source.name}, {source.split}"
        self.labels = source.labels
        self.title = f"{len(source.examples):,} images of {self.name}"
        # Of what is chosen from the split, which.
        self._known, self._which = known, ()
        size = known.crop or (known.resize, known.resize)
        self._cut = {"size": size, "resize": known.resize}
        self._open(source)

    def _open(self, source: sources.Source) -> None:
        self.source = source
        image_at = functools.partial(batches.image_at, source, **self._cut)
        most = _KEPT // (3 * math.prod(self._cut["size"]))
        self._image_at = functools.lru_cache(maxsize=most)(image_at)

    def __len__(self) -> int:
        return len(self.source.examples)

    def __getitem__(self, index: int) -> np.ndarray:
        """[H, W, 3] float32, prepared."""
        return self._known.prepare(self._image_at(int(index)))

    def label(self, index: int) -> int:
        """The class of an image."""
        return int(self.source.examples[index]["label"])

    def example(self, index: int) -> dict:
        """All that the data set holds of an image, before it is cut."""
        return self.source.examples[index]

    @property
    def cut(self) -> dict:
        """How an image is cut: the crop's "size" and the smaller side's "resize"."""
        return dict(self._cut)

    @property
    def key(self) -> str:
        """Tells these images from others."""
        cut = self._cut, self._known.net.input
        return repr((self.name, len(self), *cut, *self._which))

    def labelled(self, **options) -> Iterator[batches.Batch]:
        """The batches with their labels; options of `batches.evaluation`."""
        size = {"batch_size": _BATCH.value}
        return batches.evaluation(self.source, **self._cut, **size, **options)

    def batches(self, start: int = 0) -> Iterator[np.ndarray]:
        """[N, H, W, 3] uint8, in order from one on, the last one as short as it is."""
        for batch in self.labelled(start=start):
            yield batch.images[: batch.mask.sum()]

    def only(self, indices: np.ndarray) -> "Dataset":
        """Some of the images, in this order."""
        found = copy.copy(self)
        found._open(sources.subset(self.source, indices))
        found._which = (*self._which, hashlib.sha256(np.int64(indices)).hexdigest())
        return found

    def tell_skipped(self) -> None:
        """Nothing is: a data set is read whole or not at all."""


class ImageFiles:
    """The files of --images: whole where the net takes any size, else their middle."""

    # No classes are known.
    labels = None

    def __init__(self, known: LoadedModel):
        found = image_files.find(_IMAGES.value)
        self._known, self.paths, self._skipped = known, [], []
        # Shown only where it takes long: one bad file gives one line and no more.
        shown = {"desc": "reading photographs", "leave": False, "delay": 1}
        for path in cli.progress(found, **shown):
            try:
                image_files.read(path)
            except BadInput as reason:
                if _STRICT.value or len(found) == 1:
                    raise
                self._skipped.append(reason)
            else:
                self.paths.append(path)
        for reason in self._skipped:
            print(f"skipped {reason}", file=sys.stderr)
        if not self.paths:
            raise BadInput(f"--images: none of {len(found)} files can be read")
        self.title = f"{len(self.paths)} photograph{'s' * (len(self.paths) > 1)}"
        self.names = _distinct([path.stem for path in self.paths])
        self._frame = functools.lru_cache(maxsize=64)(self._read)

    def _read(self, index: int) -> np.ndarray:
        return self._known.frame(image_files.read(self.paths[index]))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """[H, W, 3] float32, prepared."""
        return self._known.prepare(self._frame(int(index)))

    @property
    def key(self) -> str:
        """Tells these images, as they are now, from others."""
        files = [(str(path), path.stat().st_mtime_ns) for path in self.paths]
        return repr((files, self._known.resize, self._known.crop))

    def batches(self, start: int = 0) -> Iterator[np.ndarray]:
        """[1, H, W, 3] uint8, from one on: they may differ in size."""
        for index in range(start, len(self)):
            yield self._frame(index)[None]

    def tell_skipped(self) -> None:
        """How many files could not be read, said once more at the end."""
        if self._skipped:
            total = len(self) + len(self._skipped)
            print(f"{len(self._skipped)} of {total} files could not be read")


def _distinct(names: list[str]) -> list[str]:
    """The names, with a number where one occurs again."""
    return [
        f"{name}-{again + 1}" if (again := names[:i].count(name)) else name
        for i, name in enumerate(names)
    ]


def _exists(folder: str | None) -> bool:
    """A run may have been moved without its data."""
    return bool(folder) and os.path.isdir(folder)


def files_given() -> bool:
    """Whether --images names files."""
    return bool(_IMAGES.value)


def dataset_given(known: LoadedModel) -> bool:
    """Whether a data set is named, by --dataset or by the training run."""
    return bool(_DATASET.value or known.dataset)
