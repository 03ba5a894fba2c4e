"""Which files and folders hold images, told by their names alone."""

import collections
import functools
import os
import pathlib
from collections.abc import Iterable

from PIL import Image

# Pillow knows these, but reads them with other programs, if at all; or they are no
# images.
_BEYOND_PILLOW = {".bufr", ".emf", ".eps", ".grib", ".h5", ".hdf"}
_BEYOND_PILLOW |= {".mpeg", ".mpg", ".ps", ".wmf"}
# Of telephones: read by the package pillow-heif.
_HEIF = {".heic", ".heics", ".heif", ".heifs", ".hif"}
# Images that Pillow does not read: of cameras, of drawing programs, newer formats.
_UNSUPPORTED = _HEIF | {".emf", ".eps", ".wmf"}
_UNSUPPORTED |= {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf"}
_UNSUPPORTED |= {".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf"}
_UNSUPPORTED |= {".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw"}
_UNSUPPORTED |= {".x3f", ".exr", ".jxl", ".jxr", ".svg", ".svgz"}
_UNSUPPORTED |= {".xcf", ".avif", ".jp2", ".webp"}
# Left behind by archives, file servers and operating systems; some hold thumbnails.
_LEFTOVERS = {"__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin"}
_LEFTOVERS |= {"lost+found", "system volume information"}


def is_leftover(name: str) -> bool:
    """Whether a file or folder is hidden, or a leftover of an archive or a server."""
    return name.startswith(".") or name.casefold() in _LEFTOVERS


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image that can be read, and not hidden."""
    return _extension(name) in _readable() and not is_leftover(name)


def is_unsupported(name: str) -> bool:
    """Whether a file's name is that of an image that nothing here can read."""
    unsupported = _extension(name) in _UNSUPPORTED - _readable()
    return unsupported and not is_leftover(name)


def remedy(files: Iterable[str | os.PathLike]) -> str:
    """What to do about the unsupported among some files; "" if there are none.

    As "3 .heic: convert them to JPEG or PNG, or pip install pillow-heif".
    """
    counts = collections.Counter(
        _extension(name) for name in map(os.fspath, files) if is_unsupported(name)
    )
    if not counts:
        return ""
    counted = ", ".join(f"{n} {extension}" for extension, n in sorted(counts.items()))
    heif = _HEIF & set(counts)
    install = f", or pip install pillow-heif for {min(heif)}" if heif else ""
    return f"{counted}: convert them to JPEG or PNG{install}"


def _extension(name: str) -> str:
    return pathlib.PurePath(name).suffix.lower()


@functools.cache
def _readable() -> frozenset[str]:
    """Extensions of what Pillow reads by itself; some that it knows it only writes."""
    register_heif()
    known = Image.registered_extensions().items()
    return frozenset({e for e, name in known if name in Image.OPEN} - _BEYOND_PILLOW)


@functools.cache
def register_heif() -> None:
    """Makes Pillow read HEIC files where pillow-heif is installed."""
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()
