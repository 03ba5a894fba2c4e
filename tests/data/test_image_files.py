"""Image files are found, and come out as [H, W, 3] uint8 RGB or as one clear line."""

import contextlib
import io
import os
import pathlib
import sys
import threading
import types
import warnings

import numpy as np
import pytest
from PIL import Image

from zf_jax.data import formats, image_files
from zf_jax.errors import BadInput

RED, GREEN = (255, 0, 0), (0, 255, 0)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(folder, image, name="it.png", **options):
    image.save(folder / name, **options)
    return image_files.read(folder / name)


def test_rgb_is_read_as_it_is(tmp_path, monkeypatch):
    pixels = noise(8, 12, 3)
    read = save(tmp_path, Image.fromarray(pixels))
    np.testing.assert_array_equal(read, pixels)
    assert read.dtype == np.uint8
    monkeypatch.setenv("HOME", str(tmp_path))
    np.testing.assert_array_equal(image_files.read("~/it.png"), pixels)


@pytest.mark.parametrize("name", ["it.gif", "it.webp", "it.png", "it.tif", "it.mpo"])
def test_the_first_picture_of_several(tmp_path, name):
    first, second = (Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN))
    options = {"lossless": True} if name == "it.webp" else {}
    read = save(tmp_path, first, name, save_all=True, append_images=[second], **options)
    with Image.open(tmp_path / name) as opened:
        assert opened.n_frames == 2
    assert np.abs(read.astype(int) - RED).max() < (5 if name == "it.mpo" else 1)


def decoded(content):
    """The pixels of an encoded image, as TFDS decodes it: Pillow, and nothing else."""
    with Image.open(io.BytesIO(content)) as opened:
        return np.asarray(opened)


def test_plain_files_are_kept_as_they_are(tmp_path):
    image = Image.fromarray(noise(16, 16, 3))
    image.save(tmp_path / "it.jpg")
    image.save(tmp_path / "it.png")
    # Of a camera that takes two pictures at a time.
    two = {"format": "MPO", "save_all": True, "append_images": [image.rotate(90)]}
    image.save(tmp_path / "two.jpg", **two)
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert image_files.encode(path) == content
        np.testing.assert_array_equal(decoded(content), image_files.read(path))


def test_all_other_files_become_png(tmp_path):
    image, exif = Image.fromarray(noise(16, 24, 3)), Image.Exif()
    exif[0x0112] = 6
    files = {
        "turned.jpg": (image, {"exif": exif}),
        "grey.jpg": (image.convert("L"), {}),
        "inks.jpg": (image.convert("CMYK"), {}),
        "palette.png": (image.convert("P"), {}),
        "alpha.png": (image.convert("RGBA"), {}),
        "clear.png": (image, {"transparency": (1, 2, 3)}),
        "deep.png": (Image.fromarray(np.full((9, 9), 40_000, np.uint16)), {}),
        "it.bmp": (image, {}),
        "it.webp": (image, {}),
    }
    for name, (picture, options) in files.items():
        picture.save(tmp_path / name, **options)
    for path in tmp_path.iterdir():
        content = image_files.encode(path)
        assert content.startswith(b"\x89PNG"), path
        # 8-bit RGB, as the header says: what any decoder makes the same of.
        assert content[24:26] == b"\x08\x02", path
        np.testing.assert_array_equal(decoded(content), image_files.read(path))


def line(path):
    with pytest.raises(BadInput) as error:
        image_files.read(path)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.slow
@pytest.mark.parametrize("form", ["jpeg", "png", "gif", "tiff", "webp", "bmp", "mpo"])
def test_damage_anywhere_is_one_line_at_worst(tmp_path, form):
    path, rng = tmp_path / "it", np.random.default_rng(7)
    Image.fromarray(noise(24, 24, 3)).save(path, form)
    content = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(content)
        for at in rng.integers(0, min(len(content), 400), 4):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(BadInput):
            read = image_files.read(path)
            assert (read.dtype, read.shape[2]) == (np.uint8, 3)


def test_too_small(tmp_path):
    Image.new("RGB", (7, 100)).save(tmp_path / "small.png")
    message = line(tmp_path / "small.png")
    assert "7x100" in message
    assert "at least 8x8" in message


@pytest.mark.parametrize("name", ["it.png", "it.jpg", "it.gif", "it.tif"])
def test_truncated(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(noise(64, 64, 3)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "not an image that can be read" in line(path)


def test_not_an_image(tmp_path):
    (tmp_path / "it.png").write_bytes(b"this is a text file, not an image\n" * 9)
    assert "not an image" in line(tmp_path / "it.png")
    with pytest.raises(BadInput, match="not an image"):
        image_files.encode(tmp_path / "it.png")


def test_not_a_file(tmp_path):
    assert "no such file" in line(tmp_path)
    assert "no such file" in line(tmp_path / "nowhere.jpg")
    # A pipe is not waited for.
    os.mkfifo(tmp_path / "it.png")
    assert "no such file" in line(tmp_path / "it.png")


def test_a_format_that_cannot_be_read(tmp_path):
    (tmp_path / "IMG_1.CR2").write_bytes(b"II*\0")
    assert line(tmp_path / "IMG_1.CR2").endswith("convert them to JPEG or PNG")


def test_threads_leave_warnings_and_limits_as_they_were(tmp_path):
    # As the data set of a folder reads: around them all, these are set once.
    path = tmp_path / "it.png"
    Image.fromarray(noise(64, 64, 3)).save(path)
    before = warnings.filters[:], Image.MAX_IMAGE_PIXELS
    with image_files.quietly():
        threads = [
            threading.Thread(target=lambda: [image_files.read(path) for _ in range(20)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (warnings.filters, Image.MAX_IMAGE_PIXELS) == before


@pytest.fixture
def album(tmp_path, monkeypatch):
    """Image files, here empty, for only names count; the working folder."""
    names = """
        10.jpg 2.JPG 1.png notes.txt .hidden.png Thumbs.db
        trip/b10.jpeg trip/b9.jpeg trip/day_2/x.webp trip/.cache/y.png
        trip/[1].jpg trip/film.mpg empty/readme.md
        __MACOSX/._1.png @eaDir/1.png/THUMB_XL.jpg trip/@eaDir/b9.jpeg/THUMB_M.jpg
    """
    for name in names.split():
        path = tmp_path / name.replace("day_2", "day 2")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*patterns):
    return [str(path) for path in image_files.find(patterns)]


TRIP = ["trip/[1].jpg", "trip/b9.jpeg", "trip/b10.jpeg", "trip/day 2/x.webp"]


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize(
    ("patterns", "want"),
    [
        # In the order that they are given, each once.
        (["10.jpg", "1.png", "10.jpg", "./1.png"], ["10.jpg", "1.png"]),
        (["*.jpg", "*.JPG"], ["10.jpg", "2.JPG"]),
        (["trip/"], TRIP),
        (["trip/b10.jpeg", "trip"], ["trip/b10.jpeg", *TRIP[:2], TRIP[3]]),
        (["."], ["1.png", "2.JPG", "10.jpg", *TRIP]),
        (["**/*.jp*g"], ["10.jpg", *TRIP[:3]]),
        (["trip/**"], TRIP),
        # A folder that matches is a folder that is given.
        (["tri*"], TRIP),
        (["trip/*2"], TRIP[3:]),
        # As it is called, before it is a pattern: that would match 1.jpg.
        (["trip/[1].jpg"], ["trip/[1].jpg"]),
        (["trip/[b]*"], TRIP[1:3]),
        # Given by name, whatever the name.
        (["notes.txt", ".hidden.png"], ["notes.txt", ".hidden.png"]),
        (["trip/.cache"], ["trip/.cache/y.png"]),
        ([], []),
    ],
)
def test_find(patterns, want):
    assert found(*patterns) == want


def test_find_in_the_home_folder(album, monkeypatch):
    monkeypatch.setenv("HOME", str(album))
    assert found("~/1.png") == [str(album / "1.png")]
    assert found("~/trip/b*") == [str(album / "trip" / f"b{n}.jpeg") for n in (9, 10)]


def test_find_takes_a_linked_file_once(album):
    (album / "other.png").symlink_to(album / "1.png")
    assert found("1.png", "other.png") == ["1.png"]
    assert found("other.png", "1.png") == ["other.png"]


def test_find_follows_linked_folders(album, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk")
    (disk / "far.png").touch()
    (album / "trip" / "disk").symlink_to(disk)
    (album / "trip" / "same").symlink_to(disk)
    # Rings: of one link, and of two.
    (album / "trip" / "round").symlink_to(album)
    (disk / "back").symlink_to(album / "trip")
    want = [*TRIP, "trip/disk/far.png"]
    assert sorted(found("trip")) == sorted(want)
    assert sorted(found("trip/**/*.*")) == sorted(want)


def test_find_takes_paths(album):
    assert image_files.find([album / "1.png"]) == [album / "1.png"]
    assert isinstance(image_files.find(["1.png"])[0], pathlib.Path)


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("3.jpg", "no such file"),
        ("1.png/2.png", "no such file"),
        ("", "no such file"),
        ("~nobody/1.png", "no such file"),
        ("*.bmp", "no image matches"),
        # Something matches, but no image.
        ("*.txt", "no image matches"),
        ("**/film*", "no image matches"),
        ("empty", "no image in it"),
        ("empt*", "no image matches"),
    ],
)
def test_find_says_what_matches_nothing(pattern, reason):
    with pytest.raises(BadInput) as error:
        image_files.find(["1.png", pattern])
    assert str(error.value).startswith(f"images {pattern!r}: {reason}")
    assert "\n" not in str(error.value)


def test_formats_that_cannot_be_read_are_counted(album):
    for name in ("a.HEIC", "b.heic", "day 2/c.cr2", "@eaDir/c.cr2/d.heic"):
        (album / "trip" / name).parent.mkdir(exist_ok=True)
        (album / "trip" / name).touch()
    with pytest.warns(UserWarning, match="skipped 3 image files") as caught:
        assert found("trip") == TRIP
    (message,) = [str(each.message) for each in caught]
    assert message.endswith(
        "1 .cr2, 2 .heic: convert them to JPEG or PNG, or pip install pillow-heif for "
        ".heic"
    )
    with pytest.raises(BadInput, match=r"no image matches; 1 \.heic: convert"):
        image_files.find(["trip/*.heic"])


@pytest.fixture
def pillow_heif(monkeypatch):
    """As much of the package as is called: a stand-in that reads PNG as HEIC."""
    Image.preinit()
    package = types.ModuleType("pillow_heif")
    package.register_heif_opener = lambda: Image.register_extension("PNG", ".heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    for each in (formats.register_heif, formats._readable):
        each.cache_clear()
    yield
    Image.EXTENSION.pop(".heic")
    for each in (formats.register_heif, formats._readable):
        each.cache_clear()


@pytest.mark.usefixtures("pillow_heif")
def test_heic_is_read_where_pillow_heif_is_installed(tmp_path):
    Image.new("RGB", (9, 9), RED).save(tmp_path / "it.heic", "PNG")
    (path,) = image_files.find([tmp_path])
    assert (image_files.read(path) == RED).all()
