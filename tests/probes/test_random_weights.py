"""Weights that are drawn anew from the top of a model down."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zf_jax.errors import BadInput
from zf_jax.probes import random_weights
from zf_jax.transforms import capture

KEY = jax.random.key(3)
IMAGES = jax.ShapeDtypeStruct((1, 4, 4, 3), np.float32)


def convolve(x, kernel):
    axes = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=axes
    )


def apply(params, images):
    """A residual block, in an order that is not that of the names."""
    stem = params["z_stem"]
    x = jax.nn.relu(
        convolve(images, stem["kernel"]) + stem["bias"].reshape(1, 1, 1, -1)
    )
    y = convolve(x, params["block"]["kernel"])
    y = y / jnp.sqrt(params["block"]["variance"]).reshape(1, 1, 1, -1)
    x = jax.nn.relu(x + y)
    return x.mean((1, 2)) @ params["a_head"]


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return {
        "a_head": normal(6, 2),
        "block": {"kernel": normal(3, 3, 6, 6), "variance": normal(6) ** 2},
        "counts": np.arange(3),
        "z_stem": {"bias": normal(6), "kernel": normal(3, 3, 3, 6)},
    }


def changed(before, after):
    """Names of the arrays that differ."""
    paths = jax.tree_util.tree_leaves_with_path(before)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for (path, one), other in zip(paths, jax.tree.leaves(after), strict=True)
        if not np.array_equal(one, other)
    }


def test_goes_down_from_the_top(params):
    steps = random_weights.cascade(apply, params, IMAGES, KEY)
    # By hand: the order of computation, backwards; a vector goes with the kernel
    # before it.
    assert [name for name, _ in steps] == ["a_head", "block/kernel", "z_stem/kernel"]
    head, block, stem = (changed(params, drawn) for _, drawn in steps)
    assert head == {"a_head"}
    assert block == {"a_head", "block/kernel", "block/variance"}
    assert stem == {*block, "z_stem/bias", "z_stem/kernel"}
    # The values are the same in another order, one order for all steps.
    for one, other in zip(*map(jax.tree.leaves, (params, steps[-1][1])), strict=True):
        np.testing.assert_array_equal(np.sort(one, None), np.sort(other, None))
    np.testing.assert_array_equal(steps[0][1]["a_head"], steps[-1][1]["a_head"])


def test_starts_at_a_hidden_layer(params):
    def hidden(params, images):
        return capture.maps(lambda x: apply(params, x), ["relu"])(images)

    ((name, drawn),) = random_weights.cascade(hidden, params, IMAGES, KEY)
    assert name == "z_stem/kernel"
    assert changed(params, drawn) == {"z_stem/bias", "z_stem/kernel"}


def test_refuses_closed_over_weights(params):
    with pytest.raises(BadInput, match="uses none of them"):
        random_weights.cascade(lambda _, x: apply(params, x), {}, IMAGES, KEY)
