"""Projections of a residual net against Captum 0.9.0 (references/make_captum_residual).

The net that Captum saw has a module for every ReLU. Here one function is all of them,
as people write nets in JAX, and as Captum's hooks would miss them.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name

from zf_jax import deconvnet

FILE = pathlib.Path(__file__).parent / "references" / "captum_residual.npz"


@pytest.fixture(scope="module")
def stored():
    with np.load(FILE) as file:
        return dict(file)


def conv_norm(arrays, name, x, stride=1):
    kernel = arrays[f"{name}/kernel"].transpose(2, 3, 1, 0)
    filtered = jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(len(kernel) // 2,) * 2] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    scale, shift = (
        arrays[f"{name}/{key}"][None, None, None] for key in ("scale", "shift")
    )
    return filtered * scale + shift


def block(arrays, name, x, stride=1):
    inner = jax.nn.relu(conv_norm(arrays, f"{name}.first", x, stride))
    inner = conv_norm(arrays, f"{name}.second", inner)
    if stride > 1:
        x = conv_norm(arrays, f"{name}.shortcut", x, stride)
    return checkpoint_name(jax.nn.relu(inner + x), name)


def net(arrays, x):
    x = checkpoint_name(jax.nn.relu(conv_norm(arrays, "stem", x)), "stem")
    window = (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, *window)
    x = block(arrays, "block2", block(arrays, "block1", x), 2)
    logits = x.mean((1, 2)) @ arrays["head/kernel"].T + arrays["head/shift"][None]
    return checkpoint_name(logits, "head")


@pytest.mark.parametrize("layer", ["stem", "block1", "block2", "head"])
def test_equals_captum(stored, layer):
    channel, *position = stored[f"{layer}/neuron"]
    with jax.enable_x64(True):
        images = jnp.asarray(stored["images"].transpose(0, 2, 3, 1))
        for rule in deconvnet.RULES:
            pixels = deconvnet.project(
                functools.partial(net, stored),
                images,
                layer=layer,
                channel=channel,
                position=position or None,
                rule=rule,
            )
            # Captum's seed is 1.
            value = stored[f"{layer}/value"][:, None, None, None]
            found = np.asarray(pixels / value)
            expected = stored[f"{layer}/{rule}"].transpose(0, 2, 3, 1)
            assert found.dtype == np.float64
            assert np.linalg.norm(found - expected) < 1e-9 * np.linalg.norm(expected)
            np.testing.assert_array_equal(found != 0, expected != 0)
