"""Image files: found, and whatever they hold, [H, W, 3] uint8 RGB comes out."""

import contextlib
import glob
import io
import os
import pathlib
import warnings
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from zf_jax.data import file_search, formats, pixels
from zf_jax.errors import BadInput

# Below this there is nothing to see, and nothing to resize from.
SMALLEST = 8


def find(patterns: Sequence[str]) -> list[pathlib.Path]:
    """Image files, each once, in the order of the patterns.

    Args:
      patterns: each a file, taken whatever its extension; a folder, for the images in
        it and below; or a pattern as `*.jpg` or `photos/**`, for the images and the
        folders that match. Of folders and patterns only image files are taken, none
        that are hidden, 2.jpg before 10.jpg. ~ is the home folder.

    Warns:
      UserWarning: a folder or a pattern holds images of formats that cannot be read.

    Raises:
      BadInput: a pattern that no image matches, a folder without images.
    """
    found = {}
    for pattern in map(os.fspath, patterns):
        path = pathlib.Path(os.path.expanduser(pattern))
        if not pattern or not (path.exists() or glob.has_magic(pattern)):
            raise BadInput(f"images {pattern!r}: no such file or folder")
        for each in _matches(pattern, path):
            found.setdefault(os.path.realpath(each), each)
    return list(found.values())


def _matches(pattern: str, path: pathlib.Path) -> list[pathlib.Path]:
    if path.exists() and not path.is_dir():
        # As it is, even where it could be read as a pattern: "cat [1].jpg".
        return [path]
    found = [str(path)] if path.is_dir() else file_search.match(str(path))
    images, unsupported = [], []
    for each in map(pathlib.Path, file_search.in_order(found)):
        files = [each]
        if each.is_dir():
            files = file_search.within(each, lambda name: True)
        images += [file for file in files if formats.is_image(file.name)]
        unsupported += [file for file in files if formats.is_unsupported(file.name)]
    remedy = formats.remedy(unsupported)
    if not images:
        where = "in it" if path.is_dir() else "matches"
        reason = f"; {remedy}" if remedy else ""
        raise BadInput(f"images {pattern!r}: no image {where}{reason}")
    if remedy:
        warnings.warn(
            f"images {pattern!r}: skipped {len(unsupported)} image files of formats "
            f"that cannot be read, as {str(unsupported[0])!r}; {remedy}",
            stacklevel=4,
        )
    return images


def read(path: str | os.PathLike) -> np.ndarray:
    """Reads an image file upright: EXIF orientation applied.

    Grey is repeated over the channels, levels of more than 8 bits are scaled to 8, CMYK
    and palettes are converted, what is transparent shows white. Of an animation it is
    the first picture. More than 89 megapixels are reduced to fewer.

    Args:
      path: the file; a leading ~ is the home folder.

    Returns:
      [H, W, 3] uint8 RGB, at least 8 pixels a side.

    Raises:
      BadInput: no such file, not an image, damaged, smaller than 8 pixels a side, or so
        large that the free memory does not hold it.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise BadInput(f"image {path}: no such file")
    formats.register_heif()
    try:
        with quietly(), Image.open(path) as opened:
            image = pixels.decode(opened)
    except BadInput as error:
        raise BadInput(f"image {path}: {error}") from error
    except PermissionError as error:
        raise BadInput(f"image {path}: no permission to read it") from error
    # Damaged files make decoders fail in every way there is.
    except Exception as error:
        remedy = formats.remedy([path])
        reason = f"; {remedy}" if remedy else ""
        raise BadInput(
            f"image {path}: not an image that can be read{reason}"
        ) from error
    if min(image.size) < SMALLEST:
        width, height = image.size
        raise BadInput(
            f"image {path}: {width}x{height} pixels are too few, give at least "
            f"{SMALLEST}x{SMALLEST}"
        )
    return np.asarray(image)


def encode(path: str | os.PathLike) -> bytes:
    """A JPEG or PNG file that any decoder turns into what `read` reads.

    The file itself where it is upright 8-bit RGB, otherwise a new PNG file.

    Raises:
      BadInput: as `read`.
    """
    image = read(path)
    content = pathlib.Path(path).expanduser().read_bytes()
    if _is_plain(content):
        return content
    file = io.BytesIO()
    # Images of cameras hardly shrink any further when more is tried.
    Image.fromarray(image).save(file, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return file.getvalue()


def _is_plain(content: bytes) -> bool:
    with quietly(), Image.open(io.BytesIO(content)) as opened:
        if opened.mode != "RGB" or "transparency" in opened.info:
            return False
        # Pillow shows 16-bit channels as 8-bit ones; the header tells.
        if opened.format == "PNG" and content[24:26] != b"\x08\x02":
            return False
        # MPO: a JPEG file with more pictures behind the first.
        known = opened.format in ("JPEG", "MPO", "PNG")
        small = opened.width * opened.height <= pixels.LARGEST
        return known and small and pixels.orientation(opened) == 1


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Pillow's warnings of odd files are ignored, and so is its limit of the size.

    `read` has a limit of its own. Filters and limit are the process's: threads that
    read at once need this around them all.
    """
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
