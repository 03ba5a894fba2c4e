"""Sheets of filters and controls; pages of fig. 2 and the words on them."""

import json

import numpy as np
import pytest

from tests.figures.test_plates import assert_drawn, png
from zf_jax import io
from zf_jax.figures import plates, raster, sheets

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("size", "maps"), [(3, 1), (7, 32), (11, 96)])
def test_filters(tmp_path, size, maps):
    kernel = RNG.normal(size=(size, size, 3, maps))
    path = sheets.filters(kernel, title="filters", path=tmp_path / "filters.png")
    assert_drawn(path, tmp_path)


@pytest.mark.parametrize(
    ("units", "size", "controls"),
    [(1, (5, 5), 1), (16, (30, 20), 4), (3, (150, 150), 9)],
)
def test_controls(tmp_path, units, size, controls):
    shape = (units, *size, 3)
    columns = {
        f"control {i}\nof two lines": RNG.normal(size=shape) for i in range(controls)
    }
    # One that is silent.
    columns["control 0\nof two lines"][0] = 0
    path = sheets.controls(
        RNG.random(shape),
        columns,
        [f"map {i}" for i in range(units)],
        title="a projection and its controls",
        path=tmp_path / "controls.png",
    )
    assert_drawn(path, tmp_path)


def test_a_silent_map_has_an_empty_place(tmp_path):
    patches = RNG.random((2, 9, 7, 7, 3))
    shown = np.array([[True] * 9, [False] * 9])
    path = plates.layer(
        patches,
        patches - 0.5,
        ["map 0", "map 1"],
        title="one is dead",
        path=tmp_path / "it.png",
        shown=shown,
    )
    picture = assert_drawn(path, tmp_path)
    left, right = np.split(picture[60:-10], 2, axis=1)
    # Grey letters on one light grey, beside a picture of everything.
    assert left.std() > 40
    grey = np.rint(255 * 0.95)
    assert (right == grey).mean() > 0.7


@pytest.mark.parametrize(
    ("size", "k"),
    [((7, 7), 9), ((64, 64), 9), ((139, 139), 9), ((224, 224), 9), ((3, 3), 1)],
)
def test_a_page_is_not_too_large(tmp_path, size, k):
    count = plates.a_page(size, k)
    patches = np.zeros((count, k, *size, 3), np.float32)
    path = plates.layer(
        patches, patches, ["map"] * count, title="a page", path=tmp_path / "it.png"
    )
    height, width = png(path).shape[:2]
    assert max(height, width) < 8000
    assert count >= 16


def test_a_long_title_fits_one_map(tmp_path):
    patches = RNG.random((1, 9, 64, 64, 3))
    path = plates.layer(
        patches, patches, ["map"], title="a title " * 20, path=tmp_path / "it.png"
    )
    # Nothing touches the borders.
    picture = png(path)
    assert picture.shape[1] > 700
    assert np.all(picture[:, :4] == 255)
    assert np.all(picture[:, -4:] == 255)


def test_words_shrink_to_their_room():
    sheet = np.full((40, 300, 3), 255, np.uint8)

    def extent(room):
        words = [raster.Words("some words of a caption", 150, 20, room, 16)]
        columns = np.flatnonzero((raster.write(sheet, words) < 255).any(axis=(0, 2)))
        return columns.max() - columns.min()

    assert extent(300) == pytest.approx(
        raster.width("some words of a caption", 16), abs=4
    )
    assert extent(120) <= 120


def test_rows_of_a_contact_sheet_of_several_sizes(tmp_path):
    rows = {"layer1": RNG.random((3, 7, 7, 3)), "layer2": RNG.random((2, 19, 19, 3))}
    path = plates.contact(rows, title="first maps", path=tmp_path / "sheet.png")
    assert_drawn(path, tmp_path)


def test_json(tmp_path):
    path = io.save_json(tmp_path / "new" / "it.json", {"a": [1, None]})
    assert json.loads(path.read_text()) == {"a": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        io.save_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": [1, None]}


def test_large_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "_LARGE", 100)
    large = np.zeros(1000)
    path = io.save_arrays(tmp_path / "it.npz", large=large)
    assert path.stat().st_size > large.nbytes
    with np.load(path) as read:
        np.testing.assert_array_equal(read["large"], large)
