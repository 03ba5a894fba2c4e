"""Fig. 4: what is framed, what stays white, and the cosines."""

import numpy as np

from tests.figures import pngs
from zf_jax.figures import evolution

RNG = np.random.default_rng(0)


def block(maps=3, epochs=4, images=None, name="layer1"):
    if images is None:
        images = RNG.integers(0, 2, (maps, epochs))
    return evolution.Block(
        name=name,
        rows=[f"map {m}" for m in range(maps)],
        projections=RNG.normal(size=(maps, epochs, 7, 9, 3)),
        images=np.asarray(images),
        cosines=RNG.random((maps, epochs)),
    )


def test_image_changes():
    # By hand; -1 is a silent map.
    images = np.array([[3, 3, 5, 5], [-1, 2, -1, 2], [-1, -1, -1, -1]])
    want = [[0, 0, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]]
    np.testing.assert_array_equal(evolution.image_changes(images), np.array(want, bool))


def test_cosine_to_last():
    # By hand: at right angles, the opposite however long, zero, itself.
    one, other = np.zeros((2, 1, 2, 3))
    one[0, 0], other[0, 1] = 2, 3
    rows = np.array([[other, -4 * one, 0 * one, one], [one, one, one, 0 * one]])
    want = [[0, -1, 0, 1], [0, 0, 0, 0]]
    np.testing.assert_allclose(evolution.cosine_to_last(rows), want, atol=1e-12)


def test_draw_in_several_lines(tmp_path):
    blocks = [block(2 + i % 2, 9, name=f"layer{i}") for i in range(3)]
    path = tmp_path / "new" / "layer1.png"
    assert evolution.draw(blocks, range(1, 10), title="fig. 4", path=path) == path
    pngs.assert_drawn(path, tmp_path)


def test_what_is_drawn(tmp_path, kept):
    images = [[3, 3, 5], [-1, 2, 2]]
    silent = block(1, 3, images=[[-1, -1, -1]])._replace(cosines=np.zeros((1, 3)))
    # The second row has no projection at the last epoch.
    cosines = np.array([[0.25, 0.5, 1], [0, 0, 0]])
    blocks = [block(2, 3, images=images)._replace(cosines=cosines), silent]
    evolution.draw(blocks, [1, 2, 64], title="it", path=tmp_path / "it.png")
    first, second = kept[0].axes[:2]
    assert (len(first.images), len(second.images)) == (5, 0)
    # By hand: the third column of the first row, the second of the second.
    at = sorted((int(each.get_x()), int(each.get_y())) for each in first.patches)
    assert at == [(1, 1), (2, 0)]
    (above,) = first.child_axes
    assert [each.get_text() for each in above.get_xticklabels()] == ["1", "2", "64"]
    below = [each.get_text() for each in first.get_xticklabels()]
    assert below == ["0.25", "0.50", "1.00"]
    assert {each.get_text() for each in second.get_xticklabels()} == {""}
