"""Saliency maps: against jax.grad, and of functions whose maps are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import parameters
from tests.experiments.commands import SMALL
from zf_jax import convnet, deconvnet
from zf_jax.probes import saliency


def logits_of(params, images):
    return convnet.ConvNet(SMALL).apply({"params": params}, images)[0]


@pytest.fixture(scope="module")
def small():
    images = np.random.default_rng(1).normal(size=(3, 32, 32, 3)).astype(np.float32)
    return convnet.ConvNet(SMALL), parameters.he_normal(SMALL), jnp.asarray(images)


def test_the_gradient_is_that_of_jax(small):
    model, params, images = small
    labels = np.array([4, 0, 9])
    found = saliency.projected(logits_of, params, images, labels, rule="gradient")

    def total(images):
        logits = model.apply({"params": params}, images)[0]
        return logits[jnp.arange(3), labels].sum()

    want = np.abs(jax.grad(total)(images)).max(axis=-1)
    np.testing.assert_allclose(found, want, atol=1e-5 * want.max())


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_a_rule_is_that_of_the_deconvnet(small, rule):
    model, params, images = small
    labels = np.array([4, 0, 9])
    found = saliency.projected(logits_of, params, images, labels, rule=rule)
    _, trace = model.apply({"params": params}, images)
    seed = jax.nn.one_hot(labels, 10)
    want = deconvnet.reconstruct(SMALL, params, seed, trace, layer="layer8", rule=rule)
    want = np.abs(want).max(axis=-1)
    np.testing.assert_allclose(found, want, atol=1e-6 * want.max())


def test_occlusion_is_lost_where_the_class_is_seen():
    def read(images):
        """Class n is how bright the quarter n of the image is."""
        halves = images.reshape(len(images), 2, 8, 2, 8, 1).mean(axis=(2, 4, 5))
        return halves.reshape(-1, 4)

    images, labels = np.ones((4, 16, 16, 1), "f4"), np.arange(4)
    found = saliency.occluded(read, images, labels, side=4, stride=4)
    assert found.shape == (4, 16, 16)
    np.testing.assert_array_equal(saliency.predicted(read, images), 0)
    for label, each in enumerate(np.asarray(found)):
        quarter = each.reshape(2, 8, 2, 8)
        row, column = divmod(label, 2)
        # A square takes 16 of the quarter's 64 pixels.
        np.testing.assert_allclose(quarter[row, :, column], 0.25, rtol=1e-5)
        rest = each.sum() - quarter[row, :, column].sum()
        assert rest == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (9, 5)])
def test_maps_that_see_nothing(shape):
    middle = saliency.centre(2, shape)
    assert middle.shape == (2, *shape)
    np.testing.assert_allclose(middle[0], middle[1, ::-1, ::-1])
    assert middle[:, 0, 0] == pytest.approx(0, abs=1e-6)
    at = np.unravel_index(middle[0].argmax(), shape)
    assert np.abs(np.array(at) - (np.array(shape) - 1) / 2).max() <= 0.5
    noise = saliency.noise(2, shape, np.random.default_rng(0))
    assert noise.shape == (2, *shape)
    assert 0 <= noise.min() < noise.max() < 1
