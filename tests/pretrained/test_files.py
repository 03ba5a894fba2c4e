"""Files that are no ONNX file, damaged, or with external data that is."""

import pickle
import shutil

import onnx
import pytest

from tests.pretrained import graphs
from tests.pretrained.graphs import refused
from zf_jax.pretrained import sequential as onnx_import


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_files_that_are_none(tmp_path):
    path = tmp_path / "net.onnx"
    assert refused(path).endswith("no such file")
    path.mkdir()
    assert refused(path).endswith("not a file")
    path.rmdir()
    path.write_bytes(b"")
    assert "not an ONNX file" in refused(path)
    path.write_text("Once upon a time there was a net.\n" * 20)
    assert "not a whole ONNX file" in refused(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    assert "not a whole ONNX file" in refused(path)


def test_nothing_is_unpickled(tmp_path):
    path, sprung = tmp_path / "net.onnx", tmp_path / "sprung"
    path.write_bytes(pickle.dumps(Trap(sprung)))
    assert "ONNX file" in refused(path)
    assert not sprung.exists()
    # The trap works.
    pickle.loads(path.read_bytes()).close()
    assert sprung.exists()


def test_cut_short(tmp_path):
    # At every byte of the first, then here and there: within the graph's own length
    # nothing may be missing.
    path, whole = tmp_path / "net.onnx", graphs.trunk().model().SerializeToString()
    for length in (*range(1, 40), *range(40, len(whole) - 12, 37)):
        path.write_bytes(whole[:length])
        assert "ONNX file" in refused(path)


@pytest.fixture
def external(tmp_path):
    """A file whose weights stand in another one, and that one."""
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "net.onnx"
    onnx.save(
        graphs.trunk().model(),
        path,
        save_as_external_data=True,
        location="w",
        size_threshold=0,
    )
    return path, folder / "w"


def test_external_data_that_is_missing_or_cut(external):
    path, weights = external
    whole = weights.read_bytes()
    weights.write_bytes(whole[:40])
    assert refused(path)
    weights.unlink()
    assert "its weights are in files of their own" in refused(path)
    weights.mkdir()
    assert refused(path)
    weights.rmdir()
    weights.write_bytes(whole)
    assert onnx_import.load_spec(path, mean=graphs.BLACK)


@pytest.mark.parametrize("where", ["../w", "/etc/passwd", "absolute", "link", ""])
def test_external_data_stays_in_the_folder(external, where):
    # Whoever wrote the file does not choose what else on this machine is read.
    path, weights = external
    outside = path.parent.parent / "w"
    shutil.move(weights, outside)
    if where == "link":
        weights.symlink_to(outside)
        where = "w"
    where = {"absolute": str(outside)}.get(where, where)
    model = onnx.load(path, load_external_data=False)
    for each in model.graph.initializer:
        (entry,) = (e for e in each.external_data if e.key == "location")
        entry.value = where
    path.write_bytes(model.SerializeToString())
    refused(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("length", str(2**62)),
        ("length", "-1"),
        ("offset", str(2**62)),
        ("offset", "-8"),
        ("length", "many"),
        ("offset", "1e3"),
    ],
)
def test_a_part_that_external_data_has_not(external, key, value):
    path, _ = external
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == key:
            entry.value = value
    path.write_bytes(model.SerializeToString())
    refused(path)
