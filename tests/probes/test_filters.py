"""Filters in numbers: gratings, constants, Parseval's theorem, hand-made kernels."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import signal

from zf_jax.errors import BadInput
from zf_jax.probes import filters
from zf_jax.training import optimizer

RNG = np.random.default_rng(0)


def grating(down, across, size=64, phase=0.3):
    """A cosine of `down`, `across` cycles a pixel in 3 channels, [size, size, 3, 1].

    Of the spectrum's own size, so a whole number of periods has one frequency alone.
    """
    rows, columns = np.mgrid[:size, :size]
    wave = np.cos(2 * np.pi * (down * rows + across * columns) + phase)
    return np.stack([wave, -wave, 0.5 * wave], axis=-1)[..., None]


def shares(kernel):
    return [float(each[0]) for each in filters.bands(kernel)]


@pytest.mark.parametrize(
    ("down", "across", "want"),
    [
        (0, 0, "low"),
        (3 / 64, 4 / 64, "low"),
        # By hand: the edges belong to the band above, 1/8 and 1/4.
        (0, 7 / 64, "low"),
        (8 / 64, 0, "middle"),
        (-8 / 64, 8 / 64, "middle"),
        (0, 15 / 64, "middle"),
        # By hand: the hypotenuse of 12 and 12 is 16.97 > 16.
        (12 / 64, 12 / 64, "high"),
        (0, 16 / 64, "high"),
        (31 / 64, -20 / 64, "high"),
        (0.5, 0.5, "high"),
    ],
)
def test_a_grating_lies_in_one_band(down, across, want):
    # Nyquist's own frequency needs a phase at which it is not zero.
    found = filters.bands(grating(down, across))
    assert found._asdict()[want][0] == pytest.approx(1, abs=1e-12)
    assert sum(each[0] for each in found) == pytest.approx(1)


def test_a_small_constant_by_hand():
    # Of one row of n equal pixels the spectrum is Dirichlet's kernel, whose square at
    # f cycles a pixel is (sin(pi n f) / sin(pi f))^2 (closed form).
    n = 7
    f = np.where(np.arange(64) < 32, np.arange(64), np.arange(64) - 64) / 64
    with np.errstate(invalid="ignore"):
        row = np.where(f == 0, n**2, (np.sin(np.pi * n * f) / np.sin(np.pi * f)) ** 2)
    energy = row[:, None] * row[None, :]
    distance = np.sqrt(f[:, None] ** 2 + f[None, :] ** 2)
    low = energy[distance < 1 / 8].sum() / energy.sum()
    high = energy[distance >= 1 / 4].sum() / energy.sum()
    found = shares(np.ones((n, n, 3, 1)))
    np.testing.assert_allclose(found, [low, 1 - low - high, high], rtol=1e-10)
    beyond = (np.abs(f) > 1 / 8)[:, None] | (np.abs(f) > 1 / 8)[None, :]
    want = energy[beyond].sum() / energy.sum()
    assert filters.aliased(np.ones((n, n, 3, 1)), 4)[0] == pytest.approx(want)


@pytest.mark.parametrize("stride", [2, 3, 4, (2, 4)])
def test_aliasing_below_and_above_nyquists_limit(stride):
    rows, columns = (stride, stride) if isinstance(stride, int) else stride
    for down, across, want in (
        (64 // (2 * rows), 0, 0),
        (64 // (2 * rows) + 1, 0, 1),
        (0, 64 // (2 * columns), 0),
        (0, 64 // (2 * columns) + 1, 1),
        (1, 64 // (2 * columns) + 1, 1),
        (1, -1, 0),
    ):
        found = filters.aliased(grating(down / 64, across / 64), stride)
        assert found[0] == pytest.approx(want, abs=1e-12)


def test_what_is_called_aliased_is_folded():
    # A grating above the limit, stepped by 4, is one below it (signal's periodogram).
    stride, fast = 4, 11 / 64
    wave = grating(fast, 0)[:, 0, 0, 0]
    frequencies, power = signal.periodogram(wave[::stride])
    seen = frequencies[power.argmax()] / stride
    assert seen == pytest.approx(1 / stride - fast)
    assert seen < 1 / (2 * stride) < fast
    assert filters.aliased(grating(fast, 0), stride)[0] == pytest.approx(1)
    assert filters.aliased(grating(seen, 0), stride)[0] == pytest.approx(0, abs=1e-12)


def test_a_stride_of_one_folds_nothing():
    np.testing.assert_array_equal(filters.aliased(RNG.normal(size=(7, 7, 3, 9)), 1), 0)


@settings(max_examples=25, deadline=None)
@given(
    kernel=arrays.arrays(np.int64, (5, 4, 3, 2), elements=st.integers(-64, 64)),
    factor=st.floats(0.01, 100),
)
def test_shares_do_not_depend_on_size_or_place(kernel, factor):
    want = filters.bands(kernel)
    for other in (
        factor * kernel,
        -kernel,
        kernel[::-1, ::-1],
        np.pad(kernel, ((2, 3), (1, 0), (0, 0), (0, 0))),
        kernel[:, :, ::-1],
    ):
        np.testing.assert_allclose(filters.bands(other), want, atol=1e-9)
        np.testing.assert_allclose(
            filters.aliased(other, 2), filters.aliased(kernel, 2), atol=1e-9
        )


def test_a_zero_filter_has_no_energy_anywhere():
    kernel = np.zeros((3, 3, 3, 2))
    np.testing.assert_array_equal(filters.bands(kernel), np.zeros((3, 2)))
    np.testing.assert_array_equal(filters.aliased(kernel, 2), 0)


def test_filters_larger_than_the_spectrum():
    with pytest.raises(BadInput, match="filters of 3x65: their spectrum has 64x64"):
        filters.bands(np.ones((3, 65, 3, 1)))


def hand_made(*sizes):
    """Filters of 2 x 2 in three channels, all weights of one size each."""
    signs = np.where(RNG.random((2, 2, 3, len(sizes))) < 0.5, -1, 1)
    return signs * np.array(sizes)


def test_rms():
    np.testing.assert_allclose(filters.rms(hand_made(0.5, 0, 3)), [0.5, 0, 3])
    # By hand: 3, 4 and zeros, of 12 weights.
    kernel = np.zeros((2, 2, 3, 1))
    kernel[0, 0, 0], kernel[1, 1, 2] = 3, 4
    assert filters.rms(kernel)[0] == pytest.approx(5 / np.sqrt(12))


def test_weak_filters():
    # The median is 2, a tenth of it 0.2.
    kernel = hand_made(2, 0.19, 2, 0.21, 0, 5, 2)
    want = [False, True, False, False, True, False, False]
    np.testing.assert_array_equal(filters.weak(kernel), want)


def test_where_most_are_zero_these_are_weak():
    np.testing.assert_array_equal(filters.weak(hand_made(0, 0, 1)), [True, True, False])


def test_renormalised_as_training_does():
    # `clip_filters`, the recipe's own, of an update that changes nothing.
    kernel = hand_made(0.05, 0.3, 0.1, 2).astype(np.float32)
    clip = optimizer.clip_filters(0.1)
    change, _ = clip.update(0 * kernel, clip.init(kernel), kernel)
    want = filters.rms(jax.device_get(kernel + change))
    found = filters.renormalised(filters.rms(kernel), 0.1)
    np.testing.assert_allclose(found, want, rtol=1e-5)
    np.testing.assert_allclose(found, [0.05, 0.1, 0.1, 0.1], rtol=1e-6)


def test_summary():
    kernel = hand_made(0.05, 0.3, 0.1, 2, 0.0001)
    found = filters.summary(kernel, 2, 0.1)
    assert (found["filters"], found["weak"]) == (5, 1)
    want = {"RMS: largest": 2, "RMS: median": 0.1}
    want |= {"RMS, renormalised: largest": 0.1, "RMS, renormalised: median": 0.1}
    assert {name: found[name] for name in want} == pytest.approx(want)
    for name, each in filters.bands(kernel)._asdict().items():
        assert found[f"energy: {name}"] == pytest.approx(each.mean())
    aliased = filters.aliased(kernel, 2).mean()
    assert found["energy: aliased"] == pytest.approx(aliased)
