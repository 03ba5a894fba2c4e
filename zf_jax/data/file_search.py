"""Files and folders found by pattern, through links, in a person's order."""

import glob
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator

import natsort

from zf_jax.data import formats

# As a person sorts: numbers by their value, capitals as small letters.
_natural = natsort.natsort_keygen(alg=natsort.ns.IGNORECASE)


def match(pattern: str) -> list[str]:
    """The files and folders of a pattern: * and ** as in glob.glob(recursive=True).

    That would never end where links form rings.
    """
    parts = pathlib.Path(pattern).parts
    if "**" not in parts:
        return glob.glob(pattern)
    at = parts.index("**")
    heads = glob.glob(os.path.join(*parts[:at])) if at else ["."]
    if at + 1 == len(parts):
        return heads
    folders = (folder for head in heads for folder, _ in walk(head))
    return [
        os.path.normpath(path)
        for folder in folders
        for path in match(os.path.join(glob.escape(folder), *parts[at + 1 :]))
    ]


def within(
    folder: str | os.PathLike, wanted: Callable[[str], bool] = formats.is_image
) -> list[pathlib.Path]:
    """The image files of a folder, then those of the folders in it; no hidden ones.

    Linked folders are followed, none twice, and none that holds the link itself.
    `wanted` tells by its name whether a file is taken.
    """
    return [
        pathlib.Path(parent, name)
        for parent, names in walk(folder)
        for name in in_order(filter(wanted, names))
    ]


def walk(folder: str | os.PathLike) -> Iterator[tuple[str, list[str]]]:
    """A folder and those in it, as `within` goes through them, with the files in each.

    Neither hidden folders nor leftovers of archives and servers are entered.
    """
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        seen.add(real)
        entered = []
        for name in in_order(folders):
            target = os.path.realpath(os.path.join(parent, name))
            ring = real == target or real.startswith(target.rstrip(os.sep) + os.sep)
            if not (ring or target in seen or formats.is_leftover(name)):
                seen.add(target)
                entered.append(name)
        folders[:] = entered
        yield parent, names


def in_order(names: Iterable[str]) -> list[str]:
    """Sorted as a person would: 2.jpg before 10.jpg, a.jpg before B.jpg."""
    # Twice, for 1.JPG and 1.jpg are the same to the second.
    return sorted(sorted(names), key=_natural)
