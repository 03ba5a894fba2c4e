"""Fig. 5: what is drawn in which panel, and its scale."""

import numpy as np
import pytest
from matplotlib.colors import same_color

from tests.figures import pngs
from zf_jax.figures import invariance

RNG = np.random.default_rng(0)


def row(own=3, others=4, top=1.0):
    return invariance.WarpRow(
        "scale, ratio",
        np.linspace(1, 1.8, 6),
        np.array([1, 1.8]),
        RNG.random((own, 2, 8, 9, 3)),
        [top * RNG.random((own + others, 6)) for _ in range(2)],
    )


def draw(rows, names, path="it.png"):
    return invariance.draw(rows, ["panel 0", "panel 1"], names, title="it", path=path)


def test_draw(tmp_path):
    path = tmp_path / "new" / "it.png"
    assert draw([row(5, 30)] * 3, [f"dog-{i}" for i in range(5)], path) == path
    pngs.assert_drawn(path, tmp_path)


def test_what_is_drawn(kept):
    rows = [row(top=1.0), row(top=3.0)]
    draw(rows, ["cat", "dog", "cow"])
    (figure,) = kept
    axes = np.array(figure.axes[:6]).reshape(2, 3)
    for line, given in zip(axes, rows, strict=True):
        assert len(line[0].images) == 6
        for axis, curves in zip(line[1:], given.curves, strict=True):
            *own, median = [np.asarray(drawn.get_ydata()) for drawn in axis.lines]
            np.testing.assert_array_equal(own, curves[:3])
            np.testing.assert_allclose(median, np.median(curves[3:], axis=0))
            corners = axis.collections[0].get_paths()[0].vertices
            low, high = np.percentile(curves[3:], [25, 75], axis=0)
            for amount, a, b in zip(given.amounts, low, high, strict=True):
                here = corners[np.isclose(corners[:, 0], amount), 1]
                assert here.min() == pytest.approx(a)
                assert here.max() == pytest.approx(b)
    # A panel has one scale in all rows.
    for column in axes.T[1:]:
        assert column[0].get_ylim() == column[1].get_ylim()
        assert column[0].get_ylim()[0] == 0
        assert column[0].get_ylim()[1] >= max(r.curves[0].max() for r in rows) / 2
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["4 images, quartiles", "cat", "dog", "cow", "their median"]


def test_an_images_frame_and_curves_are_of_one_colour(kept):
    draw([row(own=7, others=0)], [f"dog-{i}" for i in range(7)])
    pictures, panel = kept[0].axes[:2]
    frames = pictures.patches[::2]
    styles = [(line.get_color(), line.get_linestyle()) for line in panel.lines]
    assert len(set(styles)) == len(frames) == 7
    for frame, line in zip(frames, panel.lines, strict=True):
        assert same_color(frame.get_edgecolor(), line.get_color())


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_curves_without_a_scale(kept, value):
    flat = [np.full((7, 6), value)] * 2
    draw([row()._replace(curves=flat)], ["cat", "dog", "cow"])
    assert kept[0].axes[1].get_ylim() == (0, 1)
