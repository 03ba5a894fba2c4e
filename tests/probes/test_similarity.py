"""Similarity of projections: by hand where ranks are plain, and its edges."""

import numpy as np
import pytest

from zf_jax.probes import similarity

RNG = np.random.default_rng(0)


def test_of_itself_scaled_and_turned():
    one = RNG.normal(size=(3, 11, 9, 3)).astype(np.float32)
    found = similarity.compare(one, 7 * one)
    for part in found:
        np.testing.assert_allclose(part, 1, atol=1e-6)
    turned = similarity.compare(one, -one)
    np.testing.assert_allclose(turned.spearman, -1, atol=1e-6)
    np.testing.assert_allclose(turned.spearman_abs, 1, atol=1e-6)


def test_of_noise():
    one, other = RNG.normal(size=(2, 4, 40, 40, 3))
    found = similarity.compare(one, other)
    # 4,800 pixels: a deviation of 1 / sqrt(4800) = 0.014.
    for part in (found.spearman, found.spearman_abs):
        np.testing.assert_allclose(part, 0, atol=0.07)
    np.testing.assert_allclose(found.ssim, 0, atol=0.1)


def test_ranks_by_hand():
    # Ranks 1 2 3 4 and 2 1 4 3: 1 - 6 * (1 + 1 + 1 + 1) / (4 * 15) = 0.6.
    one = np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 2, 2, 1)
    other = np.array([2.0, 1.0, 4.0, 3.0]).reshape(1, 2, 2, 1)
    found = similarity.compare(one, other)
    assert found.spearman[0] == pytest.approx(0.6)
    # Too small for any window.
    assert np.isnan(found.ssim[0])


@pytest.mark.parametrize("size", [(3, 3), (5, 9), (7, 7), (4, 30)])
def test_of_small_pictures(size):
    one, other = RNG.normal(size=(2, 2, *size, 3))
    assert np.isfinite(similarity.compare(one, other)).all()


def test_silent_ones_have_none():
    one = RNG.normal(size=(3, 8, 8, 3))
    other = one.copy()
    one[0], other[2] = 0, 0
    for part in similarity.compare(one, other):
        np.testing.assert_array_equal(np.isnan(part), [True, False, True])


def test_of_none():
    none = np.zeros((0, 8, 8, 3))
    assert [part.shape for part in similarity.compare(none, none)] == [(0,)] * 3


def test_magnitudes_that_are_all_one():
    one = np.sign(RNG.normal(size=(1, 8, 8, 3)))
    found = similarity.compare(one, RNG.normal(size=one.shape))
    assert np.isnan(found.spearman_abs[0])
    assert np.isfinite(found.spearman[0])
