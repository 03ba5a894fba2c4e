"""A folder of images as a data set: divided, prepared once, and told apart."""

import fcntl
import os
import pathlib
import unicodedata

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from zf_jax.data import class_folders, folder, image_files, sources
from zf_jax.errors import BadInput


def picture(path, seed=0, size=(12, 10)):
    """A file of noise; its pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def fill(root, **counts):
    """So many pictures in each class, 0.png, 1.png, ..."""
    seeds = iter(range(1000))
    return {
        pathlib.Path(root, name, f"{index}.png"): picture(
            root / name / f"{index}.png", next(seeds)
        )
        for name, count in counts.items()
        for index in range(count)
    }


@pytest.fixture
def root(tmp_path):
    return tmp_path / "pets"


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "prepared"


@pytest.fixture
def open_split(root, data_dir):
    def opened(split="train", path=root):
        return sources.open_split(f"folder:{path}", split, data_dir=data_dir)

    return opened


@pytest.fixture
def line(root, data_dir):
    """The message that opening ends with."""

    def message(path=root):
        with pytest.raises(BadInput) as error:
            sources.open_split(f"folder:{path}", "train", data_dir=data_dir)
        assert "\n" not in str(error.value)
        # Nothing is left that could be taken for a data set.
        assert not list(data_dir.rglob("dataset_info.json"))
        return str(error.value)

    return message


def contents(source):
    """What a source holds, by its pixels."""
    return {
        (example["image"].tobytes(), source.labels[example["label"]])
        for example in source.examples
    }


def files(split, root):
    """What `divide` puts into a split, as names."""
    found = folder.divide(class_folders.scan(root).files)
    return {str(f.path.relative_to(root)) for f in found if f.split == split}


def unreadable(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")


def prepared(data_dir):
    return sorted(path.parent for path in data_dir.rglob("dataset_info.json"))


def test_every_image_is_in_one_split_with_its_class(root, open_split):
    pixels = fill(root, dog=12, cat=9)
    train, validation = open_split("train"), open_split("validation")
    assert train.labels == validation.labels == ("cat", "dog")
    want = {(image.tobytes(), path.parent.name) for path, image in pixels.items()}
    assert contents(train) | contents(validation) == want
    assert len(train.examples) + len(validation.examples) == 21
    (example, *_) = train.examples
    assert example["image"].shape == (12, 10, 3)
    assert example["image"].dtype == np.uint8


def test_the_name_holds_from_anywhere(root, open_split, monkeypatch):
    fill(root, cat=2, dog=2)
    monkeypatch.chdir(root.parent)
    assert open_split(path="pets/").name == f"folder:{root}"
    monkeypatch.setenv("HOME", str(root.parent))
    assert open_split(path="~/pets").name == f"folder:{root}"


def test_slices_and_a_split_that_is_none(root, open_split):
    fill(root, cat=10, dog=10)
    half = len(open_split("train[:50%]").examples)
    assert half == round(len(open_split("train").examples) / 2)
    with pytest.raises(BadInput, match=f"folder:{root} has train, validation"):
        open_split("test")


def test_whatever_the_file_holds_comes_out_as_it_is_read(root, open_split):
    # A file as it is, and such as become PNG: turned, of 16 bits, of another format.
    (root / "odd").mkdir(parents=True)
    noise = Image.fromarray(picture(root / "plain" / "a.png", size=(20, 30)))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "turned.jpg": (noise, {"exif": exif}),
        "plain.JPG": (noise, {"format": "JPEG"}),
        "deep.png": (Image.fromarray(np.full((9, 9), 40_000, np.uint16)), {}),
        "wide.tif": (noise.resize((70, 20)), {}),
    }
    for name, (image, options) in files.items():
        image.save(root / "odd" / name, **options)
    want = {
        (image_files.read(path).tobytes(), path.parent.name)
        for path in root.rglob("*.*")
    }
    got = contents(open_split("train")) | contents(open_split("validation"))
    assert got == want


@pytest.fixture
def many(root):
    """1000 files of two classes; links to a single picture, for speed."""
    picture(root.parent / "one.png")
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for index in range(500):
            (root / name / f"{index}.png").symlink_to(root.parent / "one.png")
    return root


def test_a_tenth_is_held_out(many):
    train, validation = files("train", many), files("validation", many)
    assert len(train | validation) == len(train) + len(validation) == 1000
    # 100 with a standard deviation of sqrt(1000 * 0.1 * 0.9) = 9.5.
    assert 70 < len(validation) < 130
    # By the name with its class, so that classes do not hold out the same names.
    held = [
        {path.split("/")[1] for path in validation if path.startswith(name)}
        for name in ("cat", "dog")
    ]
    assert len(held[0] & held[1]) < min(map(len, held)) / 2


def test_other_files_move_none(many):
    before = files("train", many), files("validation", many)
    for index in range(500, 600):
        (many / "dog" / f"{index}.png").symlink_to(many.parent / "one.png")
    (many / "owl").mkdir()
    (many / "owl" / "1.png").symlink_to(many.parent / "one.png")
    (many / "cat" / "0.png").unlink()
    after = files("train", many), files("validation", many)
    for one, other in zip(before, after, strict=True):
        assert one - {"cat/0.png"} <= other


def test_the_division_does_not_depend_on_where_the_folder_is(many, tmp_path):
    here = files("validation", many)
    assert files("validation", many.rename(tmp_path / "moved")) == here


@pytest.mark.parametrize("count", [1, 2])
def test_small_classes_have_one_on_either_side(root, count):
    fill(root, cat=count, dog=count, owl=count)
    for name in ("cat", "dog", "owl"):
        sides = [
            sum(file.startswith(name) for file in files(split, root))
            for split in ("train", "validation")
        ]
        assert sum(sides) == count
        # A single one is learned from.
        assert sides[0] >= 1
        assert sides[1] >= (count > 1)


def test_only_what_can_be_read_counts(root, open_split):
    # Two good ones among twenty of each class: one learned from, one held out.
    for name in ("cat", "dog"):
        fill(root, **{name: 2})
        for index in range(2, 20):
            unreadable(root / name / f"{index}.png")
    with pytest.warns(UserWarning, match="left out 36 image files"):
        train = open_split("train")
    held = open_split("validation")
    for source in (train, held):
        assert sorted(example["label"] for example in source.examples) == [0, 1]


def test_no_split_where_nothing_is_held_out(root, open_split):
    fill(root, cat=1, dog=1)
    assert len(open_split("train").examples) == 2
    with pytest.raises(BadInput, match="has train"):
        open_split("validation")


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("train", "val"), ("train", "validation")),
        (("TRAIN", "Valid"), ("train", "validation")),
        (("Training", "Testing"), ("train", "test")),
        (("train", "dev", "test"), ("train", "validation", "test")),
        (("training", "Validation", "TEST"), ("train", "validation", "test")),
    ],
)
def test_a_folder_that_is_divided_already(root, open_split, folders, splits):
    for index, (name, split) in enumerate(zip(folders, splits, strict=True)):
        pixels = fill(root / name, cat=4 - index, dog=3)
        # Nothing of a project's other folders is a class.
        (root / "models").mkdir(exist_ok=True)
        source = open_split(split) if index else None
        want = {(image.tobytes(), path.parent.name) for path, image in pixels.items()}
        assert source is None or contents(source) == want
    assert open_split("train").labels == ("cat", "dog")
    assert len(open_split("train").examples) == 7


def test_train_and_test_alone(root, open_split):
    fill(root / "train", cat=2, dog=2)
    fill(root / "test", cat=2, dog=2)
    with pytest.raises(BadInput, match=r"has test, train; .*--validation_split=test"):
        open_split("validation")


@pytest.mark.parametrize("name", ["train", "dev", "Test"])
def test_a_split_may_be_a_class(root, open_split, name):
    fill(root, **{name: 2}, plane=2)
    assert set(open_split().labels) == {"plane", name}


@pytest.mark.parametrize(
    ("splits", "flat", "named"),
    [
        # Two folders for one split; no train; splits beside classes.
        (("train", "val", "valid"), (), "'train', 'val', 'valid'"),
        (("valid", "test"), (), "'test', 'valid'"),
        (("train",), ("unlabelled",), "'train' beside 'unlabelled'"),
        (("test",), ("cat",), "'test' beside 'cat'"),
        ((), ("train", "test", "plane"), "'test', 'train' beside 'plane'"),
        ((), ("dev", "test"), "'dev', 'test'"),
    ],
)
def test_splits_or_classes(root, line, splits, flat, named):
    for name in splits:
        fill(root / name, cat=1, dog=1)
    fill(root, **dict.fromkeys(flat, 1))
    assert f"folder {root}: are {named} splits or classes? Splits are" in line()


def test_nested_folders_are_of_the_class(root, open_split):
    pixels = fill(root, cat=2) | fill(root / "dog", big=2, small=1)
    source = open_split()
    assert source.labels == ("cat", "dog")
    total = len(source.examples) + len(open_split("validation").examples)
    assert total == len(pixels) == 5


def test_leftovers_are_nobodys(root, open_split):
    fill(root, cat=2, dog=2)
    # Hidden ones, and those of archives and of file servers.
    fill(root, **{".thumbnails": 2, "__MACOSX": 1, "@eaDir": 1, "lost+found": 1})
    fill(root / "cat", **{".cache": 2, "@eaDir": 2})
    unreadable(root / "cat" / "._1.png")
    for name in ("notes.txt", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (root / "cat" / name).write_text("no image")
    assert open_split().labels == ("cat", "dog")
    assert len(open_split("train+validation").examples) == 4


def test_empty_folders_are_named(root, open_split):
    fill(root, cat=2, dog=2)
    (root / "docs" / "more").mkdir(parents=True)
    (root / "docs" / "readme.txt").write_text("none")
    with pytest.warns(UserWarning, match=r"pets: no image in 'docs'$"):
        assert open_split().labels == ("cat", "dog")


def test_an_empty_split_is_named(root, open_split):
    fill(root / "train", cat=2, dog=2)
    fill(root / "val", cat=2)
    (root / "test" / "cat").mkdir(parents=True)
    (root / "val" / "dog").mkdir()
    with pytest.warns(UserWarning, match=r"no image in 'test', 'val/dog'$"):
        assert len(open_split("validation").examples) == 2


def test_formats_that_cannot_be_read_are_counted(root, open_split):
    fill(root, cat=2, dog=2)
    for index in range(4):
        (root / "cat" / f"IMG_{index}.HEIC").write_bytes(b"heic")
    (root / "dog" / "raw").mkdir()
    (root / "dog" / "raw" / "1.CR2").write_bytes(b"II*")
    with pytest.warns(UserWarning, match="left out 5 image files") as caught:
        open_split()
    (message,) = [str(each.message) for each in caught]
    assert "1 .cr2, 4 .heic: convert them to JPEG or PNG, or pip install" in message


def test_a_class_of_formats_that_cannot_be_read(root, line):
    fill(root, cat=2)
    (root / "dog").mkdir()
    (root / "dog" / "1.heic").write_bytes(b"heic")
    message = line()
    assert f"folder {root / 'dog'}: no image in it that can be read; 1 .heic" in message


def test_what_is_left_out_is_named_in_one_line(root, open_split):
    fill(root, cat=3, dog=3)
    unreadable(root / "cat" / "bad.jpg")
    (root / "dog" / "gone.png").symlink_to(root / "nowhere.png")
    os.mkfifo(root / "dog" / "pipe.png")
    picture(root / "loose.png")
    with pytest.warns(UserWarning, match="left out") as caught:
        open_split()
    (message,) = [str(each.message) for each in caught]
    assert f"folder {root}: left out 4 image files" in message
    assert "\n" not in message
    for name in ("cat/bad.jpg", "dog/gone.png", "dog/pipe.png"):
        assert repr(name) in message
    assert message.endswith(", ...")
    # Said when it is prepared, and no more.
    assert len(open_split("train+validation").examples) == 6


def test_it_is_prepared_once(root, data_dir, open_split):
    fill(root, cat=2, dog=2)
    open_split("train")
    written = {path: path.stat().st_mtime_ns for path in data_dir.rglob("*.*")}
    open_split("validation")
    assert {p: p.stat().st_mtime_ns for p in data_dir.rglob("*.*")} == written


@pytest.mark.parametrize("change", ["more", "fewer", "content", "renamed"])
def test_a_folder_that_changed_is_prepared_anew(root, data_dir, open_split, change):
    fill(root, cat=3, dog=3)
    open_split()
    (before,) = prepared(data_dir)
    path = root / "cat" / "1.png"
    if change == "more":
        picture(root / "cat" / "9.png", 99)
    elif change == "fewer":
        path.unlink()
    elif change == "content":
        now = path.stat()
        path.write_bytes((root / "cat" / "0.png").read_bytes())
        os.utime(path, ns=(now.st_atime_ns, now.st_mtime_ns + 1))
    else:
        path.rename(root / "cat" / "one.png")
    source = open_split("train+validation")
    want = {(image_files.read(p).tobytes(), p.parent.name) for p in root.rglob("*.png")}
    assert contents(source) == want
    # What it was is gone.
    (after,) = prepared(data_dir)
    assert after != before
    assert not before.parent.exists()


def test_folders_by_one_name_stay_apart(tmp_path, data_dir, open_split):
    pixels = [fill(tmp_path / each / "pets", cat=2, dog=2) for each in ("a", "b")]
    fill(tmp_path / "b" / "pets", owl=2)
    for _ in range(2):
        assert open_split(path=tmp_path / "a" / "pets").labels == ("cat", "dog")
        assert open_split(path=tmp_path / "b" / "pets").labels == ("cat", "dog", "owl")
    assert len(prepared(data_dir)) == len(pixels) == 2


def test_a_link_to_the_folder_is_the_folder(root, data_dir, open_split):
    fill(root, cat=2, dog=2)
    (root.parent / "link").symlink_to(root)
    open_split()
    before = prepared(data_dir)
    assert open_split(path=root.parent / "link").labels == ("cat", "dog")
    assert prepared(data_dir) == before


def test_linked_folders(root, tmp_path, open_split):
    fill(tmp_path / "store", x=2, y=2, z=3)
    (root / "dog").mkdir(parents=True)
    (root / "cat").symlink_to(tmp_path / "store" / "x")
    (root / "dog" / "y").symlink_to(tmp_path / "store" / "y")
    (root / "dog" / "z").symlink_to(tmp_path / "store" / "z")
    # A ring.
    (tmp_path / "store" / "z" / "up").symlink_to(root / "dog")
    source = open_split("train+validation")
    assert np.bincount([e["label"] for e in source.examples]).tolist() == [2, 5]


def test_several_shards(root, data_dir, open_split, monkeypatch):
    monkeypatch.setattr(folder, "_SHARD", 5)
    pixels = fill(root, cat=9, dog=8)
    source = open_split("train+validation")
    assert {image for image, _ in contents(source)} == {
        image.tobytes() for image in pixels.values()
    }
    assert len(list(data_dir.rglob("*train.array_record*"))) > 1


def test_interrupted(root, data_dir, open_split, monkeypatch):
    fill(root, cat=20, dog=20)
    count = []

    class Interrupting(tfds.core.utils.EmptyTqdm):
        def update(self):
            count.append(1)
            if len(count) == 20:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tfds.core.utils, "tqdm", Interrupting)
        with pytest.raises(KeyboardInterrupt):
            open_split()
    assert not prepared(data_dir)
    # What a kill leaves, TFDS being given no chance to tidy up.
    (home,) = data_dir.glob("folder_*")
    (home / "incomplete.ABCDEF_1.0.0").mkdir()
    (home / "incomplete.ABCDEF_1.0.0" / "half.array_record").write_bytes(b"half")
    assert len(open_split("train+validation").examples) == 40
    assert [path.name for path in home.glob("[!.]*")] == ["1.0.0"]


def test_another_process_may_be_faster(root, data_dir, open_split, monkeypatch):
    fill(root, cat=4, dog=4)
    slow, others = folder.Folder.download_and_prepare, []

    def overtaken(self, **options):
        if not others:
            # As on a file system that knows no locks.
            others.append(folder.Folder(self.root, data_dir))
            monkeypatch.setattr(fcntl, "flock", refuse)
            others[0].prepare()
            raise OSError(39, "Directory not empty")
        slow(self, **options)

    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(folder.Folder, "download_and_prepare", overtaken)
    assert len(open_split("train+validation").examples) == 8


def test_progress_is_shown(root, open_split, capsys):
    fill(root, cat=4, dog=4)
    open_split()
    shown = capsys.readouterr().err
    assert "Reading pets" in shown
    assert "/8 " in shown


def test_nothing_is_shown_where_tfds_is_to_be_silent(root, open_split, capsys):
    fill(root, cat=4, dog=4)
    tfds.disable_progress_bar()
    try:
        open_split()
    finally:
        tfds.enable_progress_bar()
    assert "Reading" not in capsys.readouterr().err


def test_names_of_all_kinds(root, open_split):
    names = ["Été 2020", "a,b", "100%", "__", "ネコ", "x" * 200, "tab\tand\nline"]
    fill(root, **dict.fromkeys(names, 2))
    source = open_split()
    assert set(source.labels) == {" ".join(name.split()) for name in names}
    assert len(source.examples) == len(names)


def test_a_folder_by_any_name(tmp_path, open_split):
    fill(tmp_path / "my [pets] 100% é*", cat=2, dog=2)
    assert open_split(path=tmp_path / "my [pets] 100% é*").labels == ("cat", "dog")


def test_names_that_are_no_text(root, open_split):
    # Not UTF-8, as file systems allow.
    name = os.fsdecode(b"caf\xe9")
    fill(root, dog=2)
    picture(root / name / os.fsdecode(b"\xff.png"))
    assert open_split().labels == ("caf\ufffd", "dog")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cat", "cat"),
        ("cat", "cat "),
        (unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")),
        ("STRASSE", "straße"),
    ],
)
def test_classes_of_nearly_one_name(root, line, one, other):
    fill(root, **{one: 1, other: 1})
    message = line()
    assert repr(one) in message
    assert repr(other) in message
    assert str(root) in message
    assert "rename" in message


def test_no_such_folder(root, line):
    assert f"folder {root}: No such file or directory" in line()


def test_a_file(root, line):
    picture(root / "cat.png")
    message = line(root / "cat.png")
    assert f"folder {root / 'cat.png'}: Not a directory" in message
    assert "sub-folder per class" in message


def test_no_classes(root, line):
    picture(root / "0.png")
    assert f"folder {root}: no sub-folders with images; put those of each" in line()


def test_a_class_without_readable_images(root, line):
    fill(root, cat=2)
    for index in range(3):
        unreadable(root / "dog" / f"{index}.png")
    message = line()
    assert f"folder {root / 'dog'}: no image of class 'dog' can be read" in message
    assert "remove" in message


def test_one_folder_too_high(root, line):
    fill(root, cat=2, dog=2)
    assert f"did you mean folder:{root}?" in line(root.parent)


def test_a_class_that_train_does_not_know(root, line):
    fill(root / "train", cat=2, dog=2)
    fill(root / "val", cat=2, owl=2)
    assert f"folder {root / 'val' / 'owl'}: not a class of train" in line()


def test_a_split_without_classes(root, line):
    fill(root / "train", cat=2, dog=2)
    picture(root / "test" / "1.png")
    assert f"folder {root / 'test'}: no sub-folders" in line()


def test_no_path(line):
    assert "'folder:': say which folder" in line("")


def test_nowhere_to_write(root, data_dir, line):
    fill(root, cat=2, dog=2)
    data_dir.write_text("a file")
    message = line()
    assert f"folder {root}: not written to" in message
    assert str(data_dir) in message
