"""A folder of images as a data set: `folder:PATH`, one sub-folder for each class.

    PATH/cat/1.jpg  PATH/cat/more/2.png  PATH/dog/1.webp    a tenth is held out here
    PATH/train/cat/1.jpg  PATH/val/cat/2.jpg                divided already

Prepared once, by a tensorflow-datasets builder that needs no TensorFlow, and once more
when a file has changed.
"""

import functools
import hashlib
import io
import itertools
import json
import math
import os
import pathlib
import re
import shutil
import warnings
from collections.abc import Iterator
from typing import ClassVar

import grain
import tensorflow_datasets as tfds

from zf_jax.data import class_folders, file_search, formats, image_files, preparation
from zf_jax.data.class_folders import ImageFile
from zf_jax.errors import BadInput

# The share that is held out.
VALIDATION = 0.1

# Threads suffice: Pillow mostly works without the interpreter's lock. They are not
# many, for each holds an image.
_AHEAD = grain.ReadOptions(min(16, os.cpu_count() or 1), prefetch_buffer_size=16)
# Images in one file of the prepared set.
_SHARD = 8192


class Folder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Builder of one folder's data set, with a name for each state of the folder.

    It writes as it reads; TFDS's usual builders gather a split first, and need
    TensorFlow where that is more than 1 GB.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    # Nothing is downloaded, as in `creatures`.
    url_infos: ClassVar = {}

    def __init__(self, root: pathlib.Path, data_dir: str | None = None):
        self.root, self.unreadable = root, []
        self.files, self.empty = class_folders.scan(root)
        real = root.resolve()
        word = re.sub(r"\W+", "_", real.name, flags=re.ASCII)[:40]
        self.family = f"folder_{word}_{_hash(str(real))}"
        self.name = f"{self.family}_{_hash([_state(f, root) for f in self.files])}"
        super().__init__(data_dir=data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        """Features and description."""
        labels = sorted({file.label for file in self.files})
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=labels),
        }
        return self.dataset_info_from_configs(
            description="Images, a folder for each class.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _shard_iterators_per_split(self, dl_manager) -> dict:
        """What makes the examples of every shard; nothing is downloaded."""
        del dl_manager
        shards = {}
        for file in divide(self.files):
            shards.setdefault(file.split, []).append(file)
        for split, files in shards.items():
            count = math.ceil(len(files) / _SHARD)
            parts = [files[first::count] for first in range(count)]
            shards[split] = [functools.partial(self._examples, part) for part in parts]
        return shards

    def _examples(self, files: list[ImageFile]) -> Iterator[tuple]:
        """Yields (path, example) for the files that can be read."""
        paths = grain.MapDataset.source([file.path for file in files])
        encoded = paths.map(_encoded).to_iter_dataset(_AHEAD)
        for file, content in zip(files, encoded, strict=True):
            self.progress.update()
            if not content:
                self.unreadable.append(file.path)
                continue
            # A file rather than an array: TFDS encodes arrays with TensorFlow.
            image = io.BytesIO(content)
            yield str(file.path), {"image": image, "label": file.label}
            # It is written; TFDS keeps the example to count it, but not its bytes.
            image.close()

    def prepare(self) -> None:
        """Writes the data set, and removes those of the folder's former states."""
        bar = tfds.core.utils.tqdm(
            desc=f"Reading {self.root.name}",
            total=len(self.files),
            unit=" images",
            leave=False,
        )
        with image_files.quietly(), bar as self.progress:
            preparation.prepare(self, f"folder {self.root}")
        home = pathlib.Path(self.data_path).parent
        for former in set(home.parent.glob(f"{self.family}_*")) - {home}:
            shutil.rmtree(former, ignore_errors=True)

    def left_out(self) -> str:
        """What of the folder is not in the data set, in one line; "" if nothing.

        Files that cannot be read are known once the data set is prepared.
        """
        within = functools.partial(file_search.within, self.root)
        taken = {file.path for file in self.files}
        unsupported = within(formats.is_unsupported)
        elsewhere = [path for path in within() if path not in taken]
        out, reasons = [*self.unreadable, *elsewhere, *unsupported], []
        if out:
            reasons.append(
                f"left out {len(out)} image files that cannot be read or lie in no "
                f"class's folder: {self._few(out)}"
            )
        if self.empty:
            reasons.append(f"no image in {self._few(self.empty)}")
        if unsupported:
            reasons.append(formats.remedy(unsupported))
        return "; ".join(reasons)

    def _few(self, paths: list[pathlib.Path]) -> str:
        names = [repr(str(path.relative_to(self.root))) for path in paths]
        return ", ".join([*names[:3], *["..."] * (len(names) > 3)])


def open_builder(path: str, data_dir: str | None = None) -> tfds.core.DatasetBuilder:
    """A builder whose data are prepared, now if they were not.

    Args:
      path: the folder.
      data_dir: where TFDS keeps its data; ~/tensorflow_datasets by default.

    Warns:
      UserWarning: image files or folders are left out, when prepared.

    Raises:
      BadInput: as `class_folders.scan`; or nothing can be written to `data_dir`.
    """
    root = pathlib.Path(class_folders.locate(path))
    builder = Folder(root, data_dir)
    if not builder.is_prepared():
        builder.prepare()
        if left_out := builder.left_out():
            warnings.warn(f"folder {root}: {left_out}", stacklevel=2)
    return tfds.builder_from_directory(builder.data_path)


def divide(files: list[ImageFile]) -> list[ImageFile]:
    """Image files with their splits, by rank; reads images until that is certain.

    Where a split is to be drawn, the low ranks are held out, so that more images move
    none of the others; but one at least of every class with two that can be read.

    Raises:
      BadInput: no image of a class can be read.
    """
    divided = []
    for _, group in itertools.groupby(files, lambda f: (f.split, f.label)):
        group = sorted(group)
        readable = (file for file in group if _encoded(file.path))
        first = next(readable, None)
        if first is None:
            raise BadInput(
                f"folder {group[0].path.parent}: no image of class {group[0].label!r} "
                "can be read; replace them or remove the folder"
            )
        last = next(f for f in reversed(group) if f is first or _encoded(f.path))
        for file in group:
            held = (file.rank < VALIDATION or file is first) and file is not last
            drawn = "validation" if held else "train"
            divided.append(file._replace(split=file.split or drawn))
    return sorted(divided)


def _encoded(file: pathlib.Path) -> bytes:
    """The image as a JPEG or PNG file; nothing if it cannot be read."""
    try:
        return image_files.encode(file)
    except (BadInput, OSError):
        return b""


def _state(file: ImageFile, root: pathlib.Path) -> tuple:
    """What differs once the file has changed, or is taken for another class's."""
    name = str(file.path).removeprefix(str(root)), file.label, file.split
    try:
        now = file.path.stat()
    except OSError:
        # A link to nowhere.
        return name
    return *name, now.st_size, now.st_mtime_ns


def _hash(value) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:10]
