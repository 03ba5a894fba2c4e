"""The image files of a folder by class, and by split where it is divided already.

PATH/cat/1.jpg  PATH/cat/more/2.png  PATH/dog/1.webp
PATH/train/cat/1.jpg  PATH/valid/cat/2.jpg  PATH/test/cat/3.jpg
"""

import hashlib
import os
import pathlib
import unicodedata
from typing import NamedTuple

from zf_jax.data import file_search, formats
from zf_jax.errors import BadInput

PREFIX = "folder:"

# Names of sub-folders that are splits, in any capitals.
_SPLITS = dict.fromkeys(("train", "training"), "train")
_SPLITS |= dict.fromkeys(("val", "valid", "validation", "dev"), "validation")
_SPLITS |= dict.fromkeys(("test", "testing"), "test")


class ImageFile(NamedTuple):
    """An image file of a class.

    Attributes:
      rank: in 0 to 1, a hash of its name: tells the order, and who is held out.
      path: the file.
      label: name of its class.
      split: "train", "validation" or "test"; "" as long as it is not drawn.
    """

    rank: float
    path: pathlib.Path
    label: str
    split: str


class Scan(NamedTuple):
    """What a folder holds.

    Attributes:
      files: the image files, class by class.
      empty: folders where a class is expected, without any image.
    """

    files: list[ImageFile]
    empty: list[pathlib.Path]


def locate(path: str) -> str:
    """The folder's absolute path; a leading ~ is the home folder.

    Raises:
      BadInput: the path is empty.
    """
    if not path:
        raise BadInput(f"dataset {PREFIX!r}: say which folder, as {PREFIX}PATH")
    return os.path.abspath(os.path.expanduser(path))


def scan(root: pathlib.Path) -> Scan:
    """Goes through a folder; reads no image.

    Raises:
      BadInput: no such folder, no classes in it, two classes by nearly one name, a
        class without an image that can be read, a class that train lacks; or its
        sub-folders may be splits as well as classes.
    """
    folders = _folders(root)
    named = [folder for folder in folders if folder.name.casefold() in _SPLITS]
    empty = [folder for folder in named if not _holds_images(folder)]
    splits = _splits(root, [folder for folder in folders if folder not in empty])
    if not splits:
        return _of_classes(root, "")
    scans = [_of_classes(folder, split) for split, folder in splits.items()]
    files = [file for each in scans for file in each.files]
    known = {file.label for file in files if file.split == "train"}
    for file in files:
        if file.label not in known:
            raise BadInput(f"folder {file.path.parent}: not a class of train")
    return Scan(files, [*empty, *(folder for each in scans for folder in each.empty)])


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        found = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    except OSError as error:
        raise BadInput(
            f"folder {folder}: {error.strerror}; give one with a sub-folder per class"
        ) from error
    return [path for path in found if not formats.is_leftover(path.name)]


def _splits(root: pathlib.Path, folders: list[pathlib.Path]) -> dict[str, pathlib.Path]:
    """The sub-folders that are splits, by the split's name; none if all are classes."""
    named = [folder for folder in folders if folder.name.casefold() in _SPLITS]
    if not named:
        return {}
    splits = {_SPLITS[folder.name.casefold()]: folder for folder in named}
    # A split holds folders, a class holds images.
    nested = [folder for folder in named if _holds_folders_alone(folder)]
    others = [f for f in folders if f not in named and _holds_images(f)]
    if "train" in splits and len(splits) == len(named) > 1:
        if not others or nested == named:
            return splits
    elif len(named) < 2 and not (nested and others):
        return {}
    listed = ", ".join(repr(folder.name) for folder in named)
    beside = f" beside {others[0].name!r}" if others else ""
    raise BadInput(
        f"folder {root}: are {listed}{beside} splits or classes? Splits are one train, "
        "at most one val and one test, each with a folder per class; rename the rest"
    )


def _holds_folders_alone(folder: pathlib.Path) -> bool:
    _, names = next(file_search.walk(folder))
    return not any(map(formats.is_image, names)) and _holds_images(folder)


def _holds_images(folder: pathlib.Path) -> bool:
    walk = file_search.walk(folder)
    return any(formats.is_image(name) for _, names in walk for name in names)


def _of_classes(folder: pathlib.Path, split: str) -> Scan:
    """The files of a folder whose sub-folders are classes."""
    files, empty, names = [], [], {}
    for each in _folders(folder):
        paths = file_search.within(each)
        if not paths:
            _refuse_unsupported(each)
            empty.append(each)
            continue
        # TFDS keeps names as lines of a file, and drops the space around them.
        text = os.fsencode(each.name).decode(errors="replace")
        label = " ".join(unicodedata.normalize("NFC", text).split()) or "_"
        other = names.setdefault(label.casefold(), each.name)
        if other != each.name:
            raise BadInput(
                f"folder {folder}: {other!r} and {each.name!r} are nearly one name; "
                "merge them or rename one"
            )
        files += [ImageFile(_rank(path, folder), path, label, split) for path in paths]
    if not files:
        raise BadInput(
            f"folder {folder}: no sub-folders with images; put those of each class "
            "into one"
        )
    first = folder / files[0].path.relative_to(folder).parts[0]
    if len(names) == 1 and all(file.path.parent != first for file in files):
        raise BadInput(f"folder {folder}: no classes; did you mean {PREFIX}{first}?")
    return Scan(files, empty)


def _refuse_unsupported(folder: pathlib.Path) -> None:
    """Raises BadInput for a class that would be lost with all its images."""
    files = file_search.within(folder, formats.is_unsupported)
    if remedy := formats.remedy(files):
        raise BadInput(f"folder {folder}: no image in it that can be read; {remedy}")


def _rank(path: pathlib.Path, folder: pathlib.Path) -> float:
    name = os.fsencode("/".join(path.parts[len(folder.parts) :]))
    return int.from_bytes(hashlib.sha256(name).digest()[:8]) / 2**64
