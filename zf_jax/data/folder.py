"""A folder of photographs as a data set: `folder:PATH`, one sub-folder for each class.

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
import unicodedata
import warnings
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import grain
import tensorflow_datasets as tfds

from zf_jax.data import image_files
from zf_jax.errors import BadInput

PREFIX = "folder:"
# The share that is held out.
VALIDATION = 0.1

# Sub-folders that are splits, not classes, where train and one more are there.
_SPLITS = dict.fromkeys(("val", "validation"), "validation")
_SPLITS |= {"train": "train", "test": "test"}
# Threads suffice: Pillow mostly works without the interpreter's lock. They are not
# many, for each holds a picture.
_AHEAD = grain.ReadOptions(min(16, os.cpu_count() or 1), prefetch_buffer_size=16)
# Images in one file of the prepared set.
_SHARD = 8192


class ImageFile(NamedTuple):
    """An image file of a class; its split is "" as long as it is not drawn.

    The rank, in 0 to 1, is a hash of its name: the members' order, and who is held out.
    """

    rank: float
    file: pathlib.Path
    label: str
    split: str


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
        self.root, self.members, self.unreadable = root, scan(root), []
        real = root.resolve()
        word = re.sub(r"\W+", "_", real.name, flags=re.ASCII)[:40]
        self.family = f"folder_{word}_{_hash(str(real))}"
        state = [_state(member.file, root) for member in self.members]
        self.name = f"{self.family}_{_hash(state)}"
        super().__init__(data_dir=data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        """Features and description."""
        labels = sorted({member.label for member in self.members})
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=labels),
        }
        return self.dataset_info_from_configs(
            description="Photographs, a folder for each class.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _shard_iterators_per_split(self, dl_manager) -> dict:
        """What makes the examples of every shard; nothing is downloaded."""
        del dl_manager
        shards = {}
        for member in divide(self.members):
            shards.setdefault(member.split, []).append(member)
        for split, members in shards.items():
            count = math.ceil(len(members) / _SHARD)
            parts = [members[first::count] for first in range(count)]
            shards[split] = [functools.partial(self._examples, part) for part in parts]
        return shards

    def _examples(self, members: list[ImageFile]) -> Iterator[tuple]:
        """Yields (path, example) for the files that can be read."""
        files = grain.MapDataset.source([member.file for member in members])
        encoded = files.map(_encoded).to_iter_dataset(_AHEAD)
        for member, content in zip(members, encoded, strict=True):
            self.progress.update()
            if not content:
                self.unreadable.append(member.file)
                continue
            # A file rather than an array: TFDS encodes arrays with TensorFlow.
            image = io.BytesIO(content)
            yield str(member.file), {"image": image, "label": member.label}
            # It is written; TFDS keeps the example to count it, but not its bytes.
            image.close()

    def prepare(self) -> None:
        """Writes the data set, and removes those of the folder's former states."""
        home = pathlib.Path(self.data_path).parent
        bar = tfds.core.utils.tqdm(
            desc=f"Reading {self.root.name}",
            total=len(self.members),
            unit=" images",
            leave=False,
        )
        try:
            with image_files.quietly(), bar as self.progress:
                self.download_and_prepare(file_format="array_record")
        except (OSError, RuntimeError) as error:
            # Another host or process may have been faster.
            if not self.is_prepared():
                reason = f"not written to {home}: {error}"
                raise BadInput(f"folder {self.root}: {reason}") from error
        former = set(home.parent.glob(f"{self.family}_*")) - {home}
        for each in [*former, *home.glob("incomplete.*")]:
            shutil.rmtree(each, ignore_errors=True)


def open_builder(path: str, data_dir: str | None = None) -> tfds.core.DatasetBuilder:
    """A builder whose data are prepared, now if they were not.

    Args:
      path: the folder.
      data_dir: where TFDS keeps its data; ~/tensorflow_datasets by default.

    Warns:
      UserWarning: image files are left out, when prepared.

    Raises:
      BadInput: no such folder, no classes in it, one without an image that can be
        read, two by one name; or nothing can be written to `data_dir`.
    """
    root = pathlib.Path(locate(path))
    builder = Folder(root, data_dir)
    if not builder.is_prepared():
        builder.prepare()
        beside = set(image_files.within(root)) - {m.file for m in builder.members}
        if out := [*builder.unreadable, *sorted(beside)]:
            few = ", ".join(repr(str(file.relative_to(root))) for file in out[:3])
            warnings.warn(
                f"folder {root}: left out {len(out)} image files that cannot be read "
                f"or lie in no class's folder: {few}{', ...' if out[3:] else ''}",
                stacklevel=2,
            )
    return tfds.builder_from_directory(builder.data_path)


def locate(path: str) -> str:
    """The folder's path from anywhere."""
    if not path:
        raise BadInput(f"dataset {PREFIX!r}: say which folder, as {PREFIX}PATH")
    return os.path.abspath(os.path.expanduser(path))


def scan(root: pathlib.Path) -> list[ImageFile]:
    """The members of a folder, class by class; raises as `open_builder` does."""
    splits = {each.name: each for each in _folders(root) if each.name in _SPLITS}
    if len(splits) < 2 or "train" not in splits:
        return _members(root, "")
    members = [
        member
        for name, each in splits.items()
        for member in _members(each, _SPLITS[name])
    ]
    known = {member.label for member in members if member.split == "train"}
    for member in members:
        if member.label not in known:
            raise BadInput(f"folder {member.file.parent}: not a class of train")
    return members


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        found = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    except OSError as error:
        raise BadInput(
            f"folder {folder}: {error.strerror}; give one with a sub-folder per class"
        ) from error
    return [path for path in found if not path.name.startswith(".")]


def _members(folder: pathlib.Path, split: str) -> list[ImageFile]:
    members, taken = [], {}
    for each in _folders(folder):
        # TFDS keeps names as lines of a file, and drops the space around them.
        text = os.fsencode(each.name).decode(errors="replace")
        label = " ".join(unicodedata.normalize("NFC", text).split()) or "_"
        other = taken.setdefault(label.casefold(), each.name)
        if other != each.name:
            raise BadInput(
                f"folder {folder}: {other!r} and {each.name!r} are nearly one name; "
                "merge them or rename one"
            )
        files = image_files.within(each)
        if not files:
            raise BadInput(f"folder {each}: no image in it; add some or remove it")
        members += [ImageFile(_rank(f, folder), f, label, split) for f in files]
    if not members:
        raise BadInput(
            f"folder {folder}: no sub-folders; put the images of each class into one"
        )
    if len(taken) == 1 and all(member.file.parent != each for member in members):
        raise BadInput(f"folder {folder}: no classes; did you mean {PREFIX}{each}?")
    return members


def divide(members: list[ImageFile]) -> list[ImageFile]:
    """The members with their splits, by rank; raises as `open_builder` does.

    Where a split is to be drawn, the low ranks are held out, so that more images move
    none of the others; but one at least of every class with two that can be read.
    """
    divided = []
    for _, group in itertools.groupby(members, lambda m: (m.split, m.label)):
        group = sorted(group)
        readable = (member for member in group if _encoded(member.file))
        first = next(readable, None)
        if first is None:
            raise BadInput(
                f"folder {group[0].file.parent}: no image of class {group[0].label!r} "
                "can be read; replace them or remove the folder"
            )
        last = next(m for m in reversed(group) if m is first or _encoded(m.file))
        for member in group:
            held = (member.rank < VALIDATION or member is first) and member is not last
            drawn = "validation" if held else "train"
            divided.append(member._replace(split=member.split or drawn))
    return sorted(divided)


def _encoded(file: pathlib.Path) -> bytes:
    """The image as a JPEG or PNG file; nothing if it cannot be read."""
    try:
        return image_files.encode(file)
    except (BadInput, OSError):
        return b""


def _rank(file: pathlib.Path, folder: pathlib.Path) -> float:
    name = os.fsencode("/".join(file.parts[len(folder.parts) :]))
    return int.from_bytes(hashlib.sha256(name).digest()[:8]) / 2**64


def _state(file: pathlib.Path, folder: pathlib.Path) -> tuple:
    """What differs once the file has changed."""
    name = str(file).removeprefix(str(folder))
    try:
        now = file.stat()
    except OSError:
        # A link to nowhere.
        return (name,)
    return name, now.st_size, now.st_mtime_ns


def _hash(value) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:10]
