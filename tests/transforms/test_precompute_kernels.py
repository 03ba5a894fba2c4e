"""Kernels made ready once: the same numbers, and nothing of them in the calls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from zf_jax.layers import Pool
from zf_jax.ops import pooling, products, spreading
from zf_jax.transforms import filters, precompute_kernels

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


def test_large_images_one_by_one_are_the_same(monkeypatch):
    _, want, _ = both(up, images(3))
    monkeypatch.setattr(filters, "_LARGE", 0)
    split = precompute_kernels.precompute(up, WEIGHTS, images(3))
    applied = jax.make_jaxpr(split.apply)(split.prepare(WEIGHTS), WEIGHTS, images(3))
    assert "scan" in str(applied)
    _, found, _ = both(up, images(3))
    # Newer versions of XLA sum otherwise for another number of images.
    assert float(jnp.abs(found - want).max()) <= 1e-6 * float(jnp.abs(want).max())


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


# Rows and columns of the filters, their stride, of the unpooled maps, and maps below.
@pytest.mark.parametrize(
    ("size", "stride", "places", "maps", "is_sparse"),
    [
        # 5 * 5 * 96 an entry, at a stride; the same without; too few.
        (5, 2, 7, 96, True),
        (5, 1, 7, 96, True),
        (5, 2, 7, 24, False),
        # Winograd's form takes a quarter of the products, if there are whole tiles.
        (3, 1, 14, 192, False),
        (3, 1, 3, 192, True),
        (3, 2, 14, 192, True),
    ],
)
def test_what_was_unpooled_goes_down_entry_by_entry(
    size, stride, places, maps, is_sparse, monkeypatch
):
    rng = np.random.default_rng(3)
    kernel = jnp.asarray(rng.normal(size=(size, size, maps, 16)), jnp.float32)
    pool, below = Pool(3, 2, 1), (places - 1) * stride + size
    pooled, shape = (2, (places + 1) // 2, (places + 1) // 2, 16), (2, places, places)
    signal = jnp.asarray(rng.normal(size=pooled), jnp.float32)
    switches = jnp.asarray(rng.integers(0, 9, pooled), jnp.uint8)

    def up(kernel, x):
        return lax.conv_general_dilated(
            x, kernel, (stride,) * 2, "VALID", dimension_numbers=LAYOUT
        )

    def down(kernel, signal, switches):
        signal = pooling.unpool(pool, signal, switches, (*shape, 16))
        signal = jnp.where(signal < 2, jnp.maximum(signal, 0), 0)
        x = jax.ShapeDtypeStruct((2, below, below, maps), jnp.float32)
        return jax.linear_transpose(lambda x: up(kernel, x), x)(signal)[0]

    calls, spread = [], spreading.filter_sparse_maps

    def counting(*given):
        calls.append(given)
        return spread(*given)

    monkeypatch.setattr(spreading, "filter_sparse_maps", counting)
    split = precompute_kernels.precompute(down, kernel, signal, switches, products=True)
    found = jax.jit(split.apply)(split.prepare(kernel), kernel, signal, switches)
    assert bool(calls) == is_sparse
    want = jax.jit(down)(kernel, signal, switches)
    assert float(jnp.abs(found - want).max()) < 4e-6 * float(jnp.abs(want).max())


@pytest.mark.parametrize("named", [False, True])
def test_other_maps_are_not_taken_for_zeros(named, monkeypatch):
    monkeypatch.setattr(spreading, "filter_sparse_maps", None)
    kernel = jnp.zeros((5, 5, 96, 16))

    def down(kernel, signal):
        zeros = spreading.mostly_zero(signal) if named else signal
        x = jax.ShapeDtypeStruct((1, 11, 11, 96), jnp.float32)
        # A sum has the zeros that both have.
        transpose = jax.linear_transpose(
            lambda x: lax.conv_general_dilated(
                x, kernel, (1, 1), "VALID", dimension_numbers=LAYOUT
            ),
            x,
        )
        return transpose(zeros + 1)[0]

    signal = jnp.ones((1, 7, 7, 16))
    split = precompute_kernels.precompute(down, kernel, signal, products=True)
    assert split.apply(split.prepare(kernel), kernel, signal).shape == (1, 11, 11, 96)


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
