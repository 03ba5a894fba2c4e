"""Plates and curves: whole PNG files or none, and what is drawn where."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from zf_jax import io
from zf_jax.figures import curves, plates

RNG = np.random.default_rng(0)


def png(path):
    """The picture's [h, w, 3]; raises where the file is not whole."""
    with Image.open(path) as opened:
        assert opened.format == "PNG"
        opened.load()
        return np.asarray(opened.convert("RGB"))


def assert_drawn(path, folder):
    """A PNG of a sane size that shows something, and nothing else in the folder."""
    picture = png(path)
    height, width = picture.shape[:2]
    assert 100 <= height <= 4000
    assert 100 <= width <= 4000
    assert picture.std() > 5
    assert [each for each in folder.rglob("*") if each.is_file()] == [path]
    return picture


@pytest.mark.parametrize(
    ("maps", "k", "size"), [(1, 1, (5, 5)), (3, 9, (7, 9)), (12, 4, (11, 11))]
)
def test_layer(tmp_path, maps, k, size):
    shape = (maps, k, *size, 3)
    path = plates.layer(
        RNG.random(shape),
        RNG.normal(size=shape),
        [f"map {m}" for m in range(maps)],
        title="a plate",
        path=tmp_path / "new" / "folder" / "layer1.png",
    )
    assert path == tmp_path / "new" / "folder" / "layer1.png"
    assert_drawn(path, tmp_path)


def test_layer_of_projections_that_are_zero(tmp_path):
    # A dead map's projections: grey, not a division by zero.
    patches = RNG.random((2, 4, 5, 5, 3))
    path = plates.layer(
        patches, np.zeros_like(patches), ["a", "b"], title="", path=tmp_path / "x.png"
    )
    assert_drawn(path, tmp_path)


def occluded(height=20, width=24, side=(6, 8), stride=(4, 5), classes=12, **changes):
    """What `plates.occlusion` takes; of a net without classes where there are none."""
    places = tuple(
        -(-(n - s) // t) + 1
        for n, s, t in zip((height, width), side, stride, strict=True)
    )
    plain = plates.Occluded(
        picture=RNG.random((height, width, 3)),
        square=RNG.random((height, width, 3)),
        activity=RNG.random(places) * 40,
        clean=33.3,
        projections=RNG.normal(size=(5, 9, 9, 3)),
        map_name="layer5 map 7",
        side=side,
        stride=stride,
        classes=classes
        and plates.Classes(
            probability=RNG.random(places),
            clean=0.9,
            name="class 0",
            top=RNG.integers(0, classes, places),
            labels=[f"class {i}" for i in range(classes)],
        ),
    )
    return plain._replace(**changes)


@pytest.mark.parametrize("classes", [12, None], ids=["classes", "no classes"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"height": 40, "width": 16},
        {"height": 10, "width": 60},
        # One position; nothing active; one projection; one that is zero.
        {"side": (20, 24)},
        {"activity": np.zeros((5, 5))},
        {"projections": RNG.normal(size=(1, 9, 9, 3))},
        {"projections": np.zeros((1, 9, 9, 3))},
    ],
    ids=["plain", "tall", "wide", "one place", "dead", "one picture", "zero"],
)
def test_occlusion(tmp_path, given, classes):
    seen = occluded(classes=classes, **given)
    path = plates.occlusion(seen, title="fig. 7", path=tmp_path / "it.png")
    assert_drawn(path, tmp_path)


@pytest.mark.parametrize("classes", [1, 40])
def test_occlusion_of_one_class_and_of_more_than_colours(tmp_path, classes):
    seen = occluded(height=60, width=60, classes=classes)
    path = plates.occlusion(seen, title="fig. 7", path=tmp_path / "it.png")
    assert_drawn(path, tmp_path)


@pytest.mark.parametrize(
    ("classes", "panels"), [(12, "abcde"), (None, "abc")], ids=["classes", "none"]
)
def test_occlusion_has_a_panel_for_all_there_is(tmp_path, monkeypatch, classes, panels):
    kept = []
    monkeypatch.setattr(io, "save", lambda figure, path, **_: kept.append(figure))
    plates.occlusion(occluded(classes=classes), title="it", path=tmp_path / "it.png")
    titles = [axes.get_title() for axes in kept[0].axes]
    assert [title[1] for title in titles if title] == list(panels)
    # What is claimed of the image itself stands above its map.
    assert any("33.3" in title for title in titles)
    assert any("0.900" in title for title in titles) == (classes is not None)


def test_a_heat_map_lies_over_its_squares():
    # By hand: squares of 6 every 4 rows: their centres are at rows 2.5, 6.5, 10.5 ...;
    # a cell of 4 around the first begins at 0.5.
    seen = occluded()
    left, right, bottom, top = plates._extent(seen)
    assert top == pytest.approx(0.5)
    assert bottom == pytest.approx(0.5 + 5 * 4)
    # 8 every 5 columns: the first centre at 3.5, its cell from 1.
    assert left == pytest.approx(1.0)
    assert right == pytest.approx(1.0 + 5 * 5)


def test_contact(tmp_path):
    rows = {
        "cat": list(RNG.random((4, 16, 16, 3))),
        "dog": list(RNG.random((2, 16, 16, 3))),
        "none of these": [],
    }
    path = plates.contact(rows, title="a sheet", path=tmp_path / "sheet.png")
    assert_drawn(path, tmp_path)


ROWS = [
    {
        "epoch": epoch,
        "train_loss": 2.0 / epoch,
        "loss": 2.1 / epoch,
        "train_top1": 1 - 1 / (epoch + 1),
        "top1": 1 - 1.1 / (epoch + 1),
        "top5": 1.0,
    }
    for epoch in range(1, 6)
]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_curves(tmp_path, count):
    path = curves.training(ROWS[:count], tmp_path / "curve.png")
    assert_drawn(path, tmp_path)


def test_a_picture_is_replaced(tmp_path):
    path = tmp_path / "curve.png"
    curves.training(ROWS[:2], path)
    before = png(path)
    curves.training(ROWS, path)
    assert_drawn(path, tmp_path)
    assert not np.array_equal(png(path), before)


class Fails(Figure):
    """Writes half a file, then fails, as on a full disk."""

    def savefig(self, path, **_):
        path.write_bytes(b"\x89PNG half")
        raise OSError("no space left on device")


def test_a_failure_leaves_the_good_file(tmp_path):
    path = tmp_path / "curve.png"
    curves.training(ROWS, path)
    before = path.read_bytes()
    with pytest.raises(OSError, match="no space"):
        io.save(Fails(), path)
    assert path.read_bytes() == before


def test_a_failure_leaves_no_half_file(tmp_path):
    with pytest.raises(OSError, match="no space"):
        io.save(Fails(), tmp_path / "new.png")
    assert list(tmp_path.iterdir()) == []


def test_arrays(tmp_path):
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.float32(0.5)}
    path = tmp_path / "new" / "numbers.npz"
    assert io.save_arrays(path, **arrays) == path
    with np.load(path) as read:
        assert set(read) == {"a", "b"}
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)
    assert list(path.parent.iterdir()) == [path]


def test_arrays_that_fail_leave_the_good_file(tmp_path, monkeypatch):
    path = io.save_arrays(tmp_path / "numbers.npz", a=np.arange(3))
    before = path.read_bytes()

    def fail(path, **_):
        path.write_bytes(b"PK half")
        raise OSError("no space left on device")

    monkeypatch.setattr(io.np, "savez_compressed", fail)
    with pytest.raises(OSError, match="no space"):
        io.save_arrays(path, a=np.arange(4))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
