"""How well a net's features tell other classes apart (sections 4.4 and 4.5).

Linear classifiers of scikit-learn on frozen features, learned from few images a class
and judged by others, several times over (Tables 4, 5 and 7, fig. 9).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.svm import LinearSVC

from zf_jax.errors import BadInput

# Not in the paper: the penalty on the weights. C is scikit-learn's, for features as
# `standardise` gives them; on those of TINY a hundredth or a hundred times as much
# changes the accuracy by 5 points at most, but for softmax on layer 1, by 19.
CLASSIFIERS: dict[str, Callable] = {
    "softmax": lambda: LogisticRegression(C=10.0, max_iter=2000),
    "svm": lambda: LinearSVC(C=1.0, max_iter=20_000),
}
# Bytes of a layer's features: `measure` holds a few copies of them.
MAX_FEATURE_BYTES = 8 * 2**30


class Fold(NamedTuple):
    """Which images are learned from, and which are judged.

    Attributes:
      train: [L, n] int, n of each class; the first few columns are a smaller fold.
      test: [T] int, others.
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
    """Draws images of every class, anew for every fold.

    Args:
      labels: [N] int, each image's class.
      names: [L], of the classes.
      train: images to learn from, a class.
      test: at most so many others to judge by, a class (the paper: 50).
      count: folds.
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
                f"{train} images a class: {name} has {len(images)}, and one at least "
                "is to judge by"
            )
    found = []
    for fold in range(count):
        rng = np.random.default_rng([seed, fold])
        # The judges first: they stay the same whatever is learned from.
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

    Not in the paper: each feature has mean 0 and deviation 1 over `train`, all divided
    by the root of D. Where D is larger than n they are turned into the space of
    `train`, which loses nothing: a linear classifier with an L2 penalty never leaves
    it, and no more than n features remain.
    """
    mean = train.mean(axis=0, dtype=np.float64)
    # One at a time, and never wider than float32.
    train = np.subtract(train, mean, dtype=np.float32, casting="same_kind")
    scale = np.sqrt(np.square(train).mean(axis=0, dtype=np.float64))
    # Features that never change say nothing.
    scale = np.where(scale > 1e-6 * np.abs(mean).max(), scale, np.inf)
    scale = np.float32(scale * np.sqrt(train.shape[1]))
    train /= scale
    test = np.subtract(test, mean, dtype=np.float32, casting="same_kind")
    test /= scale
    if train.shape[1] > len(train):
        turn, _ = np.linalg.qr(train.T)
        train, test = train @ turn, test @ turn
    return train, test


def measure(
    features: np.ndarray, labels: np.ndarray, fold: Fold, count: int
) -> dict[str, float]:
    """Mean per-class accuracy, 0..1, of each of `CLASSIFIERS`, learned anew.

    softmax is multinomial logistic regression; svm has a linear support vector machine
    for each class against the rest.

    Args:
      features: [N, D] float; only the fold's rows are looked at.
      labels: [N] int.
      fold: of the N images.
      count: how many of the fold's images a class are learned from.
    """
    train = fold.train[:, :count].ravel()
    given, judged = standardise(features[train], features[fold.test])
    found = {}
    for name, make in CLASSIFIERS.items():
        fitted = make().fit(given, labels[train])
        found[name] = mean_class_accuracy(labels[fold.test], fitted.predict(judged))
    return found


def mean_class_accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Accuracy of every class that has images, averaged: [T], [T] int to 0..1."""
    present = np.unique(labels)
    return float(recall_score(labels, predicted, labels=present, average="macro"))
