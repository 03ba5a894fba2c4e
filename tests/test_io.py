"""Files are written whole or not at all."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from zf_jax import io


class FailingFigure(Figure):
    """Writes half a file, then fails, as on a full disk."""

    def savefig(self, path, **_):
        path.write_bytes(b"\x89PNG half")
        raise OSError("no space left on device")


def test_a_failure_leaves_the_good_file(tmp_path):
    path = io.save_picture(np.zeros((4, 4, 3), np.uint8), tmp_path / "new" / "it.png")
    before = path.read_bytes()
    with pytest.raises(OSError, match="no space"):
        io.save(FailingFigure(), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_no_half_file(tmp_path):
    with pytest.raises(OSError, match="no space"):
        io.save(FailingFigure(), tmp_path / "new.png")
    assert list(tmp_path.iterdir()) == []


def test_figure_and_picture(tmp_path):
    figure = Figure(figsize=(2, 1))
    figure.subplots()
    path = io.save(figure, tmp_path / "figure.png")
    with Image.open(path) as opened:
        assert opened.format == "PNG"
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    with Image.open(io.save_picture(picture, tmp_path / "picture.png")) as opened:
        np.testing.assert_array_equal(np.asarray(opened), picture)


def test_arrays(tmp_path):
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.float32(0.5)}
    path = tmp_path / "new" / "numbers.npz"
    assert io.save_arrays(path, **arrays) == path
    with np.load(path) as read:
        assert set(read) == {"a", "b"}
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)
    assert list(path.parent.iterdir()) == [path]


def test_large_arrays_are_not_compressed(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "_LARGE", 100)
    large = np.zeros(1000)
    path = io.save_arrays(tmp_path / "it.npz", large=large)
    assert path.stat().st_size > large.nbytes
    with np.load(path) as read:
        np.testing.assert_array_equal(read["large"], large)


def test_json(tmp_path):
    path = io.save_json(tmp_path / "new" / "it.json", {"a": [1, None]})
    assert json.loads(path.read_text()) == {"a": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        io.save_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": [1, None]}
