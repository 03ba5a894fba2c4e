"""The paper's crops (section 3): smallest side resized, then 224 x 224 cut out.

Images are [H, W, 3] uint8 on the host; the mean is taken off later, on the device
(`convnet.prepare`).
"""

import threading

import numpy as np
from cykooz_resizer import (
    CropBox,
    FilterType,
    ImageData,
    PixelType,
    ResizeAlg,
    ResizeOptions,
    Resizer,
)
from PIL import Image

from zf_jax.layers import Pair

# A resizer keeps its buffers, for one thread.
_of_thread = threading.local()


def to_rgb(image: np.ndarray) -> np.ndarray:
    """[H, W] or [H, W, 1 | 3 | 4] uint8 to [H, W, 3]: grey repeated, alpha dropped."""
    if image.ndim == 2:
        image = image[..., None]
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]


def resize(image: np.ndarray, short_side: int) -> np.ndarray:
    """The image with its smaller side at `short_side` pixels, as it is if it is so."""
    if min(image.shape[:2]) == short_side:
        return image
    height, width = _resized(image, short_side)
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized)


def _resized(image: np.ndarray, short_side: int) -> Pair:
    height, width = image.shape[:2]
    scale = short_side / min(height, width)
    return max(short_side, round(height * scale)), max(short_side, round(width * scale))


def crop(image: np.ndarray, size: Pair, at: Pair) -> np.ndarray:
    """`size` pixels with the top left corner `at` (row, column)."""
    (height, width), (row, column) = size, at
    return image[row : row + height, column : column + width]


def centre(image: np.ndarray, size: Pair) -> np.ndarray:
    """The middle of the image, for evaluation."""
    spare = [n - s for n, s in zip(image.shape, size, strict=False)]
    return crop(image, size, (spare[0] // 2, spare[1] // 2))


def random(
    image: np.ndarray, size: Pair, rng: np.random.Generator, *, short_side: int
) -> np.ndarray:
    """A crop anywhere of the resized image, for training.

    A step mirrors half of them (`ops.stochastic`). Only the pixels of the crop are
    resized, in a fifth of Pillow's time; they are those of `resize` but for rounding:
    a fifth of the values differ by one level, next to none by more.

    Not in the paper: whether it trained on random crops, or on the ten fixed ones.

    Args:
      image: [H, W, 3] uint8.
      size: (rows, columns) of the crop, pixels.
      rng: chooses where.
      short_side: the smaller side of the resized image, pixels.
    """
    resized = _resized(image, short_side)
    row, column = (
        int(rng.integers(n - s + 1)) for n, s in zip(resized, size, strict=True)
    )
    if resized == image.shape[:2]:
        return crop(image, size, (row, column))
    return _resize_window(image, resized, size, (row, column))


def _resize_window(
    image: np.ndarray, resized: Pair, size: Pair, at: Pair
) -> np.ndarray:
    """`size` pixels at the corner `at` of the image that would be `resized`."""
    starts, lengths, parts = [], [], []
    for axis in (0, 1):
        scale = image.shape[axis] / resized[axis]
        start, length = at[axis] * scale, size[axis] * scale
        # The filter reaches two pixels beyond, of the larger of the two images.
        reach = 2 * max(scale, 1.0) + 1
        first = max(0, int(start - reach))
        parts.append(slice(first, int(start + length + reach) + 1))
        starts.append(start - first)
        lengths.append(length)
    window = image[tuple(parts)]
    source = ImageData(*window.shape[1::-1], PixelType.U8x3, window.tobytes())
    target = ImageData(*size[::-1], PixelType.U8x3)
    # Pillow's bicubic filter by the names of its inventors.
    filter_ = ResizeAlg.convolution(FilterType.catmull_rom)
    options = ResizeOptions(filter_, crop_box=CropBox(*starts[::-1], *lengths[::-1]))
    if not hasattr(_of_thread, "resizer"):
        _of_thread.resizer = Resizer()
    _of_thread.resizer.resize(source, target, options)
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(*size, 3)


def ten(image: np.ndarray, size: Pair) -> np.ndarray:
    """The four corners and the centre, then the same mirrored: [10, h, w, 3]."""
    bottom, right = (n - s for n, s in zip(image.shape, size, strict=False))
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)]
    five = [crop(image, size, at) for at in corners] + [centre(image, size)]
    return np.stack([*five, *(cut[:, ::-1] for cut in five)])
