"""Winograd's form against a convolution in float64, and under `jax.vmap`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zf_jax.kernels import winograd


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def in_float64(x, kernel):
    """The definition, all positions at once."""
    views = np.lib.stride_tricks.sliding_window_view(
        x.astype(np.float64), (3, 3), axis=(-3, -2)
    )
    return np.einsum("...hwcij,ijcd->...hwd", views, kernel.astype(np.float64))


def assert_near(got, want):
    """To 4e-6 of the largest value; a convolution in float32 is near to 6e-7."""
    assert got.shape == want.shape
    assert got.dtype == jnp.float32
    error = np.abs(np.asarray(got, np.float64) - want).max() / np.abs(want).max()
    assert error < 4e-6


@jax.jit
def convolve(x, kernel):
    return winograd.conv(x, winograd.transform_kernel(kernel))


# [N, H, W, C] and channels out.
CASES = {
    "whole tiles": ((2, 10, 6, 16), 8),
    "parts of tiles": ((2, 9, 7, 5), 3),
    "one position": ((3, 3, 3, 4), 6),
    "a row": ((1, 3, 12, 4), 6),
    # VGG16 has 512 channels at the most: errors do not grow with them.
    "many channels": ((1, 8, 8, 512), 16),
}


@pytest.mark.parametrize(("shape", "channels"), CASES.values(), ids=CASES)
def test_equals_a_convolution(shape, channels):
    x, kernel = normal(shape), normal((3, 3, shape[-1], channels), 1)
    assert_near(convolve(x, kernel), in_float64(x, kernel))


def test_no_images():
    assert convolve(jnp.zeros((0, 5, 6, 8)), normal((3, 3, 8, 4))).shape == (0, 3, 4, 4)


@pytest.mark.parametrize("shape", [(1, 33, 14), (9, 4, 3)])
def test_blocks_that_do_not_come_out_even(shape, monkeypatch):
    # Strips of an image's rows, and groups of images.
    monkeypatch.setattr(winograd, "BLOCK_BYTES", 1)
    x, kernel = normal((*shape, 16)), normal((3, 3, 16, 8), 1)
    got = winograd.conv(x, winograd.transform_kernel(kernel))
    assert_near(got, in_float64(x, kernel))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_vmap(axes):
    x, kernel = normal((3, 2, 7, 8, 4)), normal((3, 3, 3, 4, 5), 1)
    x, kernel = x if axes[0] == 0 else x[1], kernel if axes[1] == 0 else kernel[1]
    got = jax.vmap(convolve, axes)(x, kernel)
    xs, kernels = (
        np.broadcast_to(x, (3, 2, 7, 8, 4)),
        np.broadcast_to(kernel, (3, 3, 3, 4, 5)),
    )
    assert_near(got, np.stack(list(map(in_float64, xs, kernels))))


def test_vmap_is_one_product_of_all_images():
    # Not one for each: that is what it is fast for.
    kernel = winograd.transform_kernel(normal((3, 3, 16, 8)))
    x = jax.ShapeDtypeStruct((6, 1, 6, 6, 16), jnp.float32)
    many = jax.vmap(lambda x: winograd.conv(x, kernel))
    text = jax.jit(many).lower(x).as_text()
    assert text.count("stablehlo.dot_general") == 1
    # 6 images of one tile, at each of 36 points.
    assert "tensor<36x6x16xf32>" in text
