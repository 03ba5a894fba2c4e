"""Image files: found, and whatever they hold, [H, W, 3] uint8 RGB comes out."""

import contextlib
import functools
import glob
import io
import os
import pathlib
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import ExifTags, Image

from zf_jax.errors import BadInput

# Below this there is nothing to see, and nothing to resize from.
SMALLEST = 8

_NUMBER = re.compile(r"(\d+)")
# By EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Known to Pillow, but read by other programs, if at all, or no pictures.
_BEYOND = {".bufr", ".emf", ".eps", ".grib", ".h5", ".hdf"}
_BEYOND |= {".mpeg", ".mpg", ".ps", ".wmf"}


def find(patterns: Sequence[str]) -> list[pathlib.Path]:
    """Image files, each once, in the order of the patterns.

    Args:
      patterns: each a file, taken whatever its extension; a folder, for the images in
        it and below; or a pattern as `*.jpg` or `photos/**`, for the images and the
        folders that match. Of folders and patterns only image files are taken, none
        that are hidden, 2.jpg before 10.jpg. ~ is the home folder.

    Raises:
      BadInput: a pattern that no image matches, a folder without images.
    """
    found = {}
    for pattern in patterns:
        for path in _matches(os.fspath(pattern)):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _matches(pattern: str) -> list[pathlib.Path]:
    path = pathlib.Path(os.path.expanduser(pattern))
    if not pattern or not (path.exists() or glob.has_magic(pattern)):
        raise BadInput(f"images {pattern!r}: no such file or folder")
    if path.exists() and not path.is_dir():
        # As it is, even where it could be read as a pattern: "cat [1].jpg".
        return [path]
    found = [str(path)] if path.is_dir() else glob.glob(str(path), recursive=True)
    images = []
    for each in map(pathlib.Path, sorted(found, key=_natural)):
        images += within(each) if each.is_dir() else [each] * is_image(each.name)
    if not images:
        raise BadInput(
            f"images {pattern!r}: no image {'in it' if path.is_dir() else 'matches'}"
        )
    return images


def within(folder: str | pathlib.Path) -> list[pathlib.Path]:
    """The image files of a folder, then those of the folders in it; no hidden ones."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted((f for f in folders if not f.startswith(".")), key=_natural)
        names = sorted(filter(is_image, names), key=_natural)
        found += [pathlib.Path(parent, name) for name in names]
    return found


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image, and not of a hidden one."""
    extension = os.path.splitext(name)[1].lower()
    return extension in _extensions() and not name.startswith(".")


@functools.cache
def _extensions() -> frozenset[str]:
    """Of what Pillow reads by itself; some that it knows it only writes."""
    reads = Image.registered_extensions().items()
    reads = {extension for extension, kind in reads if kind in Image.OPEN}
    return frozenset(reads - _BEYOND)


def _natural(name: str) -> tuple:
    """Sorts as a person would: numbers by their value, capitals as small letters."""
    pieces = _NUMBER.split(name.casefold())
    return [int(p) if p.isdecimal() else p for p in pieces], name


def read(path: str | pathlib.Path) -> np.ndarray:
    """Reads an image file upright: EXIF orientation applied.

    Grey is repeated over the colours, 16-bit grey is scaled to 8, CMYK and palettes are
    converted, what is transparent shows white. Of an animation it is the first picture.

    Raises:
      BadInput: no such file, not an image, damaged, or smaller than 8 pixels a side.
    """
    if not os.path.isfile(path):
        raise BadInput(f"image {path}: no such file")
    try:
        with quietly(), Image.open(path) as opened:
            image = _to_rgb(_upright(opened))
    except PermissionError as error:
        raise BadInput(f"image {path}: no permission to read it") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadInput(f"image {path}: too large to read safely") from error
    # Damaged files make decoders fail in every way there is.
    except Exception as error:
        raise BadInput(f"image {path}: not an image that can be read") from error
    if min(image.size) < SMALLEST:
        width, height = image.size
        raise BadInput(
            f"image {path}: {width}x{height} pixels are too few, give at least "
            f"{SMALLEST}x{SMALLEST}"
        )
    return np.asarray(image)


def encode(path: str | pathlib.Path) -> bytes:
    """A JPEG or PNG file that any decoder turns into what `read` reads.

    The file itself where it is upright 8-bit RGB, otherwise a new PNG file.

    Raises:
      BadInput: as `read`.
    """
    image = read(path)
    content = pathlib.Path(path).read_bytes()
    if _is_plain(content):
        return content
    file = io.BytesIO()
    # Photographs hardly shrink any further when more is tried.
    Image.fromarray(image).save(file, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return file.getvalue()


def _is_plain(content: bytes) -> bool:
    with quietly(), Image.open(io.BytesIO(content)) as opened:
        if opened.mode != "RGB" or "transparency" in opened.info:
            return False
        # Pillow shows 16-bit colours as 8-bit ones; the header tells.
        if opened.format == "PNG" and content[24:26] != b"\x08\x02":
            return False
        # MPO: a JPEG file with more pictures behind the first.
        return opened.format in ("JPEG", "MPO", "PNG") and _turn(opened) is None


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Pillow's warnings of odd files are ignored, of too large ones they are errors.

    Filters are the process's: threads that read at once need this around them all.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes it upright; `ImageOps.exif_transpose` fails if any EXIF is damaged."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:
        return None


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit grey, whatever its byte order; Pillow's own conversion would clip.
        return _grey(np.asarray(image).astype(np.float64) / 257)
    if image.mode == "F":
        # No range is agreed on: to 1 or to 255.
        levels = np.nan_to_num(np.asarray(image))
        return _grey(levels * 255 if levels.max() <= 1 else levels)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _grey(levels: np.ndarray) -> Image.Image:
    whole = levels.clip(0, 255).round().astype(np.uint8)
    return Image.fromarray(whole).convert("RGB")
