"""Image files: whatever they hold, [H, W, 3] uint8 RGB comes out."""

import pathlib
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from zf_jax.errors import BadInput

# Below this there is nothing to see, and nothing to resize from.
SMALLEST = 8


def read(path: str | pathlib.Path) -> np.ndarray:
    """Reads an image file upright: EXIF orientation applied.

    Grey is repeated over the colours, 16-bit grey is scaled to 8, CMYK and palettes are
    converted, what is transparent shows white.

    Raises:
      BadInput: no such file, not an image, damaged, or smaller than 8 pixels a side.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                image = _to_rgb(ImageOps.exif_transpose(opened))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise BadInput(f"image {path}: no such file") from error
    except PermissionError as error:
        raise BadInput(f"image {path}: no permission to read it") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise BadInput(f"image {path}: not an image that can be read") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadInput(f"image {path}: too large to read safely") from error
    if min(image.size) < SMALLEST:
        width, height = image.size
        raise BadInput(
            f"image {path}: {width}x{height} pixels are too few, give at least "
            f"{SMALLEST}x{SMALLEST}"
        )
    return np.asarray(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit grey, whatever its byte order; Pillow's own conversion would clip.
        grey = np.asarray(image).astype(np.float64) / 257
        return Image.fromarray(grey.clip(0, 255).round().astype(np.uint8)).convert(
            "RGB"
        )
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
