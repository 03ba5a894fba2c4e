"""Kernels made ready once: the same numbers, and nothing of them in the calls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from zf_jax.ops import products
from zf_jax.transforms import precompute_kernels

RNG = np.random.default_rng(0)
WEIGHTS = {
    "first": jnp.asarray(RNG.normal(size=(3, 3, 16, 20)), jnp.float32),
    "second": jnp.asarray(RNG.normal(size=(5, 5, 20, 4)), jnp.float32),
    "bias": jnp.asarray(RNG.normal(size=20), jnp.float32),
}
LAYOUT = ("NHWC", "HWIO", "NHWC")


def up(weights, x):
    y = lax.conv_general_dilated(
        x, weights["first"], (1, 1), "SAME", dimension_numbers=LAYOUT
    )
    y = jax.nn.relu(y + weights["bias"].reshape(1, 1, 1, -1))
    return lax.conv_general_dilated(
        y, weights["second"], (2, 2), "VALID", dimension_numbers=LAYOUT
    )


def down(weights, x, signal):
    """Transposed filters: flipped kernels, dilated signals."""
    return {"x": jax.linear_transpose(lambda x: up_linear(weights, x), x)(signal)[0]}


def up_linear(weights, x):
    y = lax.conv_general_dilated(
        x, weights["first"], (1, 1), "SAME", dimension_numbers=LAYOUT
    )
    return lax.conv_general_dilated(
        y, weights["second"], (2, 2), "VALID", dimension_numbers=LAYOUT
    )


def images(count, size=12):
    shape = (count, size, size, 16)
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


def both(function, *arguments, **settings):
    split = precompute_kernels.precompute(function, WEIGHTS, *arguments, **settings)
    kernels = jax.jit(split.prepare)(WEIGHTS)
    found = jax.jit(split.apply)(kernels, WEIGHTS, *arguments)
    return kernels, found, jax.jit(function)(WEIGHTS, *arguments)


def test_the_way_up_is_the_same_to_the_bit():
    kernels, found, want = both(up, images(3))
    assert len(kernels) == 2
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("products", [False, True])
def test_the_way_down_equals_its_function(products):
    x = images(2)
    signal = up(WEIGHTS, x)
    kernels, found, want = both(down, x, signal, products=products)
    assert len(kernels) == 2
    scale = float(jnp.abs(want["x"]).max())
    assert float(jnp.abs(found["x"] - want["x"]).max()) < 1e-5 * scale


# By whichever takes fewer multiply-adds: 9 an entry, or 36 for each 4 x 4 results.
@pytest.mark.parametrize(
    ("size", "is_turned"), [(1, False), (2, True), (3, False), (4, True)]
)
def test_small_and_spread_maps_go_down_by_products(size, is_turned):
    first, second = WEIGHTS["first"][:, :, :3], WEIGHTS["first"].swapaxes(2, 3)
    weights = {"first": first, "second": second}

    def up(weights, x):
        for name, stride in (("first", 2), ("second", 1)):
            x = lax.conv_general_dilated(
                x, weights[name], (stride,) * 2, "VALID", dimension_numbers=LAYOUT
            )
        return x

    def down(weights, signal):
        x = jax.ShapeDtypeStruct((2, *(2 * size + 5,) * 2, 3), jnp.float32)
        return jax.linear_transpose(lambda x: up(weights, x), x)(signal)[0]

    shape = 2, size, size, 16
    signal = jnp.asarray(np.random.default_rng(2).normal(size=shape), jnp.float32)
    split = precompute_kernels.precompute(down, weights, signal, products=True)
    kernels, apply = split.prepare(weights), jax.jit(split.apply)
    assert isinstance(kernels[0], products.Prepared) == is_turned
    assert "convolution" not in apply.lower(kernels, weights, signal).as_text()
    found, want = apply(kernels, weights, signal), jax.jit(down)(weights, signal)
    assert float(jnp.abs(found - want).max()) < 4e-6 * float(jnp.abs(want).max())


def test_kernels_serve_other_numbers_of_images():
    kernels, *_ = both(up, images(3))
    other = images(5)
    split = precompute_kernels.precompute(up, WEIGHTS, other)
    np.testing.assert_array_equal(
        jax.jit(split.apply)(kernels, WEIGHTS, other), jax.jit(up)(WEIGHTS, other)
    )


def test_nothing_of_the_kernels_is_left_to_the_calls():
    x = images(2)
    signal = up(WEIGHTS, x)
    split = precompute_kernels.precompute(down, WEIGHTS, x, signal)
    kernels = split.prepare(WEIGHTS)
    lowered = jax.jit(split.apply).lower(kernels, WEIGHTS, x, signal).as_text()
    assert "stablehlo.convolution" in lowered
    assert "stablehlo.reverse" not in lowered
    assert "stablehlo.reverse" in jax.jit(down).lower(WEIGHTS, x, signal).as_text()


def test_kernels_that_are_arguments_stay_in_the_call():
    def function(weights, x, kernel):
        return up(weights | {"second": kernel}, x)

    kernel = WEIGHTS["second"] * 2
    kernels, found, want = both(function, images(2), kernel)
    assert len(kernels) == 1
    np.testing.assert_array_equal(found, want)
