"""Fig. 4's plate: what is framed, what stays white, and how near the end is."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from zf_jax import io
from zf_jax.figures import evolution

RNG = np.random.default_rng(0)


def block(maps=3, epochs=4, size=(7, 9), winners=None, name="layer1"):
    if winners is None:
        winners = RNG.integers(0, 2, (maps, epochs))
    return evolution.Block(
        name=name,
        rows=[f"map {m}" for m in range(maps)],
        projections=RNG.normal(size=(maps, epochs, *size, 3)),
        winners=np.asarray(winners),
        cosines=RNG.random((maps, epochs)),
    )


def test_jumps():
    # By hand; -1 is a silent map, which wins nothing.
    winners = np.array([[3, 3, 5, 5], [-1, 2, -1, 2], [-1, -1, -1, -1]])
    want = [[0, 0, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]]
    np.testing.assert_array_equal(evolution.jumps(winners), np.array(want, bool))


def test_cosines():
    # By hand: at right angles, the opposite however long, zero, itself.
    one, other = np.zeros((2, 1, 2, 3))
    one[0, 0], other[0, 1] = 2, 3
    rows = np.array([[other, -4 * one, 0 * one, one], [one, one, one, 0 * one]])
    want = [[0, -1, 0, 1], [0, 0, 0, 0]]
    np.testing.assert_allclose(evolution.cosines(rows), want, atol=1e-12)


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("epochs", [2, 9])
def test_plate(tmp_path, count, epochs):
    blocks = [
        block(2 + i % 2, epochs, (5 + i, 5 + i), name=f"layer{i}") for i in range(count)
    ]
    path = tmp_path / "new" / "layer1.png"
    shown = list(range(1, epochs + 1))
    assert evolution.plate(blocks, shown, title="fig. 4", path=path) == path
    with Image.open(path) as opened:
        picture = np.asarray(opened.convert("RGB"))
    assert max(picture.shape) <= 4000
    assert picture.std() > 5
    assert list(path.parent.iterdir()) == [path]


def test_plate_draws_what_is_there(tmp_path, monkeypatch):
    kept: list[Figure] = []
    monkeypatch.setattr(io, "save", lambda figure, path, **_: kept.append(figure))
    winners = [[3, 3, 5], [-1, 2, 2]]
    silent = block(1, 3, winners=[[-1, -1, -1]])._replace(cosines=np.zeros((1, 3)))
    # The second row's last winner gives nothing to come near to.
    near = np.array([[0.25, 0.5, 1], [0, 0, 0]])
    blocks = [block(2, 3, winners=winners)._replace(cosines=near), silent]
    evolution.plate(blocks, [1, 2, 64], title="it", path=tmp_path / "it.png")
    first, second = kept[0].axes[:2]
    assert (len(first.images), len(second.images)) == (5, 0)
    # By hand: the third column of the first row, the second of the second.
    at = sorted((int(each.get_x()), int(each.get_y())) for each in first.patches)
    assert at == [(1, 1), (2, 0)]
    (above,) = first.child_axes
    assert [each.get_text() for each in above.get_xticklabels()] == ["1", "2", "64"]
    assert [each.get_text() for each in first.get_xticklabels()] == [
        "0.25",
        "0.50",
        "1.00",
    ]
    assert {each.get_text() for each in second.get_xticklabels()} == {""}


def test_some_rows():
    whole = block(5)
    some = whole.rows_from(3, 4)
    assert list(some.rows) == ["map 3", "map 4"]
    np.testing.assert_array_equal(some.projections, whole.projections[3:])
    np.testing.assert_array_equal(some.winners, whole.winners[3:])
    assert some.cosines is whole.cosines
