"""Filtering by products against a sum in float64, and under JAX's transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from zf_jax.ops import products, winograd

# Kernel [rows, columns, C, maps], stride, input [N, H, W, C].
CASES = {
    "3 x 3, odd result": ((3, 3, 16, 8), (1, 1), (2, 9, 7, 16)),
    "3 x 3, even result": ((3, 3, 16, 8), (1, 1), (2, 8, 10, 16)),
    "3 x 3, odd and even": ((3, 3, 5, 3), (1, 1), (1, 7, 8, 5)),
    "3 x 3, one place": ((3, 3, 4, 6), (1, 1), (3, 3, 3, 4)),
    "3 x 3, a row": ((3, 3, 4, 6), (1, 1), (1, 3, 12, 4)),
    "3 x 3, stride 2": ((3, 3, 4, 6), (2, 2), (2, 8, 9, 4)),
    "3 x 3, stride 2 one way": ((3, 3, 4, 6), (1, 2), (1, 6, 8, 4)),
    "1 x 1": ((1, 1, 16, 4), (1, 1), (2, 4, 5, 16)),
    "1 x 1, stride 2": ((1, 1, 16, 4), (2, 2), (2, 5, 4, 16)),
    "5 x 5, stride 2": ((5, 5, 8, 6), (2, 2), (1, 12, 11, 8)),
    "7 x 7, stride 3": ((7, 7, 3, 6), (3, 3), (1, 18, 15, 3)),
    "a rectangle": ((2, 5, 6, 4), (3, 1), (2, 9, 11, 6)),
    "stride above size": ((2, 2, 6, 4), (3, 4), (1, 9, 11, 6)),
    "one map": ((3, 3, 1, 1), (1, 1), (1, 6, 6, 1)),
}


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def in_float64(x, kernel, stride):
    """The definition, all places at once."""
    views = np.lib.stride_tricks.sliding_window_view(
        x.astype(np.float64), kernel.shape[:2], axis=(-3, -2)
    )
    views = views[..., :: stride[0], :: stride[1], :, :, :]
    return np.einsum("...hwcij,ijcm->...hwm", views, kernel.astype(np.float64))


def assert_near(got, want):
    """To some 1e-6 of the largest value, as float32 convolutions are."""
    assert got.shape == want.shape
    error = np.abs(np.asarray(got, np.float64) - want).max() / np.abs(want).max()
    assert error < 4e-6


def filtered(x, kernel, stride):
    return products.filter_maps(x, products.prepare(kernel, stride), stride)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_equals_a_convolution(case):
    kernel_shape, stride, shape = case
    x, kernel = normal(shape), normal(kernel_shape, 1)
    got = jax.jit(filtered, static_argnums=2)(x, kernel, stride)
    assert_near(got, in_float64(x, kernel, stride))
    numbers = ("NHWC", "HWIO", "NHWC")
    theirs = lax.conv_general_dilated(
        x, kernel, stride, "VALID", dimension_numbers=numbers
    )
    assert got.dtype == theirs.dtype == jnp.float32
    assert_near(got, np.asarray(theirs))


@pytest.mark.parametrize("shape", [(1, 33, 14), (3, 19, 9), (5, 6, 6), (9, 4, 3)])
def test_blocks(shape, monkeypatch):
    # Strips of an image's rows, and groups of images, that do not come out even.
    monkeypatch.setattr(winograd, "_BLOCK", 1)
    x, kernel = normal((*shape, 16)), normal((3, 3, 16, 8), 1)
    got = jax.jit(filtered, static_argnums=2)(x, kernel, (1, 1))
    assert_near(got, in_float64(x, kernel, (1, 1)))


def test_errors_do_not_grow_with_many_maps():
    # 512 maps, the most that VGG16 has: a convolution's own error here is 6e-7, that of
    # F(4x4, 3x3) 2e-6 to 3e-6, by how the products are summed.
    x, kernel = normal((1, 8, 8, 512)), normal((3, 3, 512, 16), 1)
    got = jax.jit(filtered, static_argnums=2)(x, kernel, (1, 1))
    assert_near(got, in_float64(x, kernel, (1, 1)))


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_vmap(size, axes):
    x, kernel = normal((3, 2, 7, 8, 4)), normal((3, size, size, 4, 5), 1)
    given = [
        each if axis == 0 else each[1]
        for each, axis in zip((x, kernel), axes, strict=True)
    ]
    got = jax.vmap(lambda x, k: filtered(x, k, (1, 1)), axes)(*given)
    want = [
        in_float64(
            x[i if axes[0] == 0 else 1], kernel[i if axes[1] == 0 else 1], (1, 1)
        )
        for i in range(3)
    ]
    assert_near(got, np.stack(want))


def test_vmap_twice_and_along_other_axes():
    x, kernel = normal((2, 3, 7, 9, 2, 4)), normal((3, 3, 4, 5), 1)
    prepared = products.prepare(kernel, (1, 1))
    # Axes 4 and 1 stand aside: what is left is [2, 7, 9, 4].
    one = jax.vmap(lambda x: products.filter_maps(x, prepared, (1, 1)), 1)
    got = jax.vmap(one, 4)(x)
    assert_near(got, in_float64(x.transpose(4, 1, 0, 2, 3, 5), kernel, (1, 1)))


def test_vmap_is_one_product_of_all_images():
    # Not one a place: that is what it is fast for.
    kernel = products.prepare(normal((5, 5, 8, 4)), (2, 2))
    x = jax.ShapeDtypeStruct((6, 1, 9, 9, 8), jnp.float32)
    many = jax.vmap(lambda x: products.filter_maps(x, kernel, (2, 2)))
    text = jax.jit(many).lower(x).as_text()
    assert text.count("stablehlo.dot_general") == 1
    # 6 images of 3 x 3 places by 5 x 5 x 8 entries.
    assert "tensor<54x200xf32>" in text
