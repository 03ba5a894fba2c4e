"""How well a net's features classify other data sets (sections 4.4 and 4.5).

Linear classifiers of scikit-learn on frozen features are trained on few images of each
class and tested on others, over several folds (Tables 4, 5 and 7, fig. 9).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.svm import LinearSVC

from zf_jax.errors import BadInput

# Not in the paper: the penalty on the weights. C is scikit-learn's, for features as
# `standardise` gives them. On TINY's features a hundredth or a hundred times as much
# changes the accuracy by at most 5 points, except for softmax on layer 1: 19 points.
CLASSIFIERS: dict[str, Callable] = {
    "softmax": lambda: LogisticRegression(C=10.0, max_iter=2000),
    "svm": lambda: LinearSVC(C=1.0, max_iter=20_000),
}
# The most bytes of a layer's features, of which `measure` holds a few copies.
MAX_FEATURE_BYTES = 8 * 2**30


class Fold(NamedTuple):
    """Which images are for training and which are for the test, as indices.

    Attributes:
      train: [L, n] int, n of each class; the first columns are a smaller training set.
      test: [T] int, other images.
    """

    train: np.ndarray
    test: np.ndarray


def folds(
    labels: np.ndarray,
    names: Sequence[str],
    *,
    train: int,
    test: int = 50,
    count: int = 5,
    seed: int = 0,
) -> list[Fold]:
    """Draws training and test images of every class, anew for every fold.

    Args:
      labels: [N] int, each image's class.
      names: [L], of the classes.
      train: training images of each class.
      test: at most so many test images of each class (the paper: 50).
      count: how many folds.
      seed: of the draws; those of a fold do not depend on `count`.

    Raises:
      BadInput: one class only, or a class with too few images.
    """
    if len(names) < 2:
        raise BadInput(f"classes: there is only {', '.join(names) or 'none'}; needs 2")
    if min(train, test, count) < 1:
        raise BadInput(f"train {train}, test {test}, count {count}: start at 1")
    members = [np.flatnonzero(labels == label) for label in range(len(names))]
    for name, images in zip(names, members, strict=True):
        if len(images) <= train:
            raise BadInput(
                f"{train} training images a class: {name} has {len(images)}, and at "
                "least one must be left for the test"
            )
    found = []
    for fold in range(count):
        rng = np.random.default_rng([seed, fold])
        # The test images are drawn first: they stay the same for any training set.
        drawn = [rng.permutation(images) for images in members]
        kept = [min(test, len(images) - train) for images in drawn]
        found.append(
            Fold(
                np.stack([d[k : k + train] for d, k in zip(drawn, kept, strict=True)]),
                np.concatenate([d[:k] for d, k in zip(drawn, kept, strict=True)]),
            )
        )
    return found


def standardise(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features as the classifiers take them, [n, D] and [T, D] to float32.

    Not in the paper: each feature has mean 0 and standard deviation 1 over `train`, and
    all are divided by the square root of D. Where D is larger than n, features are
    projected to the n-dimensional space that `train` spans. That loses nothing, since
    the weights of a linear classifier with an L2 penalty lie in that space.
    """
    mean = train.mean(axis=0, dtype=np.float64)
    # One at a time, and never wider than float32.
    train = np.subtract(train, mean, dtype=np.float32, casting="same_kind")
    scale = np.sqrt(np.square(train).mean(axis=0, dtype=np.float64))
    # Features that are constant say nothing.
    scale = np.where(scale > 1e-6 * np.abs(mean).max(), scale, np.inf)
    scale = np.float32(scale * np.sqrt(train.shape[1]))
    train /= scale
    test = np.subtract(test, mean, dtype=np.float32, casting="same_kind")
    test /= scale
    if train.shape[1] > len(train):
        basis, _ = np.linalg.qr(train.T)
        train, test = train @ basis, test @ basis
    return train, test


def measure(
    features: np.ndarray, labels: np.ndarray, fold: Fold, count: int
) -> dict[str, float]:
    """Mean per-class accuracy, 0..1, of each of `CLASSIFIERS`, trained anew.

    softmax is multinomial logistic regression; svm has a linear support vector machine
    for each class against the rest.

    Args:
      features: [N, D] float; only the fold's rows are read.
      labels: [N] int.
      fold: of the N images.
      count: how many of the fold's training images of each class are used.
    """
    train = fold.train[:, :count].ravel()
    given, tested = standardise(features[train], features[fold.test])
    found = {}
    for name, make in CLASSIFIERS.items():
        fitted = make().fit(given, labels[train])
        found[name] = mean_class_accuracy(labels[fold.test], fitted.predict(tested))
    return found


def mean_class_accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Accuracy of each class that has images, averaged: [T], [T] int to 0..1."""
    present = np.unique(labels)
    return float(recall_score(labels, predicted, labels=present, average="macro"))
