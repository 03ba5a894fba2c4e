"""Transfer: folds by counting, classifiers where the answer is known."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from zf_jax.errors import BadInput
from zf_jax.probes import transfer

NAMES = ("ant", "bee", "cat")
RNG = np.random.default_rng(0)


def labels(*counts):
    return RNG.permutation(np.repeat(np.arange(len(counts)), counts))


def draw(given, **options):
    options = {"train": 4, "test": 5, "count": 3} | options
    return transfer.folds(given, NAMES, **options)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(5, 20), min_size=3, max_size=3), st.integers(1, 4))
def test_folds(counts, train):
    given = labels(*counts)
    for fold in draw(given, train=train):
        assert fold.train.shape == (3, train)
        np.testing.assert_array_equal(
            given[fold.train], [[c] * train for c in range(3)]
        )
        # Up to five of what is left.
        left = [min(5, count - train) for count in counts]
        np.testing.assert_array_equal(np.bincount(given[fold.test]), left)
        every = np.concatenate([fold.train.ravel(), fold.test])
        assert len(set(every.tolist())) == len(every)


def test_same_seed_same_folds():
    given = labels(20, 20, 20)
    one, more = draw(given, seed=3), draw(given, seed=3, count=5)
    for a, b in zip(one, more[:3], strict=True):
        np.testing.assert_array_equal(a.train, b.train)
        np.testing.assert_array_equal(a.test, b.test)
    assert (one[0].test != one[1].test).any()
    assert (one[0].test != draw(given, seed=4)[0].test).any()


@pytest.mark.parametrize(
    ("counts", "names", "options", "message"),
    [
        ((9, 4, 9), NAMES, {}, "bee has 4"),
        ((9, 9), NAMES, {}, "cat has 0"),
        ((9,), ("ant",), {}, "only ant"),
        ((9, 9, 9), NAMES, {"test": 0}, "start at 1"),
    ],
)
def test_refused(counts, names, options, message):
    given = {"train": 4, "test": 5, "count": 3} | options
    with pytest.raises(BadInput, match=message):
        transfer.folds(labels(*counts), names, **given)


def measure(features, given, count=8):
    (fold,) = transfer.folds(given, NAMES, train=8, test=30, count=1)
    return transfer.measure(features, given, fold, count)


@pytest.mark.parametrize("width", [5, 400])
def test_separable_features(width):
    given = labels(40, 40, 40)
    centres = RNG.normal(size=(3, width))
    features = centres[given] + 0.01 * RNG.normal(size=(120, width))
    # Scales that differ by a thousand, features that never change, float32 and away
    # from zero.
    features = np.float32(features * np.logspace(0, 3, width) + 50)
    features = np.concatenate([features, np.full((120, 2), 7, np.float32)], axis=1)
    assert measure(features, given) == {"softmax": 1.0, "svm": 1.0}


def test_noise_is_about_chance():
    given = np.repeat(np.arange(3), 400)
    features = RNG.normal(size=(1200, 30)).astype(np.float32)
    (fold,) = transfer.folds(given, NAMES, train=50, test=300, count=1)
    for found in transfer.measure(features, given, fold, 50).values():
        # A deviation of sqrt(2 / 9 / 900) = 0.016; five of them.
        assert found == pytest.approx(1 / 3, abs=0.08)


def test_fewer_images_are_the_first_of_a_fold():
    given = labels(40, 40, 40)
    features = (np.eye(3)[given] + RNG.normal(size=(120, 3))).astype(np.float32)
    (fold,) = transfer.folds(given, NAMES, train=8, test=30, count=1)
    few = transfer.Fold(fold.train[:, :2], fold.test)
    want = transfer.measure(features, given, few, 2)
    assert transfer.measure(features, given, fold, 2) == want


def test_standardise_is_that_of_scikit_learn():
    train, test = RNG.normal(3, 2, (2, 30, 7)).astype(np.float32)
    scaler = StandardScaler().fit(train)
    for got, raw in zip(transfer.standardise(train, test), (train, test), strict=True):
        np.testing.assert_allclose(got, scaler.transform(raw) / 7**0.5, atol=1e-5)
        assert got.dtype == np.float32


def test_turning_wide_features_changes_no_classifier():
    given = np.arange(36) % 3
    features = RNG.normal(size=(96, 300)) + np.eye(3, 300)[np.arange(96) % 3]
    train, test = np.float32(features[:36]), np.float32(features[36:])
    narrow = transfer.standardise(train, test)
    assert narrow[0].shape == (36, 36)
    assert narrow[1].shape == (60, 36)
    scaler = StandardScaler().fit(train)
    wide = [scaler.transform(x) / 300**0.5 for x in (train, test)]
    for a, b in zip(narrow, wide, strict=True):
        np.testing.assert_allclose(a @ narrow[0].T, b @ wide[0].T, atol=1e-5)
    found = [
        LogisticRegression(tol=1e-8).fit(one, given).predict_proba(other)
        for one, other in (map(np.float64, each) for each in (narrow, wide))
    ]
    np.testing.assert_allclose(*found, atol=1e-4)


def test_per_class_counts_every_class_alike():
    # By hand: 3 of 4, 0 of 1, 1 of 1; scikit-learn calls it balanced accuracy.
    expected, predicted = np.array([0, 0, 0, 0, 1, 2]), np.array([0, 0, 0, 2, 0, 2])
    assert transfer.mean_class_accuracy(expected, predicted) == pytest.approx(
        (0.75 + 0 + 1) / 3
    )
    assert transfer.mean_class_accuracy(expected, predicted) == balanced_accuracy_score(
        expected, predicted
    )
    # Classes without test images do not count, and give no warning.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert transfer.mean_class_accuracy(np.array([0, 0]), np.array([0, 5])) == 0.5
