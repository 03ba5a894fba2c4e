"""Errors: against scikit-learn's, by hand where classes tie, over crops and devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import top_k_accuracy_score

from zf_jax.data import crops
from zf_jax.probes import batched, topk_error
from zf_jax.training import objective

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(4 * 5 * 3, 7)).astype(np.float32) / 100


def make_logits():
    weights = jnp.asarray(WEIGHTS)
    return lambda images: images.reshape(len(images), -1).astype(jnp.float32) @ weights


def probabilities(views, read=None, **options):
    read = topk_error.make_probabilities(read or make_logits())
    return np.concatenate(list(batched.map_batches(read, views, **options)))


def views(count, size=8):
    images = RNG.integers(0, 256, (count, 10, 13, 3), np.uint8)
    ten = np.stack([crops.ten(image, (4, 5)) for image in images])
    return [ten[i : i + size] for i in range(0, count, size)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(6, 12), st.integers(1, 5))
def test_is_that_of_scikit_learn(seed, classes, k):
    rng = np.random.default_rng(seed)
    found = rng.dirichlet(np.ones(classes), size=40)
    labels = rng.integers(0, classes, 40)
    want = 1 - top_k_accuracy_score(labels, found, k=k, labels=range(classes))
    got = topk_error.error(topk_error.ranks(found, labels), k)
    assert got == pytest.approx(want, abs=1e-12)


def test_a_tie_is_an_error():
    # By hand: the label shares the first rank with another class, is sure, is last.
    found = np.array([[0.4, 0.4, 0.2], [0, 1, 0], [0.5, 0.3, 0.2], [np.nan] * 3])
    ranks = topk_error.ranks(found, np.array([0, 1, 2, 0]))
    np.testing.assert_array_equal(ranks, [1, 0, 2, 2])
    assert topk_error.error(ranks, 1) == 0.75
    assert topk_error.error(ranks, 2) == 0.5


def test_counts_as_training_does():
    logits = RNG.integers(-3, 4, (200, 9)).astype(np.float32)
    labels = RNG.integers(0, 9, 200).astype(np.int32)
    means = objective.score(logits, labels, np.ones(200, bool)).means()
    ranks = topk_error.ranks(np.asarray(jax.nn.softmax(logits)), labels)
    assert topk_error.error(ranks, 1) == pytest.approx(1 - means["top1"], abs=1e-6)
    assert topk_error.error(ranks, 5) == pytest.approx(1 - means["top5"], abs=1e-6)


def test_probabilities_of_every_crop():
    (ten,) = views(8)
    found = probabilities([ten])
    assert found.shape == (8, 10, 7)
    assert found.dtype == np.float32
    logits = ten.reshape(8, 10, -1).astype(np.float64) @ WEIGHTS
    want = np.exp(logits - logits.max(axis=-1, keepdims=True))
    want /= want.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found, want, atol=1e-5)


@pytest.mark.devices
def test_devices_agree():
    given = views(19)
    labels = np.arange(19) % 7
    one = probabilities(given, devices=jax.local_devices()[:1])
    two = probabilities(given, devices=jax.local_devices())
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)
    ranks = [topk_error.ranks(found.mean(axis=1), labels) for found in (one, two)]
    np.testing.assert_array_equal(*ranks)


def test_compiled_once(compilations):
    read = topk_error.make_probabilities(make_logits())
    list(batched.map_batches(read, views(19)))
    with compilations() as again:
        list(batched.map_batches(read, views(19)))
    assert not again
