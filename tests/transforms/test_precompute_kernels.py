"""Kernels made ready once: the same numbers, and nothing of them in the calls."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax.transforms import precompute_kernels

RNG = np.random.default_rng(0)
WEIGHTS = {
    "first": jnp.asarray(RNG.normal(size=(3, 3, 16, 20)), jnp.float32),
    "second": jnp.asarray(RNG.normal(size=(5, 5, 20, 4)), jnp.float32),
    "bias": jnp.asarray(RNG.normal(size=20), jnp.float32),
}
LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolve(x, kernel, stride, padding):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=LAYOUT
    )


def forward(weights, x):
    y = convolve(x, weights["first"], 1, "SAME")
    y = jax.nn.relu(y + weights["bias"].reshape(1, 1, 1, -1))
    return convolve(y, weights["second"], 2, "VALID")


def backward(weights, x, signal):
    """Transposed convolutions: flipped kernels, dilated signals."""

    def linear(x):
        y = convolve(x, weights["first"], 1, "SAME")
        return convolve(y, weights["second"], 2, "VALID")

    return {"x": jax.linear_transpose(linear, x)(signal)[0]}


def images(count, size=12):
    shape = (count, size, size, 16)
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


def both(function, *arguments):
    split = precompute_kernels.precompute(function, WEIGHTS, *arguments)
    kernels = jax.jit(split.prepare)(WEIGHTS)
    found = jax.jit(split.apply)(kernels, WEIGHTS, *arguments)
    return kernels, found, jax.jit(function)(WEIGHTS, *arguments)


def test_the_forward_pass_is_the_same_to_the_bit():
    kernels, found, want = both(forward, images(3))
    assert len(kernels) == 2
    np.testing.assert_array_equal(found, want)


def test_the_backward_pass_equals_its_function():
    x = images(2)
    signal = forward(WEIGHTS, x)
    kernels, found, want = both(backward, x, signal)
    assert len(kernels) == 2
    scale = float(jnp.abs(want["x"]).max())
    assert float(jnp.abs(found["x"] - want["x"]).max()) < 1e-5 * scale


def test_kernels_serve_other_numbers_of_images():
    kernels, *_ = both(forward, images(3))
    other = images(5)
    split = precompute_kernels.precompute(forward, WEIGHTS, other)
    np.testing.assert_array_equal(
        jax.jit(split.apply)(kernels, WEIGHTS, other), jax.jit(forward)(WEIGHTS, other)
    )


def test_nothing_of_the_kernels_is_left_to_the_calls():
    x = images(2)
    signal = forward(WEIGHTS, x)
    split = precompute_kernels.precompute(backward, WEIGHTS, x, signal)
    kernels = split.prepare(WEIGHTS)
    lowered = jax.jit(split.apply).lower(kernels, WEIGHTS, x, signal).as_text()
    assert "stablehlo.convolution" in lowered
    assert "stablehlo.reverse" not in lowered
    assert "stablehlo.reverse" in jax.jit(backward).lower(WEIGHTS, x, signal).as_text()


def test_kernels_that_are_arguments_stay_in_the_call():
    def function(weights, x, kernel):
        return forward(weights | {"second": kernel}, x)

    kernel = WEIGHTS["second"] * 2
    kernels, found, want = both(function, images(2), kernel)
    assert len(kernels) == 1
    np.testing.assert_array_equal(found, want)
