"""Encoded images become pixels: JPEG by libjpeg-turbo, all else by Pillow.

Both give the same pixels; simplejpeg takes three quarters of Pillow's time.
"""

import io

import numpy as np
import simplejpeg
from PIL import Image

# A JPEG is decoded at a half, quarter or eighth of its size only where this many times
# the wanted size remain: then the resize after it hides which way was taken.
_REMAINING = 2


def decode(content: bytes, *, short_side: int | None = None) -> np.ndarray:
    """[H, W, 3] uint8 RGB: grey repeated, transparency dropped, as the file lies.

    Args:
      content: of an image file.
      short_side: what the image will be resized to, pixels: a JPEG that is several
        times as large may come out smaller than it is. None keeps its size.

    Raises:
      Exception: of any type, where the file is damaged.
    """
    if simplejpeg.is_jpeg(content):
        try:
            return simplejpeg.decode_jpeg(content, **_least(content, short_side))
        except ValueError:
            # Odd, or damaged: Pillow tells which.
            pass
    with Image.open(io.BytesIO(content)) as opened:
        return np.asarray(opened.convert("RGB"))


def _least(content: bytes, short_side: int | None) -> dict[str, int]:
    """The least size that a JPEG may be decoded at; none for its own."""
    if short_side is None:
        return {}
    height, width, *_ = simplejpeg.decode_jpeg_header(content)
    for factor in (8, 4, 2):
        if min(height, width) >= factor * _REMAINING * short_side:
            return {
                "min_height": -(-height // factor),
                "min_width": -(-width // factor),
            }
    return {}
