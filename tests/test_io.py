"""Files are written whole or not at all."""

import errno
import json

import numpy as np
import pytest
from PIL import Image

from zf_jax import io


def failing(path, error):
    """Writes half a file."""
    with io.atomic_write(path) as fresh:
        fresh.write_text("half")
        raise error


def test_what_is_written_comes_back(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    path = io.save_arrays(tmp_path / "new" / "it.npz", array=array)
    np.testing.assert_array_equal(np.load(path)["array"], array)
    picture = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    path = io.save_picture(picture, tmp_path / "it.png")
    with Image.open(path) as opened:
        np.testing.assert_array_equal(np.asarray(opened), picture)
    path = io.save_json(tmp_path / "it.json", {"k": 1})
    assert json.loads(path.read_text()) == {"k": 1}
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "it.json",
        "it.png",
        "new",
    ]


def test_a_failure_leaves_the_former_file(tmp_path):
    path = io.save_json(tmp_path / "it.json", {"k": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        io.save_json(path, {"k": float("nan")})
    with pytest.raises(RuntimeError):
        failing(path, RuntimeError())
    assert json.loads(path.read_text()) == {"k": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OSError("9 of 4 bytes")]
)
def test_an_error_without_a_name_gets_the_files(tmp_path, error):
    # What a full disk raises; NumPy's error has not even a number.
    with pytest.raises(OSError, match=r"No space left|9 of 4") as caught:
        failing(tmp_path / "it.npz", error)
    assert caught.value.filename == str(tmp_path / "it.npz")
    assert not list(tmp_path.iterdir())


def test_an_error_keeps_its_own_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        failing(tmp_path / "it", FileNotFoundError(errno.ENOENT, "none", "other"))
    assert caught.value.filename == "other"


def test_a_folder_that_a_kill_left_between_its_moves_comes_back(tmp_path):
    former = tmp_path / ".it.old"
    former.mkdir()
    (former / "kept").touch()
    with pytest.raises(OSError, match="full"), io.atomic_folder(tmp_path / "it"):
        raise OSError("full")
    assert [each.name for each in tmp_path.rglob("*")] == ["it", "kept"]
