"""Fig. 7's panels: which there are, and where values lie."""

import numpy as np
import pytest

from tests.figures import pngs
from zf_jax.figures import occlusion_panels
from zf_jax.figures.occlusion_panels import ClassMaps, OcclusionMaps

RNG = np.random.default_rng(0)


def maps(height=20, width=24, side=(6, 8), stride=(4, 5), classes=12, **changes):
    """Values of an image; of a net without classes where there are none."""
    positions = tuple(
        -(-(n - s) // t) + 1
        for n, s, t in zip((height, width), side, stride, strict=True)
    )
    class_maps = ClassMaps(
        probability=RNG.random(positions),
        clean=0.9,
        name="class 0",
        top=RNG.integers(0, classes or 1, positions),
        labels=[f"class {i}" for i in range(classes)],
    )
    given = OcclusionMaps(
        image=RNG.random((height, width, 3)),
        occluded=RNG.random((height, width, 3)),
        activation=RNG.random(positions) * 40,
        clean=33.3,
        projections=RNG.normal(size=(5, 9, 9, 3)),
        map_name="layer5 map 7",
        side=side,
        stride=stride,
        classes=class_maps if classes else None,
    )
    return given._replace(**changes)


@pytest.mark.parametrize(
    "given",
    [
        # More classes than colours.
        maps(60, 60, classes=40),
        # An image wider than high; one position; a dead map; one projection.
        maps(
            10,
            60,
            (10, 60),
            classes=0,
            activation=np.zeros((1, 1)),
            projections=np.zeros((1, 9, 9, 3)),
        ),
    ],
    ids=["many classes", "nothing to see"],
)
def test_draw(tmp_path, given):
    path = occlusion_panels.draw(given, title="fig. 7", path=tmp_path / "it.png")
    pngs.assert_drawn(path, tmp_path)


@pytest.mark.parametrize(
    ("given", "panels"),
    [(maps(), "abcde"), (maps(classes=0), "abc")],
    ids=["classes", "no classes"],
)
def test_a_panel_for_all_there_is(tmp_path, kept, given, panels):
    occlusion_panels.draw(given, title="it", path=tmp_path / "it.png")
    titles = [axes.get_title() for axes in kept[0].axes]
    assert [title[1] for title in titles if title] == list(panels)
    # The values of the image itself stand above the maps.
    assert any("33.3" in title for title in titles)
    assert any("0.900" in title for title in titles) == (given.classes is not None)


def test_the_most_frequent_class_comes_first(tmp_path, kept):
    given = maps()
    top = np.full((5, 5), 3)
    top[0, :2], top[1, 0] = 7, 1
    given = given._replace(classes=given.classes._replace(top=top))
    occlusion_panels.draw(given, title="it", path=tmp_path / "it.png")
    panel = kept[0].axes[4]
    legend = [each.get_text() for each in panel.get_legend().get_texts()]
    # By hand: 22, 2 and 1 positions.
    assert legend == ["class 3", "class 7", "class 1"]
    drawn = panel.images[1].get_array()
    np.testing.assert_array_equal(drawn[:2, :3], [[1, 1, 0], [2, 0, 0]])


def test_a_value_lies_at_the_centre_of_its_occluder():
    # By hand: occluders of 6 every 4 rows have their centres at rows 2.5, 6.5, ...; a
    # cell of 4 around the first begins at 0.5. Of 8 every 5 columns: at 3.5, from 1.
    left, right, bottom, top = occlusion_panels._extent(maps())
    assert (top, bottom) == pytest.approx((0.5, 0.5 + 5 * 4))
    assert (left, right) == pytest.approx((1.0, 1.0 + 5 * 5))
