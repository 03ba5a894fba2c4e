"""What is counted: loss, top-1 and top-5 against NumPy, and what is no success."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zf_jax.training import objective

# As one compiled call; op by op, every shape would be compiled a dozen times.
score = jax.jit(objective.score)


def numbers(count=40, classes=12, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, classes)).astype(np.float32) * 3
    labels = rng.integers(0, classes, count).astype(np.int32)
    return logits, labels, rng.random(count) < 0.7


def in_numpy(logits, labels, mask):
    """Sorts the classes of each image; the definition of cross-entropy in float64."""
    logits = logits.astype(np.float64)
    own = logits[np.arange(len(labels)), labels]
    losses = np.log(np.exp(logits).sum(axis=1)) - own
    order = np.argsort(-logits, axis=1)
    top1 = order[:, 0] == labels
    top5 = (order[:, :5] == labels[:, None]).any(axis=1)
    return [float(x[mask].sum()) for x in (losses, top1, top5)] + [mask.sum()]


@pytest.mark.parametrize("classes", [3, 12])
def test_score_equals_numpy(classes):
    given = numbers(classes=classes)
    # float32 sums of 40 losses: some roundings of 6e-8.
    np.testing.assert_allclose(score(*given), in_numpy(*given), rtol=1e-5, atol=1e-5)


def one(logits, label):
    sums = score(
        jnp.array([logits], jnp.float32), jnp.array([label]), jnp.array([True])
    )
    return float(sums.top1), float(sums.top5)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("logits", "label", "want"),
    [
        ([3, 1, 2], 0, (1, 1)),
        ([1, 3, 2], 0, (0, 1)),
        # A tie is no success: a net that says the same of all knows nothing.
        ([3, 3, 1], 0, (0, 1)),
        ([3, 3, 1], 1, (0, 1)),
        ([0] * 10, 4, (0, 0)),
        ([1] * 5 + [0] * 5, 2, (0, 1)),
        ([1] * 6 + [0] * 5, 2, (0, 0)),
        # Five are above: sixth place.
        ([9, 8, 7, 6, 5, 4, 3], 5, (0, 0)),
        ([9, 8, 7, 6, 5, 4, 3], 4, (0, 1)),
        # Nor is what is not a number, wherever it stands.
        ([NAN] * 7, 0, (0, 0)),
        ([1, NAN, 0], 0, (0, 1)),
        ([NAN, 1, 0, 0, 0, 0], 0, (0, 0)),
        ([INF, 1, 0], 0, (1, 1)),
        ([-INF, 1, 0], 0, (0, 1)),
    ],
)
def test_ranks(logits, label, want):
    assert one(logits, label) == want


def test_what_is_masked_does_not_count_whatever_it_is():
    logits, labels, mask = numbers()
    clean = score(logits, labels, mask)
    logits[~mask] = NAN
    # Bit for bit: the same numbers are added up.
    np.testing.assert_array_equal(score(logits, labels, mask), clean)


def test_what_is_masked_has_no_gradient():
    logits, labels, mask = numbers()
    logits[~mask] = 0.0

    def loss(logits):
        return score(logits, labels, mask).loss

    gradient = np.asarray(jax.grad(loss)(logits))
    assert not gradient[~mask].any()
    # By hand: softmax minus one-hot.
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    want = exp / exp.sum(axis=1, keepdims=True) - np.eye(12)[labels]
    np.testing.assert_allclose(gradient[mask], want[mask], rtol=1e-4, atol=1e-6)


def test_means_are_per_image():
    sums = objective.Sums(*map(jnp.float32, (6, 2, 3, 4)))
    assert sums.means() == {"loss": 1.5, "top1": 0.5, "top5": 0.75}


def test_means_of_none():
    assert objective.zero().means() == {"loss": 0.0, "top1": 0.0, "top5": 0.0}
