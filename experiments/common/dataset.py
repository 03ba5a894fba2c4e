"""The images that an experiment passes over: of a data set, or image files."""

import copy
import dataclasses
import functools
import hashlib
import math
import os
import pathlib
import sys
from collections.abc import Iterator

import numpy as np

from experiments.common.model import LoadedModel
from zf_jax import cli
from zf_jax.data import batches, image_files, sources
from zf_jax.errors import BadInput

# Bytes of images kept, for whoever asks for them again.
_CACHE = 64 << 20


@dataclasses.dataclass(frozen=True)
class ImageSourceConfig:
    """Which images there are."""

    images: tuple[str, ...] = cli.field(
        (), "image files, folders, or patterns as *.jpg"
    )
    strict: bool = cli.field(False, "stop at a file that cannot be read")
    dataset: str | None = cli.field(
        None, "TFDS name, or folder:PATH; the training run's if unset"
    )
    split: str = cli.field("validation", "split of the data set")
    data_dir: pathlib.Path | None = cli.field(
        None, "where TFDS keeps data sets; where the run had it if unset"
    )
    # Images computed together; `DataConfig` makes a flag of it.
    batch_size = 64


@dataclasses.dataclass(frozen=True)
class DataConfig(ImageSourceConfig):
    """Which images there are, and how many are computed together."""

    batch_size: int = cli.field(64, "images computed together", minimum=1)


class Dataset:
    """A split of a data set: centre crops of one size.

    Attributes:
      source: the split.
      name: of the data set and the split.
      labels: names of the classes.
      title: for captions.
      batch_size: images in a batch, but for the last.
      sizes_differ: false, as all images are cropped to one size.
    """

    sizes_differ = False

    def __init__(self, config: ImageSourceConfig, loaded: LoadedModel):
        """Opens the split.

        Raises:
          BadInput: no data set is named, or what `sources.open_split` refuses.
        """
        name = config.dataset or loaded.dataset
        if name is None and config.images:
            raise BadInput(
                "--dataset: say which data set; image files alone do not do here"
            )
        if name is None:
            raise BadInput(
                "--images or --dataset: say which images; only a training run knows "
                "its own"
            )
        where = config.data_dir
        if not where and name == loaded.dataset and _exists(loaded.data_dir):
            where = loaded.data_dir
        source = sources.open_split(
            name, config.split, data_dir=os.fspath(where) if where else None
        )
        self.name = f"{source.name}, {source.split}"
        self.labels = source.labels
        self.title = f"{len(source.examples):,} images of {self.name}"
        self._loaded, self.batch_size = loaded, config.batch_size
        # Digests of the indices that were chosen from the split.
        self._chosen = ()
        size = loaded.crop_size or (loaded.resize, loaded.resize)
        self._cut = {"size": size, "resize": loaded.resize}
        self._open(source)

    def _open(self, source: sources.Source) -> None:
        self.source = source
        image_at = functools.partial(batches.image_at, source, **self._cut)
        most = _CACHE // (3 * math.prod(self._cut["size"]))
        self._image_at = functools.lru_cache(maxsize=most)(image_at)

    def __len__(self) -> int:
        return len(self.source.examples)

    def __getitem__(self, index: int) -> np.ndarray:
        """[H, W, C] float32, prepared."""
        image = self._image_at(int(index))
        return self._loaded.prepare(self._loaded.to_channels(image))

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
        cut = self._cut, self._loaded.input
        return repr((self.name, len(self), *cut, *self._chosen))

    def labelled(self, **options) -> Iterator[batches.Batch]:
        """The batches with their labels; options of `batches.evaluation`."""
        options = {"batch_size": self.batch_size} | options
        for batch in batches.evaluation(self.source, **self._cut, **options):
            yield batch._replace(images=self._loaded.to_channels(batch.images))

    def batches(
        self, start: int = 0, shard: batches.HostShard = batches.HostShard()
    ) -> Iterator[np.ndarray]:
        """[N, H, W, C] uint8, in order from `start`, the last one as short as it is.

        Several hosts take batches in turn, and of the last what there is for them.
        """
        size = self.batch_size * shard.count
        for batch in self.labelled(start=start, batch_size=size, shard=shard):
            yield batch.images[: batch.mask.sum()]

    def only(self, indices: np.ndarray) -> "Dataset":
        """Some of the images, in this order."""
        found = copy.copy(self)
        found._open(sources.subset(self.source, indices))
        digest = hashlib.sha256(np.int64(indices)).hexdigest()
        found._chosen = (*self._chosen, digest)
        return found

    def report_skipped(self) -> None:
        """Nothing is skipped: a data set is read whole or not at all."""


class ImageFiles:
    """Image files: whole where the net takes any size, else their middle.

    Attributes:
      paths: the files that can be read.
      labels: None, as no classes are known.
      title: for captions.
      batch_size: 1, as images may differ in size.
    """

    labels, batch_size = None, 1

    def __init__(self, config: ImageSourceConfig, loaded: LoadedModel):
        """Finds the files and tries to read each.

        Raises:
          BadInput: no such files, or none of them can be read.
        """
        found = _find(config.images)
        self._loaded, self.paths, self._skipped = loaded, [], []
        # Shown only where it takes long: one bad file gives one line and no more.
        bar = {"desc": "reading image files", "leave": False, "delay": 1}
        for path in cli.progress(found, **bar):
            try:
                image_files.read(path)
            except BadInput as reason:
                if config.strict or len(found) == 1:
                    raise
                self._skipped.append(reason)
            else:
                self.paths.append(path)
        for reason in self._skipped:
            print(f"skipped {reason}", file=sys.stderr)
        if not self.paths:
            raise BadInput(f"--images: none of {len(found)} files can be read")
        self.title = f"{len(self.paths)} image file{'s' * (len(self.paths) > 1)}"
        self._frame = functools.lru_cache(maxsize=64)(self._read)

    def _read(self, index: int) -> np.ndarray:
        return self._loaded.frame(image_files.read(self.paths[index]))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """[H, W, C] float32, prepared."""
        return self._loaded.prepare(self._frame(int(index)))

    @property
    def key(self) -> str:
        """Tells these images, as they are now, from others."""
        files = [(str(path), path.stat().st_mtime_ns) for path in self.paths]
        return repr((files, self._loaded.resize, self._loaded.crop_size))

    @property
    def sizes_differ(self) -> bool:
        """Whether the images have sizes of their own, as the net takes any."""
        return self._loaded.crop_size is None

    def batches(
        self, start: int = 0, shard: batches.HostShard = batches.HostShard()
    ) -> Iterator[np.ndarray]:
        """[1, H, W, C] uint8, in order from `start`: images may differ in size.

        Several hosts take images in turn, and none where none is left for them.
        """
        for first in range(start, len(self), shard.count):
            index = first + shard.index
            image = self._frame(min(index, len(self) - 1))[None]
            yield image[: index < len(self)]

    def report_skipped(self) -> None:
        """How many files could not be read, said once more at the end."""
        if self._skipped:
            total = len(self) + len(self._skipped)
            print(f"{len(self._skipped)} of {total} files could not be read")


def open_images(config: ImageSourceConfig, loaded: LoadedModel) -> Dataset | ImageFiles:
    """The image files where some are named, else the data set.

    Raises:
      BadInput: as the two classes.
    """
    return (ImageFiles if config.images else Dataset)(config, loaded)


def _find(patterns: tuple[str, ...]) -> list[pathlib.Path]:
    try:
        return image_files.find(patterns)
    except BadInput as error:
        if len(patterns) == 1:
            raise
        raise BadInput(
            f"{error}; a name with a comma stands in double quotes, as "
            "--images='\"a, b.jpg\"'"
        ) from None


def _exists(folder: str | None) -> bool:
    """A run may have been moved without its data."""
    return bool(folder) and os.path.isdir(folder)
