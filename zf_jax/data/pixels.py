"""Pillow's images of any mode become 8-bit RGB, upright and not too large."""

import contextlib
import math
import threading

import numpy as np
import psutil
from PIL import ExifTags, Image, ImageOps

from zf_jax.errors import BadInput

# Pillow's own limit, beyond which a file may be meant to fill the memory.
LARGEST = 89_478_485
# Decoding, turning and converting hold three copies, of four bytes a pixel.
_BYTES_PER_PIXEL = 12
# Raw modes that read the lower byte of 16-bit channels, for those that read the upper.
# N is the machine's own order, little-endian on all that JAX runs on.
_LOWER_BYTES = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B"))
}
# Images beyond the limit are decoded one at a time, whatever the threads.
_one_at_a_time = threading.Lock()


def decode(opened: Image.Image) -> Image.Image:
    """An opened image as upright 8-bit RGB.

    An image of more than 89 megapixels is reduced by a whole factor to fewer.

    Raises:
      BadInput: such an image needs more than half of the memory that is free.
    """
    factor = _reduction(opened.size)
    if factor == 1:
        return _as_rgb(opened)
    width, height = opened.size
    # A JPEG decoder skips what is not wanted: this changes opened.size.
    opened.draft(None, (width // factor, height // factor))
    needed = _BYTES_PER_PIXEL * math.prod(opened.size)
    with _one_at_a_time:
        free = psutil.virtual_memory().available
        if needed > free / 2:
            raise BadInput(
                f"{width}x{height} pixels take {needed / 2**30:.1f} GiB to read, and "
                f"only half of {free / 2**30:.1f} GiB may be used; save it smaller"
            )
        image = _as_rgb(opened)
        return image.reduce(_reduction(image.size))


def _as_rgb(opened: Image.Image) -> Image.Image:
    """An opened image, upright."""
    deep = _is_deep(opened)
    image = _upright(opened)
    if deep and max(high for _, high in image.getextrema()[:3]) < 64:
        return _stretched(image, opened.filename)
    return to_rgb(image)


def _is_deep(opened: Image.Image) -> bool:
    """Whether channels of 16 bits are stored, of which Pillow keeps the upper 8."""
    raw_modes = [_raw_mode(tile) for tile in opened.tile]
    return bool(raw_modes) and all(mode in _LOWER_BYTES for mode in raw_modes)


def _raw_mode(tile) -> str:
    """How Pillow unpacks a tile of a file; "" where it is not told."""
    if isinstance(tile.args, tuple):
        return str(tile.args[0]) if tile.args else ""
    return str(tile.args)


def _stretched(image: Image.Image, path: str) -> Image.Image:
    """Channels of at most 14 bits in 16, scaled: else they are nearly black.

    The image has the upper 8 bits; the file is decoded once more for the lower 8.
    """
    with Image.open(path) as opened:
        opened.tile = [
            tile._replace(args=_with_raw_mode(tile, _LOWER_BYTES[_raw_mode(tile)]))
            for tile in opened.tile
        ]
        lower = np.asarray(_upright(opened), np.uint16)
    levels = np.asarray(image, np.uint16) * 256 + lower
    levels[..., :3] = _of_integers(levels[..., :3]).round()
    levels[..., 3:] >>= 8
    return to_rgb(Image.fromarray(levels.astype(np.uint8)))


def _with_raw_mode(tile, raw_mode: str):
    return raw_mode if isinstance(tile.args, str) else (raw_mode, *tile.args[1:])


def _reduction(size: tuple[int, int]) -> int:
    """The least factor that brings an image within the limit."""
    return max(1, math.ceil(math.sqrt(math.prod(size) / LARGEST)))


def orientation(image: Image.Image) -> int:
    """How it is stored, 1 to 8 as in the Exif standard; 1, upright, where unknown."""
    # Damaged EXIF data make Pillow fail in several ways.
    with contextlib.suppress(Exception):
        stored = image.getexif().get(ExifTags.Base.Orientation)
        return stored if stored in range(1, 9) else 1
    return 1


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    if orientation(image) == 1:
        return image
    # Kept, damaged data would make exif_transpose fail, which writes them again.
    image.info.pop("exif", None)
    return ImageOps.exif_transpose(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB; what is transparent shows white."""
    if image.mode.startswith("I"):
        return _grey(_of_integers(np.asarray(image)))
    if image.mode == "F":
        # No range is agreed on: to 1 or to 255.
        levels = np.nan_to_num(np.asarray(image))
        return _grey(levels * 255 if levels.max() <= 1 else levels)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _of_integers(levels: np.ndarray) -> np.ndarray:
    """Levels of 8 to 32 bits scaled to 0 to 255; Pillow's own conversion clips.

    Cameras and scanners store 10, 12 or 14 bits in files of 16, which tell no more.
    Not in the paper: an image has the least even number of bits that holds its
    largest level.
    """
    bits = max(8, int(levels.max()).bit_length())
    bits += bits % 2
    return levels.astype(np.float64) * 255 / (2**bits - 1)


def _grey(levels: np.ndarray) -> Image.Image:
    whole = levels.clip(0, 255).round().astype(np.uint8)
    return Image.fromarray(whole).convert("RGB")
