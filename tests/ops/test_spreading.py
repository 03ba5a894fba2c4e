"""Filtering of spread maps: the definition in float64, and under JAX's transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from zf_jax.ops import spreading

# Kernel [rows, columns, C, maps], dilation, padding, input [N, H, W, C].
CASES = {
    "from one entry": ((3, 3, 16, 8), (1, 1), ((2, 2), (2, 2)), (3, 1, 1, 16)),
    "from three": ((3, 3, 16, 8), (1, 1), ((2, 2), (2, 2)), (2, 3, 3, 16)),
    "less padding": ((3, 3, 4, 8), (1, 1), ((1, 0), (0, 1)), (1, 4, 5, 4)),
    "more padding": ((3, 3, 4, 8), (1, 1), ((3, 5), (4, 2)), (1, 4, 5, 4)),
    "stride 2": ((7, 7, 16, 3), (2, 2), ((6, 6), (6, 6)), (2, 5, 6, 16)),
    "stride 2, padded": ((7, 7, 16, 3), (2, 2), ((5, 7), (6, 5)), (2, 5, 6, 16)),
    "5 x 5, stride 2": ((5, 5, 16, 6), (2, 2), ((4, 4), (4, 4)), (2, 7, 7, 16)),
    "5 x 6, padded": ((5, 6, 16, 6), (2, 2), ((3, 6), (5, 2)), (3, 5, 8, 16)),
    "11 x 8, strides 4 and 3": ((11, 8, 4, 3), (4, 3), ((9, 10), (7, 7)), (1, 1, 9, 4)),
    "stride 2, even": ((4, 4, 6, 3), (2, 2), ((3, 3), (3, 4)), (1, 5, 6, 6)),
    "rectangles": ((2, 5, 6, 4), (3, 1), ((1, 1), (4, 4)), (2, 3, 5, 6)),
    "stride above size": ((2, 2, 6, 4), (3, 4), ((1, 2), (1, 3)), (1, 4, 3, 6)),
    "1 x 1": ((1, 1, 6, 4), (2, 2), ((0, 0), (0, 1)), (1, 4, 3, 6)),
}


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def in_float64(x, kernel, dilation, padding):
    """The definition: zeros between the entries and around them, then correlation."""
    count, height, width, channels = x.shape
    down, across = dilation
    shape = count, (height - 1) * down + 1, (width - 1) * across + 1, channels
    spread = np.zeros(shape)
    spread[:, ::down, ::across] = x
    spread = np.pad(spread, ((0, 0), *padding, (0, 0)))
    views = np.lib.stride_tricks.sliding_window_view(spread, kernel.shape[:2], (1, 2))
    return np.einsum("nhwcij,ijcm->nhwm", views, kernel.astype(np.float64))


def assert_near(got, want):
    """To some 1e-6 of the largest value, as float32 convolutions are."""
    assert got.shape == want.shape
    error = np.abs(np.asarray(got, np.float64) - want).max() / np.abs(want).max()
    assert error < 1e-6


def filtered(x, kernel, dilation, padding):
    return spreading.filter_maps(x, spreading.prepare(kernel), dilation, padding)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_equals_a_convolution(case):
    kernel_shape, *settings, shape = case
    x, kernel = normal(shape), normal(kernel_shape, 1)
    got = jax.jit(filtered, static_argnums=(2, 3))(x, kernel, *settings)
    assert_near(got, in_float64(x, kernel, *settings))
    theirs = lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        settings[1],
        lhs_dilation=settings[0],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    assert got.dtype == theirs.dtype == jnp.float32
    assert_near(got, np.asarray(theirs))


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("shape", [(0, 5, 6, 8), (2, 0, 6, 8)])
def test_of_nothing(size, shape):
    # No images, or no rows but the padding.
    got = filtered(jnp.zeros(shape), normal((size, size, 8, 3)), (2, 2), ((6, 6),) * 2)
    rows = 2 * shape[1] - 1 + 12 - size + 1
    assert got.shape == (shape[0], rows, 2 * 6 - 1 + 12 - size + 1, 3)
    assert not np.asarray(got).any()


def test_errors_do_not_grow_with_many_maps():
    # ZFNET's layer 2 on the way down. A convolution's own error here is 4e-7.
    x, kernel = normal((1, 7, 7, 256)), normal((5, 5, 256, 96), 1)
    settings = (2, 2), ((4, 4), (4, 4))
    got = jax.jit(filtered, static_argnums=(2, 3))(x, kernel, *settings)
    assert_near(got, in_float64(x, kernel, *settings))


@pytest.mark.parametrize("size", [4, 5])
def test_zeros_stay_zero(size):
    kernel = normal((size, size, 8, 3))
    got = filtered(jnp.zeros((1, 4, 4, 8)), kernel, (2, 2), ((4, 4), (4, 4)))
    assert not np.asarray(got).any()


@pytest.mark.parametrize("size", [4, 5])
def test_vmap(size):
    x, kernel = normal((3, 2, 4, 5, 8)), normal((size, size, 8, 3), 1)
    settings = (2, 2), ((4, 4), (4, 3))
    got = jax.vmap(lambda x: filtered(x, kernel, *settings))(x)
    assert_near(got, np.stack([in_float64(each, kernel, *settings) for each in x]))
