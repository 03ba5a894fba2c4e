"""Distances under warps: by hand, against NumPy, and of invariant functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zf_jax.errors import BadInput
from zf_jax.probes import invariance, warps

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(5, 9, 8, 3)).astype(np.float32)
LABELS = np.array([0, 2, 1, -1, 0])
MOVES = jnp.concatenate(
    [warps.translate([0.0, 2.0, -3.5]), warps.scale(1.3)[None], warps.rotate([40, 360])]
)
WEIGHTS = jnp.asarray(RNG.normal(size=(9 * 8 * 3, 3)) / 10, jnp.float32)


def read(images):
    flat = images.reshape(len(images), -1)
    features = {"pixels": images, "rectified": jax.nn.relu(flat @ WEIGHTS)}
    return features, jax.nn.softmax(flat @ WEIGHTS)


def batches(size, images=IMAGES, labels=LABELS):
    for start in range(0, len(images), size):
        yield images[start : start + size], labels[start : start + size]


@pytest.mark.parametrize("border", ["mean", "edge"])
def test_equals_numpy(border):
    found = invariance.measure(read, batches(5), MOVES, border=border)
    own, clean = jax.tree.map(np.asarray, read(IMAGES))
    labels = np.where(LABELS < 0, clean.argmax(-1), LABELS)
    np.testing.assert_array_equal(found.labels, labels)
    for index, move in enumerate(MOVES):
        features, classes = read(warps.apply(IMAGES, move, border))
        for name, values in features.items():
            change = (np.asarray(values) - own[name]).reshape(5, -1)
            want = np.linalg.norm(change, axis=1)
            np.testing.assert_allclose(
                found.distances[name][:, index], want, rtol=1e-4, atol=1e-5
            )
        want = np.asarray(classes)[np.arange(5), labels]
        np.testing.assert_allclose(found.probability[:, index], want, rtol=1e-4)
    want = np.linalg.norm(own["pixels"].reshape(5, -1), axis=1)
    np.testing.assert_allclose(found.norms["pixels"], want, rtol=1e-5)
    relative = found.relative()["pixels"]
    want = found.distances["pixels"] / found.norms["pixels"][:, None]
    np.testing.assert_array_equal(relative, want)


def test_what_changes_nothing():
    found = invariance.measure(read, batches(5), MOVES)
    for distances in found.distances.values():
        # No translation, and a whole turn.
        np.testing.assert_allclose(distances[:, [0, -1]], 0, atol=1e-5)
        assert (distances[:, 1:-1] > 0.01).all()


def test_batches_of_any_size_agree():
    want = invariance.measure(read, batches(5), MOVES)
    found = invariance.measure(read, batches(2), MOVES)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, want
    )


def test_compiles_once(compilations):
    def own(images):
        return read(images)

    invariance.measure(own, batches(2), MOVES)
    other = IMAGES[::-1].copy()
    with compilations() as found:
        invariance.measure(own, batches(2, other), MOVES[::-1])
    # MOVES[::-1] is an operation of its own.
    assert len(found) <= 1


def test_memory_does_not_grow_with_the_warps():
    given = ([], jnp.ones((4, 64, 64, 3)), np.zeros(4, int))

    def apply(weights, images):
        return {"pixels": images}, None

    def temporary(count):
        moves = jnp.broadcast_to(warps.rotate(10.0), (count, 2, 3))
        lowered = invariance._measure.lower(*given, moves, apply=apply, border="mean")
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert temporary(200) < 1.1 * temporary(4)


def test_a_mean_is_invariant_to_quarter_turns():
    images = RNG.normal(size=(2, 8, 8, 3)).astype(np.float32)

    def mean(images):
        return {"it": images.mean(axis=(1, 2))}, None

    turns = warps.rotate(90.0 * np.arange(5))
    found = invariance.measure(mean, [(images, [-1, -1])], turns)
    np.testing.assert_allclose(found.distances["it"], 0, atol=1e-6)
    assert found.probability is None
    assert found.labels is None


def test_silent_features_have_no_relative_distance():
    def silent(images):
        kept = jnp.where(jnp.arange(len(images)) < 0, 1.0, 0.0)
        return {"it": kept[:, None] * images.mean(axis=(1, 2))}, None

    found = invariance.measure(silent, batches(5), MOVES)
    assert not found.distances["it"].any()
    assert np.isnan(found.relative()["it"]).all()


def test_rise_by_hand():
    amounts = np.arange(-4, 5)
    np.testing.assert_allclose(
        invariance.early_response(amounts, np.abs(amounts) / 8), (0.25, 0.5)
    )
    assert invariance.early_response(amounts, 3.0 * (amounts != 0)) == (1, 1)
    # The mean of both signs: (1 + 3) / 2 of 8, and (2 + 4) / 2.
    curve = np.array([8, 4, 2, 1, 0, 3, 4, 6, 8.0])
    assert invariance.early_response(amounts, curve) == (0.25, 0.375)
    # Next to half of the largest, of one sign.
    assert invariance.early_response(np.arange(4), np.array([0, 1, 2, 4.0])) == (
        0.25,
        0.375,
    )
    assert invariance.early_response(amounts, np.zeros(9)) == (0, 0)


def alone(images):
    return {"it": images - images.mean(axis=0, keepdims=True)}, None


WRONG = {
    "no batches": (read, [], MOVES, "there are none"),
    "a matrix": (read, batches(5), MOVES[0], r"matrices of shape \(2, 3\)"),
    "a scale of 0": (read, batches(5), warps.scale([0.0]), "finite"),
    "sizes": (
        read,
        [(IMAGES, LABELS), (IMAGES[:, :8], LABELS)],
        MOVES,
        r"\(5, 8, 8, 3\) after \(5, 9, 8, 3\)",
    ),
    "a larger batch": (read, [(IMAGES[:2], LABELS[:2]), (IMAGES, LABELS)], MOVES, "no"),
    "a class": (
        read,
        batches(5, labels=LABELS + 1),
        MOVES,
        "class 3: model_fn gives 0 to",
    ),
    "no pair": (lambda x: {"it": x}, batches(5), MOVES, "model_fn gives no pair"),
    "no dict": (lambda x: (x, None), batches(5), MOVES, "a dict"),
    "mixes": (alone, batches(5), MOVES, "mixes the images"),
    "no numbers": (read, batches(5, IMAGES * np.nan), MOVES, "NaN"),
    "border": (read, batches(5), MOVES, "border 'wrap'"),
}


@pytest.mark.parametrize(("read", "batches", "moves", "why"), WRONG.values(), ids=WRONG)
def test_refuses(read, batches, moves, why):
    border = "wrap" if "wrap" in why else "mean"
    with pytest.raises(BadInput, match=why) as error:
        invariance.measure(read, batches, moves, border=border)
    assert "\n" not in str(error.value)
