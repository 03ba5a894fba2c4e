"""Warps against scipy's, and those that must be exact."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import ndimage

from zf_jax.errors import BadInput
from zf_jax.probes import warps

# scipy's names of the borders; its "constant" would cut where "grid-constant" mixes.
MODES = {"mean": "grid-constant", "edge": "nearest"}
apply = jax.jit(warps.apply, static_argnames="border")


@functools.cache
def pictures(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def close(found, want):
    # float32 coordinates of up to 12 pixels are off by 1e-6, times a slope of about 5.
    np.testing.assert_allclose(found, want, atol=2e-5)


@pytest.mark.parametrize("border", MODES)
@pytest.mark.parametrize("rows", [-3, 0.6, 30])
def test_translation_equals_scipys(rows, border):
    images = pictures(2, 9, 12, 3)
    want = ndimage.shift(images, (0, rows, 0, 0), order=1, mode=MODES[border])
    close(apply(images, warps.translate(rows), border), want)


@pytest.mark.parametrize("border", MODES)
@pytest.mark.parametrize("degrees", [-40, 77.7, 90, 210])
@pytest.mark.parametrize("shape", [(2, 9, 12, 3), (1, 11, 11, 1)])
def test_rotation_equals_scipys(degrees, border, shape):
    # scipy turns counterclockwise, from rows to columns.
    images = pictures(*shape)
    turn = {"axes": (1, 2), "reshape": False, "order": 1, "mode": MODES[border]}
    want = ndimage.rotate(images, degrees, **turn)
    close(apply(images, warps.rotate(degrees), border), want)


@pytest.mark.parametrize("border", MODES)
@pytest.mark.parametrize("ratio", [0.5, 1.3])
def test_scale_equals_scipys(ratio, border):
    images = pictures(2, 9, 12, 3)
    middle = np.array([0, 4, 5.5, 0])
    inverse = np.array([1, 1 / ratio, 1 / ratio, 1])
    given = {"offset": middle - inverse * middle, "order": 1, "mode": MODES[border]}
    want = ndimage.affine_transform(images, inverse, **given)
    close(apply(images, warps.scale(ratio), border), want)


@hypothesis.given(rows=st.integers(-12, 12), border=st.sampled_from(list(MODES)))
@hypothesis.settings(deadline=None, max_examples=40)
def test_whole_pixels_are_moved_as_they_are(rows, border):
    images = pictures(2, 9, 12, 3)
    from_ = np.arange(9) - rows
    want = images[:, from_.clip(0, 8)]
    if border == "mean":
        want = np.where(((from_ >= 0) & (from_ < 9))[:, None, None], want, 0)
    found = apply(images, warps.translate(rows), border)
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("border", MODES)
@pytest.mark.parametrize("side", [8, 11])
def test_quarter_turns_are_exact(side, border):
    images = pictures(2, side, side, 3)
    for quarters in range(-4, 9):
        found = apply(images, warps.rotate(90.0 * quarters), border)
        np.testing.assert_array_equal(found, np.rot90(images, quarters, (1, 2)))


@pytest.mark.parametrize("warp", [warps.rotate(360.0), warps.scale(1), warps.rotate(0)])
def test_identity(warp):
    np.testing.assert_array_equal(warp, [[1, 0, 0], [0, 1, 0]])
    images = pictures(2, 9, 12, 3)
    np.testing.assert_array_equal(apply(images, warp), images)


def test_beyond_the_border():
    image = jnp.ones((1, 5, 4, 3))
    assert not apply(image, warps.translate(5)).any()
    np.testing.assert_array_equal(apply(image, warps.translate(5), "edge"), image)
    # Half a pixel down: half of the first row is beyond.
    column = apply(image, warps.translate(0.5))[0, :, 0, 0]
    np.testing.assert_array_equal(column, [0.5, 1, 1, 1, 1])


@pytest.mark.parametrize("make", [warps.translate, warps.scale, warps.rotate])
def test_many_amounts_at_once(make):
    amounts = np.array([0.3, 1.5, 200.0])
    found = make(amounts)
    assert found.shape == (3, 2, 3)
    for amount, warp in zip(amounts, found, strict=True):
        np.testing.assert_array_equal(warp, make(amount))


def test_dtype_is_kept():
    image = jnp.ones((1, 5, 4, 3), jnp.bfloat16)
    assert apply(image, warps.rotate(20)).dtype == jnp.bfloat16


def test_another_border():
    with pytest.raises(BadInput, match="border 'wrap': there are mean, edge"):
        warps.apply(pictures(1, 5, 4, 3), warps.rotate(20), "wrap")
