"""The first convolution of a function, whatever its layout."""

import jax
import jax.numpy as jnp
import numpy as np

from zf_jax import model
from zf_jax.probes import first_filters

INPUT = model.Input((8, 9))
KERNEL = np.random.default_rng(0).normal(size=(4, 3, 5, 2)).astype(np.float32)


def channels_first(params, images):
    """Kernels [M, C, h, w] that are scaled, images that are transposed."""
    images = images.transpose(0, 3, 1, 2) * 2
    kernel = params["weight"] * params["scale"]
    axes = ("NCHW", "OIHW", "NCHW")
    x = jax.lax.conv_general_dilated(
        images, kernel, (2, 1), "SAME", dimension_numbers=axes
    )
    return jax.nn.relu(x).mean((2, 3))


def test_is_found_in_the_jaxpr():
    params = {"weight": KERNEL, "scale": np.float32(3)}
    found = first_filters.find(model.Model(channels_first, params, INPUT), (8, 9))
    np.testing.assert_allclose(found.kernel, 3 * KERNEL.transpose(2, 3, 1, 0))
    assert found.stride == (2, 1)


def test_a_dense_first_layer_has_none():
    def dense(params, images):
        hidden = (images.reshape(len(images), -1) @ params).reshape(-1, 1, 1, 3)
        return channels_first(
            {"weight": KERNEL, "scale": 1}, jnp.tile(hidden, (8, 9, 1))
        )

    found = model.Model(dense, np.ones((216, 3), np.float32), INPUT)
    assert first_filters.find(found, (8, 9)) is None
