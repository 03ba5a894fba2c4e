"""Decoding: Pillow's pixels, of any file; a damaged one is an error."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage import data

from zf_jax.data import crops, decoding


def encoded(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


PHOTO = Image.fromarray(data.chelsea())


@pytest.mark.parametrize(
    ("mode", "form", "options"),
    [
        ("RGB", "JPEG", {}),
        ("RGB", "JPEG", {"subsampling": 0, "progressive": True}),
        ("L", "JPEG", {}),
        ("CMYK", "JPEG", {}),
        ("RGB", "PNG", {}),
        ("L", "PNG", {}),
        ("P", "GIF", {}),
        ("RGBA", "PNG", {}),
    ],
)
def test_pixels_are_pillows(mode, form, options):
    content = encoded(PHOTO.convert(mode), form, **options)
    got = decoding.decode(content, short_side=300)
    want = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert got.dtype == np.uint8
    # Of four channels the decoders round three in ways of their own.
    difference = np.abs(got.astype(int) - want).max()
    assert difference <= (mode == "CMYK")


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("damage", ["half", "head", "empty"])
def test_damaged_files_are_errors(form, damage):
    content = encoded(PHOTO, form)
    damaged = {
        "half": content[: len(content) // 2],
        "head": b"\x00" * 20 + content[20:],
        "empty": b"",
    }[damage]
    with pytest.raises((OSError, SyntaxError)):
        decoding.decode(damaged)


@pytest.mark.parametrize(
    ("short_side", "shape"),
    # The photograph has 300 rows: 150 are twice 75, three eighths of them are not less
    # than twice 38, a quarter not less than twice 37.
    [(76, (300, 451)), (75, (150, 226)), (38, (113, 170)), (37, (75, 113))],
)
def test_large_jpegs_are_decoded_smaller(short_side, shape):
    content = encoded(PHOTO, "JPEG", quality=95)
    images = decoding.decode(content, short_side=short_side), decoding.decode(content)
    assert images[0].shape[:2] == shape
    assert images[1].shape[:2] == (300, 451)
    one, other = (crops.resize(image, short_side).astype(int) for image in images)
    # Of 255 levels, most of them for sides that were rounded to whole pixels.
    assert np.abs(one - other).mean() < 3
