"""Opening data sets: what is there is opened, and for the rest one line says how."""

import re

import numpy as np
import pytest
import tensorflow_datasets as tfds

from zf_jax.creatures import builder, scenes
from zf_jax.data import sources
from zf_jax.errors import BadInput


def line(*arguments, **options):
    with pytest.raises(BadInput) as error:
        sources.open_split(*arguments, **options)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_prepared_set_is_opened(creatures_dir):
    source = sources.open_split("creatures/64", "train", data_dir=creatures_dir)
    assert (source.name, source.split) == ("creatures/64", "train")
    assert source.labels == tuple(scenes.CLASSES)
    assert len(source.examples) == 96
    # TFDS shuffles as it writes: the first 96 of the data set, in another order.
    drawn = [scenes.draw(0, "train", index, 64) for index in range(96)]
    want = {(each.image.tobytes(), each.label) for each in drawn}
    got = {(each["image"].tobytes(), int(each["label"])) for each in source.examples}
    assert got == want


@pytest.mark.parametrize(
    ("split", "count"),
    [("train", 96), ("validation", 50), ("train[:10]", 10), ("train[-25%:]", 24)],
)
def test_splits(creatures_dir, split, count):
    source = sources.open_split("creatures/64", split, data_dir=creatures_dir)
    assert len(source.examples) == count
    assert source.split == split


def test_the_built_in_set_is_prepared_on_first_use(tmp_path, monkeypatch):
    config = builder.Creatures.BUILDER_CONFIGS[0]
    monkeypatch.setattr(config, "train", 4)
    monkeypatch.setattr(config, "validation", 2)
    name = f"creatures/{config.name}"
    # What a killed process left is no obstacle, and goes.
    left = tmp_path / "creatures" / "64" / "incomplete.ABCDEF_1.0.0"
    left.mkdir(parents=True)
    first = sources.open_split(name, "train", data_dir=tmp_path)
    assert len(first.examples) == 4
    assert not left.exists()
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    sources.open_split(name, "validation", data_dir=tmp_path)
    # The second time it is opened as it is.
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == written


def test_an_unknown_set_with_a_hint(tmp_path):
    message = line("imagenete/320px-v2", "train", data_dir=tmp_path)
    assert "imagenete" in message
    assert "imagenette" in message.split("did you mean")[1]


def test_an_unknown_set_without_a_hint(tmp_path):
    message = line("zzzzqqqq", "train", data_dir=tmp_path)
    assert "zzzzqqqq" in message
    assert "list_builders" in message
    assert "folder:PATH" in message


@pytest.mark.parametrize("name", ["photos", "{}/photos", "photos/cats"])
def test_a_folder_that_is_not_said_to_be_one(tmp_path, monkeypatch, name):
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    name = name.format(tmp_path)
    assert f"did you mean folder:{name}?" in line(name, "train", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["creatures", "creatures/63", "creatures/64/9"])
def test_an_unknown_config_of_the_built_in_set(tmp_path, name):
    message = line(name, "train", data_dir=tmp_path)
    assert name in message
    assert "creatures/64, creatures/224" in message


def test_an_unknown_config_of_another_set(tmp_path):
    message = line("imagenette/9000px", "train", data_dir=tmp_path)
    assert "imagenette/9000px" in message
    assert "320px" in message


@pytest.mark.parametrize("name", ["", "/", "mnist:", "../etc", "mnist:9.9.9"])
def test_names_that_are_none(tmp_path, name):
    assert repr(name) in line(name, "train", data_dir=tmp_path)


@pytest.mark.parametrize("split", ["test", "", "trian", "[:5]"])
def test_an_unknown_split(creatures_dir, split):
    message = line("creatures/64", split, data_dir=creatures_dir)
    assert repr(split) in message
    assert "train, validation" in message


@pytest.mark.parametrize(
    "split",
    ["train[", "train[:5%%]", "train[:200%]", "train[:1000]", "train+", "train[9:3]"],
)
def test_a_bad_slice(creatures_dir, split):
    assert split in line("creatures/64", split, data_dir=creatures_dir)


def test_not_prepared(tmp_path):
    message = line("mnist", "train", data_dir=tmp_path)
    assert "'mnist'" in message
    # The exact command, which makes what this package reads where it looks for it.
    command = re.search(r"tfds build .*", message)[0]
    want = f"tfds build mnist --file_format=array_record --data_dir={tmp_path}"
    assert command == want


def test_prepared_as_tfrecord_only(creatures_dir, tmp_path):
    # The same set, with an info that says what TFDS's own default would have made.
    (folder,) = creatures_dir.glob("creatures/64/*")
    copy = tmp_path / folder.relative_to(creatures_dir)
    copy.mkdir(parents=True)
    for path in folder.iterdir():
        content = path.read_bytes()
        if path.suffix == ".json":
            content = content.replace(b'"array_record"', b'"tfrecord"')
        (copy / path.name.replace("array_record", "tfrecord")).write_bytes(content)
    message = line("creatures/64", "train", data_dir=tmp_path)
    assert "array_record" in message
    command = re.search(r"tfds convert_format .*", message)[0]
    assert f"--dataset_version_dir={copy}" in command
    assert "--out_file_format=array_record" in command


def test_a_set_without_labels(creatures_dir, monkeypatch):
    features = {"image": None, "text": None}
    monkeypatch.setattr(
        sources, "_builder", lambda *_: Fake(features, ("train", "test"))
    )
    message = line("captions", "train", data_dir=creatures_dir)
    assert "'captions'" in message
    assert "needs image and label, has image, text" in message


def test_labels_that_are_no_classes(monkeypatch):
    features = {"image": None, "label": tfds.features.Scalar(dtype=np.float32)}
    monkeypatch.setattr(sources, "_builder", lambda *_: Fake(features, ("train",)))
    assert "label" in line("heights", "train")


class Fake:
    """As much of a prepared TFDS builder as `open_split` asks for."""

    def __init__(self, features, splits):
        self.info = self
        self.features = features
        self.splits = dict.fromkeys(splits)
        self.file_format = tfds.core.FileFormat.ARRAY_RECORD
        self.alternative_file_formats = []

    def is_prepared(self):
        return True

    def as_data_source(self, split, decoders=None):
        return [{"image": None, "label": 0.5}]


def test_subset(creatures_dir):
    source = sources.open_split("creatures/64", "validation", data_dir=creatures_dir)
    some = sources.subset(source, np.array([7, 3, 7]))
    assert len(some.examples) == 3
    for got, want in zip(some.examples, (7, 3, 7), strict=True):
        np.testing.assert_array_equal(got["image"], source.examples[want]["image"])
        assert got["label"] == source.examples[want]["label"]
    assert some.labels == source.labels
    again = sources.subset(some, [1])
    np.testing.assert_array_equal(
        again.examples[0]["image"], source.examples[3]["image"]
    )


def test_classes(creatures_dir):
    source = sources.open_split("creatures/64", "validation", data_dir=creatures_dir)
    want = [int(each["label"]) for each in source.examples]
    assert sources.classes(source).tolist() == want
    some = sources.subset(source, [4, 2])
    assert sources.classes(some).tolist() == [want[4], want[2]]


def test_a_data_dir_in_the_home_folder(tmp_path, creatures_dir, monkeypatch):
    monkeypatch.setenv("HOME", str(creatures_dir.parent))
    monkeypatch.chdir(tmp_path)
    where = f"~/{creatures_dir.name}"
    source = sources.open_split("creatures/64", "train", data_dir=where)
    assert (len(source.examples), source.data_dir) == (96, str(creatures_dir))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("labels", "others", "want"),
    [
        (["cat", "dog"], ["cat", "dog"], ""),
        (["cat", "dog"], ["dog", "cat"], "class 0 is cat, not dog"),
        (["cat", "dog"], ["cat"], "there are 2, not 1, with dog"),
        (["cat"], ["cat", "dog"], "there are 1, not 2, without dog"),
    ],
)
def test_first_difference(labels, others, want):
    assert sources.first_difference(labels, others) == want
