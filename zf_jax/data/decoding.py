"""Encoded images become pixels: JPEG by libjpeg-turbo, all else by Pillow.

Both give the same pixels; simplejpeg takes three quarters of Pillow's time.
"""

import io

import numpy as np
import simplejpeg
from PIL import Image

# Not in the paper: a JPEG is decoded at half of its size or less where this many times
# the wanted size remain: then the resize after it hides which way was taken.
_REMAINING = 2


def decode(content: bytes, *, short_side: int | None = None) -> np.ndarray:
    """[H, W, 3] uint8 RGB: grey repeated, transparency dropped, as the file lies.

    Args:
      content: of an image file.
      short_side: what the image will be resized to, pixels: a JPEG that is four times
        as large, or more, comes out smaller than it is. None keeps its size.

    Raises:
      Exception: of any type, where the file is damaged.
    """
    if simplejpeg.is_jpeg(content):
        reduced = {}
        if short_side:
            least = _REMAINING * short_side
            # Factors below 2 take longer than none.
            reduced = {"min_height": least, "min_width": least, "min_factor": 2}
        try:
            return simplejpeg.decode_jpeg(content, **reduced)
        except ValueError:
            # Odd, or damaged: Pillow tells which.
            pass
    with Image.open(io.BytesIO(content)) as opened:
        return np.asarray(opened.convert("RGB"))
