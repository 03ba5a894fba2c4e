"""Arrays to pictures: by hand."""

import numpy as np
import pytest

from zf_jax import convnet
from zf_jax.errors import BadInput
from zf_jax.figures import raster
from zf_jax.spec import Input


def test_denormalize_undoes_prepare():
    given = Input(4, mean=(10.0, 20.0, 30.0), scale=1 / 50)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    picture = raster.denormalize(np.asarray(convnet.prepare(pixels, given)), given)
    # float32 of numbers up to 255: 255 * 6e-8.
    np.testing.assert_allclose(picture * 255, pixels, atol=1e-4)


def test_denormalize_stays_within_0_and_1():
    given = Input(2, mean=(0.0, 0.0, 0.0))
    images = np.array([-5.0, 0.0, 255.0, 300.0]).reshape(1, 2, 2, 1).repeat(3, 3)
    picture = raster.denormalize(images, given)
    np.testing.assert_array_equal(picture[0, ..., 0], [[0, 0], [1, 1]])


def test_stretch_puts_zero_in_the_middle():
    projections = np.random.default_rng(1).normal(size=(3, 8, 8, 3))
    projections[0, :4] = 0
    projections[1] *= 1000
    pictures = raster.stretch(projections)
    assert pictures.shape == projections.shape
    assert (pictures[0, :4] == 0.5).all()
    np.testing.assert_array_equal(pictures > 0.5, projections > 0)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    # Each by its own scale, so a factor changes nothing but roundings of float64.
    again = raster.stretch(projections * np.array([2, 1e-6, 5]).reshape(3, 1, 1, 1))
    np.testing.assert_allclose(pictures, again, atol=1e-12)


def test_stretch_by_hand():
    # 11 x 11 x 3 numbers 0 ... 362: the 99.5th percentile is 0.995 * 362 = 360.19.
    projection = np.arange(363.0).reshape(1, 11, 11, 3)
    picture = raster.stretch(projection)
    np.testing.assert_allclose(
        picture, np.minimum(0.5 + 0.5 * projection / 360.19, 1), rtol=1e-12
    )


def test_stretch_of_nothing_is_grey():
    np.testing.assert_array_equal(raster.stretch(np.zeros((2, 3, 3, 3))), 0.5)


def test_stretch_of_one_pixel():
    # So few pixels differ from zero that the percentile is 0: the largest counts.
    projection = np.zeros((1, 20, 20, 3))
    projection[0, 5, 5, 1] = -4.0
    picture = raster.stretch(projection)
    assert picture[0, 5, 5, 1] == 0.0
    assert (picture == 0.5).sum() == 20 * 20 * 3 - 1


@pytest.mark.parametrize(
    ("count", "columns", "shape"),
    # Pictures of 5 x 7 with a gap of one: rows * 6 - 1 by columns * 8 - 1.
    [(1, None, (5, 7)), (5, None, (11, 23)), (3, 2, (11, 15))],
)
def test_grid(count, columns, shape):
    pictures = np.random.default_rng(2).random((count, 5, 7, 3)) / 2
    sheet = raster.grid(pictures, columns)
    assert sheet.shape == (*shape, 3)
    columns = columns or int(np.ceil(np.sqrt(count)))
    rest = sheet.copy()
    for index, picture in enumerate(pictures):
        top, left = index // columns * 6, index % columns * 8
        np.testing.assert_array_equal(sheet[top : top + 5, left : left + 7], picture)
        rest[top : top + 5, left : left + 7] = 1
    # All else is white.
    assert (rest == 1).all()


def test_grey_images_become_pictures_of_three_channels():
    given = Input(2, mean=(0.0,), scale=1 / 255)
    picture = raster.denormalize(np.full((1, 2, 2, 1), 0.25), given)
    np.testing.assert_allclose(picture, np.full((1, 2, 2, 3), 0.25))
    assert raster.stretch(np.ones((1, 2, 2, 1))).shape == (1, 2, 2, 3)


def test_pictures_of_four_channels_are_refused():
    with pytest.raises(BadInput, match="have 4 channels; give 3, or 1"):
        raster.stretch(np.ones((1, 2, 2, 4)))


def test_grey_is_repeated_and_other_channels_are_refused():
    given = Input(2, mean=(0.0,))
    images = np.array([0.0, 51.0, 255.0, 300.0]).reshape(1, 2, 2, 1)
    picture = raster.denormalize(images, given)
    np.testing.assert_allclose(picture[0, 0, 1], [0.2, 0.2, 0.2])
    assert raster.stretch(images).shape == (1, 2, 2, 3)
    with pytest.raises(BadInput, match="have 4 channels; give 3, or 1 for grey"):
        raster.stretch(np.ones((1, 2, 2, 4)))
