"""Fig. 2's pages: sizes, captions, and maps that never fire."""

import numpy as np
import pytest

from tests.figures import pngs
from zf_jax.figures import feature_pages

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("maps", "k", "size"), [(1, 1, (5, 5)), (12, 4, (9, 11))])
def test_draw(tmp_path, maps, k, size):
    shape = (maps, k, *size, 3)
    path = feature_pages.draw(
        RNG.random(shape),
        RNG.normal(size=shape),
        [f"map {m}" for m in range(maps)],
        title="a page",
        path=tmp_path / "new" / "folder" / "layer1.png",
    )
    assert path == tmp_path / "new" / "folder" / "layer1.png"
    pngs.assert_drawn(path, tmp_path)


def test_a_silent_map_has_an_empty_place(tmp_path):
    patches = RNG.random((2, 9, 7, 7, 3))
    shown = np.array([[True] * 9, [False] * 9])
    path = feature_pages.draw(
        patches,
        # A projection that is zero is grey, not a division by zero.
        np.zeros_like(patches),
        ["map 0", "map 1"],
        title="one is dead",
        path=tmp_path / "it.png",
        shown=shown,
    )
    picture = pngs.assert_drawn(path, tmp_path)
    left, right = np.split(picture[60:-10], 2, axis=1)
    # Black letters on one light grey, beside a picture of everything.
    assert left.std() > 40
    grey = np.rint(255 * 0.95)
    assert (right == grey).mean() > 0.7


@pytest.mark.parametrize(("size", "k"), [((112, 112), 9), ((3, 3), 1)])
def test_a_page_is_not_too_large(tmp_path, size, k):
    count = feature_pages.maps_per_page(size, k)
    patches = np.zeros((count, k, *size, 3), np.float32)
    path = feature_pages.draw(
        patches, patches, ["map"] * count, title="a page", path=tmp_path / "it.png"
    )
    height, width = pngs.read(path).shape[:2]
    assert max(height, width) < 8000
    assert count >= 16


def test_a_long_title_fits_one_map(tmp_path):
    patches = RNG.random((1, 9, 64, 64, 3))
    path = feature_pages.draw(
        patches, patches, ["map"], title="a title " * 20, path=tmp_path / "it.png"
    )
    # Nothing touches the borders.
    picture = pngs.read(path)
    assert picture.shape[1] > 700
    assert np.all(picture[:, :4] == 255)
    assert np.all(picture[:, -4:] == 255)
