"""Correspondence: scores of signs by hand, changes of features by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from zf_jax.errors import BadInput
from zf_jax.probes import correspondence


def test_scores_by_hand():
    signs = np.array([[1, 0, -1, 0], [1, 1, 1, 0], [0, 0, -1, 0]])
    found = correspondence.scores(signs)
    # Pairs (0, 1), (0, 2), (1, 2): 2, 1 and 3 of four differ; 3, 2 and 3 change.
    np.testing.assert_allclose(found.all, [0.5, 0.25, 0.75])
    np.testing.assert_allclose(found.changed, [2 / 3, 1 / 2, 1], rtol=1e-6)
    mean, deviation = found.summary()["all"]
    assert mean == pytest.approx(0.5)
    assert deviation == pytest.approx(np.sqrt(1 / 16))
    # Of one pair.
    assert correspondence.scores(signs[:2]).summary()["all"] == (0.5, 0)


def test_scores_of_several_boxes_follow_each_other():
    rng = np.random.default_rng(0)
    signs = rng.integers(-1, 2, (4, 3, 20))
    found = correspondence.scores(signs)
    for box in range(3):
        one = correspondence.scores(signs[:, box])
        np.testing.assert_array_equal(found.all[6 * box : 6 * box + 6], one.all)
        np.testing.assert_array_equal(found.changed[6 * box : 6 * box + 6], one.changed)


def test_images_that_change_alike_or_not_at_all():
    alike = correspondence.scores(np.tile([1, -1, 0], (3, 1)))
    assert not alike.all.any()
    assert not alike.changed.any()
    still = correspondence.scores(np.zeros((3, 5)))
    assert not still.all.any()
    # No NaN where nothing changes.
    assert not still.changed.any()


def test_a_pair_takes_two():
    with pytest.raises(BadInput, match="1 image"):
        correspondence.scores(np.ones((1, 3)))


def read(images):
    """Two layers: the pixels, rectified; and their negative sum."""
    return {
        "pixels": jnp.maximum(images, 0),
        "sum": -images.sum(axis=(1, 2, 3))[:, None],
    }


@pytest.mark.parametrize("batch_size", [2, 64])
def test_changes_by_hand(batch_size):
    rng = np.random.default_rng(1)
    images = rng.normal(size=(3, 6, 5, 2)).astype("f4")
    boxes = np.array([[[0, 0, 2, 2], [3, 1, 6, 5], [5, 4, 6, 5]]] * 3)
    boxes[1, 0] = 2, 2, 3, 4
    found = list(
        correspondence.changes(read, images, boxes, fill=0.5, batch_size=batch_size)
    )
    assert len(found) == 3
    for image, own, signs in zip(images, boxes, found, strict=True):
        for box, (top, left, bottom, right) in enumerate(own):
            occluded = image.copy()
            occluded[top:bottom, left:right] = 0.5
            change = np.maximum(image, 0) - np.maximum(occluded, 0)
            np.testing.assert_array_equal(signs["pixels"][box], np.sign(change).ravel())
            np.testing.assert_array_equal(
                signs["sum"][box], np.sign(occluded.sum() - image.sum())
            )
        assert signs["pixels"].shape == (3, 60)
        assert signs["pixels"].dtype == np.int8


def test_a_colour_fills():
    image = np.zeros((1, 4, 4, 3), "f4")
    boxes = np.array([[[1, 1, 3, 3]]])
    shown = np.array([1.0, 0.0, 2.0])
    (signs,) = correspondence.changes(read, image, boxes, fill=shown)
    want = np.zeros((4, 4, 3))
    want[1:3, 1:3] = -1, 0, -1
    np.testing.assert_array_equal(signs["pixels"][0], want.ravel())


def test_rounding_is_no_change():
    def near(images):
        return {"it": 100 + 1e-5 * images[:, :, 0, 0]}

    image = np.ones((1, 4, 4, 3), "f4")
    (signs,) = correspondence.changes(near, image, np.array([[[0, 0, 2, 2]]]))
    assert not signs["it"].any()


def test_compiled_once(compilations):
    rng = np.random.default_rng(2)
    boxes = np.array([[[0, 0, 2, 2]] * 5] * 3)

    def run():
        images = rng.normal(size=(3, 8, 8, 3)).astype("f4")
        return list(correspondence.changes(read, images, boxes, batch_size=2))

    run()
    with compilations() as found:
        run()
    assert not found


@pytest.mark.parametrize(
    "box", [(0, 0, 9, 2), (-1, 0, 2, 2), (2, 0, 2, 2), (0, 3, 2, 3), (0, 5, 2, 9)]
)
def test_boxes_beyond_the_image(box):
    images = np.zeros((2, 8, 8, 3), "f4")
    boxes = np.array([[(0, 0, 1, 1)], [box]])
    with pytest.raises(BadInput, match=r"box \(.*\) of image 1: .* 8x8 pixels"):
        list(correspondence.changes(read, images, boxes))


def test_random_boxes_lie_anywhere_in_the_image():
    boxes = np.array([[0, 0, 2, 3], [4, 4, 9, 5]])
    rng = np.random.default_rng(0)
    found = correspondence.random_boxes(boxes, (10, 6), 4000, rng)
    sizes = found[:, 2:] - found[:, :2]
    np.testing.assert_array_equal(sizes[::2], [[2, 3]] * 2000)
    np.testing.assert_array_equal(sizes[1::2], [[5, 1]] * 2000)
    assert found.min() == 0
    np.testing.assert_array_equal(found[:, 2:].max(axis=0), [10, 6])
    # Nine rows and four columns to stand at, all alike: 2000 / 36 each.
    counts = np.zeros((9, 4))
    np.add.at(counts, tuple(found[::2, :2].T), 1)
    assert 25 < counts.min() <= counts.max() < 95
