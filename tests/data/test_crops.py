"""Crops: what is cut from where, by hand on images whose pixels tell their position."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from zf_jax.data import crops


def numbered(height, width):
    """[h, w, 3] uint8: the first channel tells the row, the second the column."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1)


def corner(image):
    return tuple(int(x) for x in image[0, 0, :2])


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_to_rgb(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    rgb = crops.to_rgb(image)
    assert rgb.shape == (4, 5, 3)
    assert rgb.dtype == np.uint8
    grey = len(shape) == 2 or shape[2] == 1
    for channel in range(3):
        want = image.reshape(4, 5, -1)[..., 0 if grey else channel]
        np.testing.assert_array_equal(rgb[..., channel], want)


@pytest.mark.parametrize(
    ("shape", "side", "want"),
    # By hand: the smaller side becomes `side`, the other in proportion.
    [
        ((100, 200), 50, (50, 100)),
        ((200, 100), 50, (100, 50)),
        ((375, 500), 256, (256, 341)),
        ((7, 1000), 8, (8, 1143)),
        ((1, 1), 9, (9, 9)),
    ],
)
def test_resize_keeps_the_proportions(shape, side, want):
    image = np.zeros((*shape, 3), np.uint8)
    assert crops.resize(image, side).shape == (*want, 3)


def test_resize_leaves_alone_what_fits():
    image = numbered(20, 31)
    assert crops.resize(image, 20) is image


def test_resize_is_bicubic():
    # The named reference: Pillow's own resize of the whole image.
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    want = Image.fromarray(image).resize((15, 10), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(crops.resize(image, 10), np.asarray(want))


def test_crop():
    cut = crops.crop(numbered(9, 8), (3, 2), (4, 5))
    assert cut.shape == (3, 2, 3)
    assert corner(cut) == (4, 5)


@pytest.mark.parametrize(
    ("shape", "size", "at"),
    [((10, 10), (4, 4), (3, 3)), ((11, 8), (4, 8), (3, 0)), ((4, 9), (4, 2), (0, 3))],
)
def test_centre(shape, size, at):
    cut = crops.centre(numbered(*shape), size)
    assert cut.shape == (*size, 3)
    assert corner(cut) == at


def test_random_crops_come_from_everywhere():
    rng, found = np.random.default_rng(2), set()
    image = numbered(6, 7)
    for _ in range(400):
        cut = crops.random(image, (4, 5), rng, short_side=6)
        assert cut.shape == (4, 5, 3)
        at = corner(cut)
        np.testing.assert_array_equal(cut, crops.crop(image, (4, 5), at))
        found.add(at)
    # Three rows by three columns of corners; each is missed once in e^-44.
    assert found == {(row, column) for row in range(3) for column in range(3)}


def test_random_crop_of_the_images_own_size():
    image = numbered(5, 5)
    cut = crops.random(image, (5, 5), np.random.default_rng(0), short_side=5)
    np.testing.assert_array_equal(cut, image)


@pytest.mark.parametrize(
    ("short_side", "resized"), [(128, (128, 192)), (350, (350, 526))]
)
def test_random_crops_are_those_of_the_resized_image(short_side, resized):
    image = np.asarray(data.chelsea())
    whole = crops.resize(image, short_side)
    for seed in range(5):
        cut = crops.random(
            image, (90, 100), np.random.default_rng(seed), short_side=short_side
        )
        rng = np.random.default_rng(seed)
        corners = zip(resized, (90, 100), strict=True)
        at = [int(rng.integers(n - s + 1)) for n, s in corners]
        want = crops.crop(whole, (90, 100), at)
        # The two resizers round differently.
        difference = np.abs(cut.astype(int) - want)
        assert difference.mean() < 0.3
        assert np.mean(difference > 1) < 2e-3


def test_ten_crops():
    # Section 3: the corners and the centre, and the same mirrored.
    ten = crops.ten(numbered(10, 13), (4, 5))
    assert ten.shape == (10, 4, 5, 3)
    upright = [corner(cut) for cut in ten[:5]]
    assert upright == [(0, 0), (0, 8), (6, 0), (6, 8), (3, 4)]
    np.testing.assert_array_equal(ten[5:], ten[:5, :, ::-1])
