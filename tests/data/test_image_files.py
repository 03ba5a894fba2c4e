"""Image files are found, and come out as [H, W, 3] uint8 RGB or as one clear line."""

import contextlib
import io
import os
import pathlib
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from zf_jax.data import image_files
from zf_jax.errors import BadInput

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(folder, image, name="it.png", **options):
    image.save(folder / name, **options)
    return image_files.read(folder / name)


def test_rgb_is_read_as_it_is(tmp_path):
    pixels = noise(9, 12, 3)
    read = save(tmp_path, Image.fromarray(pixels))
    np.testing.assert_array_equal(read, pixels)
    assert read.dtype == np.uint8


@pytest.mark.parametrize("name", ["it.png", "it.jpg", "it.tif", "it.webp", "it.avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation, name):
    # Four corners of their own colour, in blocks that a JPEG file keeps.
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16], upright[:16, 32:] = RED, GREEN
    upright[16:, :16], upright[16:, 32:] = WHITE, 128
    # What the camera stored, from the Exif standard's words: where row 0 and column 0
    # of the file are to be seen in the upright picture.
    stored = {
        1: upright,  # row 0 top, column 0 left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.transpose(1, 0, 2),  # left, top
        6: upright[:, ::-1].transpose(1, 0, 2),  # right, top
        7: upright[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
        8: upright[::-1].transpose(1, 0, 2),  # left, bottom
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if name == "it.webp" else {}
    image = Image.fromarray(np.ascontiguousarray(stored))
    read = save(tmp_path, image, name, exif=exif, **lossless)
    assert read.shape == upright.shape
    # Amid the corners, for JPEG and AVIF blur edges; they lose a few levels.
    for at in ((8, 8), (8, 40), (24, 8), (24, 40)):
        assert np.abs(read[at].astype(int) - upright[at]).max() < 20


@pytest.mark.parametrize("orientation", [0, 9, 1000])
def test_an_orientation_that_is_none(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = noise(9, 12, 3)
    read = save(tmp_path, Image.fromarray(pixels), exif=exif)
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0nonsense",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x63\x01\x12",
        b"Exif\0\0",
    ],
)
def test_damaged_exif_does_not_spoil_the_picture(tmp_path, exif):
    # Nor does Pillow's warning of it, an error in these tests, come through.
    pixels = noise(16, 16, 3)
    path = tmp_path / "it.jpg"
    Image.fromarray(pixels).save(path, quality=100, subsampling=0, exif=exif)
    read = image_files.read(path)
    assert np.abs(read.astype(int) - pixels).max() < 10
    assert image_files.encode(path) == path.read_bytes()


def test_damaged_exif_may_still_tell_the_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", 6
    stream, path = io.BytesIO(), tmp_path / "it.jpg"
    Image.new("RGB", (16, 24)).save(stream, "JPEG", exif=exif)
    content = bytearray(stream.getvalue())
    # The maker's tag becomes the width's: a text where there should be a number, which
    # Pillow's exif_transpose fails to write again.
    content[content.index(struct.pack(">HH", 0x010F, 2)) + 1] = 0
    path.write_bytes(content)
    # On its side in the file, 24 rows of 16.
    assert image_files.read(path).shape == (16, 24, 3)


def decoded(content):
    """The pixels of an encoded image, as TFDS decodes it: Pillow, and nothing else."""
    with Image.open(io.BytesIO(content)) as opened:
        return np.asarray(opened)


def test_grey_is_repeated(tmp_path):
    pixels = noise(10, 9)
    read = save(tmp_path, Image.fromarray(pixels))
    np.testing.assert_array_equal(read, np.repeat(pixels[..., None], 3, axis=2))


def test_one_bit(tmp_path):
    pixels = noise(10, 9) > 127
    read = save(tmp_path, Image.fromarray(pixels))
    want = np.repeat(255 * pixels[..., None].astype(np.uint8), 3, axis=2)
    np.testing.assert_array_equal(read, want)


def halves(mode, left, right):
    image = Image.new(mode, (16, 8), left)
    image.paste(right, (8, 0, 16, 8))
    return image


def assert_halves(read, left, right):
    np.testing.assert_array_equal(read[:, :8], np.broadcast_to(left, (8, 8, 3)))
    np.testing.assert_array_equal(read[:, 8:], np.broadcast_to(right, (8, 8, 3)))


def test_transparent_shows_white(tmp_path):
    read = save(tmp_path, halves("RGBA", (255, 0, 0, 255), (0, 0, 0, 0)))
    assert_halves(read, RED, WHITE)


def test_half_transparent_is_mixed_with_white(tmp_path):
    read = save(tmp_path, halves("RGBA", (0, 0, 0, 51), (255, 0, 0, 204)))
    # By hand: alpha 51 / 255 is a fifth: 0.2 * 0 + 0.8 * 255 = 204; 204 is four
    # fifths: green and blue 0.2 * 255 = 51.
    assert_halves(read, (204, 204, 204), (255, 51, 51))


def test_grey_with_alpha(tmp_path):
    read = save(tmp_path, halves("LA", (100, 255), (100, 0)))
    assert_halves(read, (100, 100, 100), WHITE)


@pytest.mark.parametrize("name", ["it.png", "it.gif"])
def test_palette(tmp_path, name):
    image = halves("P", 0, 1)
    image.putpalette([*RED, *GREEN])
    assert_halves(save(tmp_path, image, name), RED, GREEN)


def test_palette_with_alpha(tmp_path):
    image = halves("P", 0, 1)
    image.putpalette([*RED, *GREEN])
    # Alpha for each entry: opaque red, and a fifth of green on white.
    read = save(tmp_path, image, transparency=bytes([255, 51]))
    assert_halves(read, RED, (204, 255, 204))


@pytest.mark.parametrize("name", ["it.png", "it.gif"])
def test_palette_with_transparency(tmp_path, name):
    image = halves("P", 0, 1)
    image.putpalette([*RED, *GREEN])
    assert_halves(save(tmp_path, image, name, transparency=1), RED, WHITE)


def test_rgb_with_a_transparent_colour(tmp_path):
    read = save(tmp_path, halves("RGB", RED, GREEN), transparency=GREEN)
    assert_halves(read, RED, WHITE)


def test_grey_with_a_transparent_level(tmp_path):
    read = save(tmp_path, halves("L", 100, 7), transparency=7)
    assert_halves(read, (100, 100, 100), WHITE)


def test_cmyk(tmp_path):
    # No ink is white; cyan and yellow without black are green.
    image = halves("CMYK", (0, 0, 0, 0), (255, 0, 255, 0))
    assert_halves(save(tmp_path, image, "it.tif"), WHITE, GREEN)


def jpeg(path, planes):
    """A four-plane JPEG file as Pillow writes it: Adobe's, with inverted inks."""
    image = Image.merge("CMYK", [Image.new("L", (16, 16), plane) for plane in planes])
    image.save(path, quality=100)
    return path.read_bytes()


def test_adobe_ycck_jpeg(tmp_path):
    # Adobe's marker ends with the transform: 2 says that the first three planes are Y,
    # Cb and Cr. Y, Cb, Cr = 76, 85, 255 is R, G, B = 255, 0, 0 (JFIF), of which
    # C, M, Y = 0, 255, 255 (libjpeg, jdcolor.c); Adobe's inks are inverted: all cyan,
    # no magenta, yellow and key. The file's planes are 255 less what Pillow is given.
    path = tmp_path / "it.jpg"
    content = jpeg(path, (255 - 76, 255 - 85, 0, 0))
    marker = content.index(b"Adobe")
    assert content[marker + 11] == 0
    path.write_bytes(content[: marker + 11] + b"\x02" + content[marker + 12 :])
    with Image.open(path) as opened:
        assert (opened.mode, opened.info["adobe_transform"]) == ("CMYK", 2)
    assert np.abs(image_files.read(path).astype(int) - (0, 255, 255)).max() < 5


def test_cmyk_jpeg_without_adobes_marker(tmp_path):
    # Pillow and browsers take its inks to be inverted too: no programme writes others.
    path = tmp_path / "it.jpg"
    content = jpeg(path, (255, 0, 255, 0))
    start = content.index(b"\xff\xee")
    length = struct.unpack(">H", content[start + 2 : start + 4])[0]
    path.write_bytes(content[:start] + content[start + 2 + length :])
    assert np.abs(image_files.read(path).astype(int) - GREEN).max() < 5


def test_cmyk_jpeg(tmp_path):
    image = halves("CMYK", (0, 0, 0, 0), (0, 0, 0, 255))
    read = save(tmp_path, image, "it.jpg", quality=100).astype(int)
    # JPEG rounds: a few grey levels.
    assert read[:, :8].min() > 250
    assert read[:, 8:].max() < 5


@pytest.mark.parametrize("name", ["it.png", "it.tif"])
def test_16_bit_grey_is_scaled(tmp_path, name):
    levels = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    read = save(tmp_path, Image.fromarray(levels), name)
    # 65535 / 257 = 255: by hand.
    want = np.round(levels / 257).astype(np.uint8)
    np.testing.assert_array_equal(read, np.repeat(want[..., None], 3, axis=2))


def png(path, colour, samples, bits=16, **chunks):
    """A PNG file by hand, for what Pillow does not write: samples [H, W, C]."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", checksum)
        )

    height, width = samples.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    kind = ">u2" if bits == 16 else np.uint8
    rows = b"".join(b"\0" + row.astype(kind).tobytes() for row in samples)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + b"".join(chunk(name.encode(), content) for name, content in chunks.items())
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


def deep(*shape):
    """16-bit samples whose two bytes are one: 257 times what 8 bits show."""
    levels = noise(*shape)
    return levels, levels.astype(np.uint16) * 257


def test_16_bit_colours(tmp_path):
    levels, samples = deep(9, 10, 3)
    path = png(tmp_path / "it.png", 2, samples)
    np.testing.assert_array_equal(image_files.read(path), levels)
    # With one colour transparent, said in 16 bits, which Pillow does not compare.
    clear = samples[0, 0].astype(">u2").tobytes()
    path = png(tmp_path / "it.png", 2, samples, tRNS=clear)
    assert image_files.read(path).shape == (9, 10, 3)


def test_16_bit_colours_with_alpha(tmp_path):
    levels, samples = deep(9, 10, 4)
    levels[..., 3], samples[..., 3] = 255, 65535
    path = png(tmp_path / "it.png", 6, samples)
    np.testing.assert_array_equal(image_files.read(path), levels[..., :3])


def test_16_bit_grey_with_alpha(tmp_path):
    levels, samples = deep(9, 10, 2)
    levels[..., 1], samples[..., 1] = 255, 65535
    path = png(tmp_path / "it.png", 4, samples)
    want = np.repeat(levels[..., :1], 3, axis=2)
    np.testing.assert_array_equal(image_files.read(path), want)


def test_16_bit_colour_tiff(tmp_path):
    levels, samples = deep(9, 10, 3)
    content = samples.astype("<u2").tobytes()
    # By hand, from the TIFF 6.0 specification: one strip, chunky RGB, 16 bits each.
    tags = [
        (256, 3, 1, 10),  # width
        (257, 3, 1, 9),  # height
        (258, 3, 3, 8),  # bits per sample, at byte 8
        (259, 3, 1, 1),  # not compressed
        (262, 3, 1, 2),  # RGB
        (273, 4, 1, 14),  # the strip, at byte 14
        (277, 3, 1, 3),  # samples per pixel
        (278, 3, 1, 9),  # rows per strip
        (279, 4, 1, len(content)),
    ]
    path = tmp_path / "it.tif"
    path.write_bytes(
        struct.pack("<2sHI", b"II", 42, 14 + len(content))
        + struct.pack("<3H", 16, 16, 16)
        + content
        + struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        + struct.pack("<I", 0)
    )
    np.testing.assert_array_equal(image_files.read(path), levels)


def test_one_bit_with_a_transparent_level(tmp_path):
    # Black is transparent, so all is white.
    read = save(tmp_path, halves("1", 0, 1), transparency=0)
    assert_halves(read, WHITE, WHITE)


def test_float_grey(tmp_path):
    # A float TIFF has no agreed range; levels in 0..255 stay what they are.
    levels = np.arange(64, dtype=np.float32).reshape(8, 8) * 4
    read = save(tmp_path, Image.fromarray(levels), "it.tif")
    np.testing.assert_array_equal(read[..., 0], levels.astype(np.uint8))


def test_float_grey_from_0_to_1(tmp_path):
    levels = np.arange(64).reshape(8, 8) * 4
    image = Image.fromarray((levels / 255).astype(np.float32))
    np.testing.assert_array_equal(save(tmp_path, image, "it.tif")[..., 1], levels)


def test_float_grey_beyond_all_ranges(tmp_path):
    levels = np.full((8, 8), 7, np.float32)
    levels[0, :4] = np.nan, np.inf, -np.inf, 1e9
    read = save(tmp_path, Image.fromarray(levels), "it.tif")
    assert read[0, :4, 0].tolist() == [0, 255, 0, 255]
    assert (read[1:] == 7).all()


@pytest.mark.parametrize("name", ["it.gif", "it.webp", "it.png", "it.tif"])
def test_the_first_picture_of_several(tmp_path, name):
    first, second = (Image.new("RGB", (9, 9), colour) for colour in (RED, GREEN))
    lossless = {"lossless": True} if name == "it.webp" else {}
    read = save(
        tmp_path, first, name, save_all=True, append_images=[second], **lossless
    )
    with Image.open(tmp_path / name) as opened:
        assert opened.n_frames == 2
    np.testing.assert_array_equal(read, np.broadcast_to(RED, (9, 9, 3)))


def test_the_first_picture_of_a_camera_that_takes_two(tmp_path):
    first, second = (Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN))
    read = save(
        tmp_path, first, "it.jpg", format="MPO", save_all=True, append_images=[second]
    )
    with Image.open(tmp_path / "it.jpg") as opened:
        assert opened.format == "MPO"
    assert np.abs(read.astype(int) - RED).max() < 5


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "HSV"])
def test_other_spaces_of_colour(tmp_path, mode):
    # Pillow's own conversion there and back, to a few levels.
    image = Image.new("RGB", (9, 9), (200, 100, 50))
    name = "it.tif" if mode != "HSV" else "it.png"
    if mode == "LAB":
        image = ImageCms.profileToProfile(
            image,
            ImageCms.createProfile("sRGB"),
            ImageCms.createProfile("LAB"),
            outputMode="LAB",
        )
    elif mode == "YCbCr":
        image = image.convert(mode)
    read = save(tmp_path, image, name).astype(int)
    assert np.abs(read - (200, 100, 50)).max() < 6


@pytest.mark.parametrize("name", ["it.jpg", "it.png", "it.jpeg"])
def test_plain_files_are_kept_as_they_are(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(noise(16, 16, 3)).save(path)
    assert image_files.encode(path) == path.read_bytes()
    np.testing.assert_array_equal(decoded(path.read_bytes()), image_files.read(path))


def test_all_other_files_become_png(tmp_path):
    image, exif = Image.fromarray(noise(16, 24, 3)), Image.Exif()
    exif[0x0112] = 6
    clear = {"transparency": (1, 2, 3)}
    files = {
        "turned.jpg": (image, {"exif": exif}),
        "turned.png": (image, {"exif": exif}),
        "grey.jpg": (image.convert("L"), {}),
        "inks.jpg": (image.convert("CMYK"), {}),
        "palette.png": (image.convert("P"), {}),
        "alpha.png": (image.convert("RGBA"), {}),
        "clear.png": (image, clear),
        "bits.png": (image.convert("1"), {}),
        "it.bmp": (image, {}),
        "it.gif": (image, {}),
        "it.webp": (image, {}),
        "it.tif": (image, {}),
    }
    for name, (picture, options) in files.items():
        picture.save(tmp_path / name, **options)
    png(tmp_path / "deep.png", 2, deep(9, 10, 3)[1])
    for path in tmp_path.iterdir():
        content = image_files.encode(path)
        assert content.startswith(b"\x89PNG"), path
        assert content != path.read_bytes(), path
        # 8-bit RGB, as the header says: what any decoder makes the same of.
        assert content[24:26] == b"\x08\x02", path
        np.testing.assert_array_equal(decoded(content), image_files.read(path))


def test_a_picture_of_a_camera_that_takes_two_is_kept(tmp_path):
    image = Image.fromarray(noise(16, 16, 3))
    path = tmp_path / "it.jpg"
    image.save(path, format="MPO", save_all=True, append_images=[image.rotate(90)])
    assert image_files.encode(path) == path.read_bytes()
    np.testing.assert_array_equal(decoded(path.read_bytes()), image_files.read(path))


def test_what_cannot_be_read_is_not_encoded(tmp_path):
    (tmp_path / "it.png").write_bytes(b"")
    with pytest.raises(BadInput, match="not an image"):
        image_files.encode(tmp_path / "it.png")


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "tiff", "webp", "bmp", "mpo"])
def test_damage_anywhere_is_one_line_at_worst(tmp_path, kind):
    path, rng = tmp_path / "it", np.random.default_rng(7)
    image = Image.fromarray(noise(24, 24, 3))
    image.save(path, kind)
    content = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(content)
        for at in rng.integers(0, min(len(content), 400), 4):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(BadInput):
            read = image_files.read(path)
            assert (read.dtype, read.shape[2]) == (np.uint8, 3)


def test_threads_leave_warnings_as_they_were(tmp_path):
    # As the data set of a folder reads: around them all, the filters are set once.
    path = tmp_path / "it.png"
    Image.fromarray(noise(64, 64, 3)).save(path)
    before = warnings.filters[:]
    with image_files.quietly():
        threads = [
            threading.Thread(target=lambda: [image_files.read(path) for _ in range(20)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert warnings.filters == before


def line(path):
    with pytest.raises(BadInput) as error:
        image_files.read(path)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7)])
def test_too_small(tmp_path, size):
    path = tmp_path / "small.png"
    Image.new("RGB", size).save(path)
    message = line(path)
    assert f"{size[0]}x{size[1]}" in message
    assert "at least 8x8" in message


def test_the_smallest_is_read(tmp_path):
    assert save(tmp_path, Image.new("RGB", (8, 8))).shape == (8, 8, 3)


@pytest.mark.parametrize("name", ["it.png", "it.jpg", "it.gif", "it.tif"])
def test_truncated(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(noise(64, 64, 3)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "not an image that can be read" in line(path)


def test_a_broken_checksum(tmp_path):
    path = tmp_path / "it.png"
    Image.fromarray(noise(20, 20, 3)).save(path)
    content = bytearray(path.read_bytes())
    # The first byte of the first chunk's checksum: 8 signature + 8 head + 13 data.
    content[29] ^= 0xFF
    path.write_bytes(content)
    assert "not an image" in line(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"this is a text file, not an image\n" * 9, b"\x89PNG\r\n\x1a\n", b"GIF89a"],
)
def test_not_an_image(tmp_path, content):
    path = tmp_path / "it.png"
    path.write_bytes(content)
    assert "not an image" in line(path)


def test_a_folder(tmp_path):
    assert "no such file" in line(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "it.png")
    assert "no such file" in line(tmp_path / "it.png")


def test_missing(tmp_path):
    assert "no such file" in line(tmp_path / "nowhere.jpg")


def test_through_a_file_as_if_it_were_a_folder(tmp_path):
    (tmp_path / "it").write_bytes(b"x")
    assert line(tmp_path / "it" / "cat.jpg")


@pytest.mark.parametrize("pixels", [10_000, 30_000])
def test_a_decompression_bomb(tmp_path, pixels):
    # A PNG that claims 10,000 or 30,000 pixels a side: Pillow warns of the first and
    # refuses the second; both are the user's to know of, neither a traceback.
    path = tmp_path / "bomb.png"
    Image.new("RGB", (8, 8)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", pixels, pixels)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    path.write_bytes(content)
    assert line(path)


@pytest.fixture
def album(tmp_path, monkeypatch):
    """Image files, here empty, for only names count; the working folder."""
    names = """
        10.jpg 2.JPG 1.png notes.txt .hidden.png
        trip/b10.jpeg trip/b9.jpeg trip/day 2/x.webp trip/.cache/y.png
        trip/[1].jpg trip/film.mpg empty/readme.md
    """
    for name in names.replace("day 2", "day_2").split():
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
        (["2.JPG"], ["2.JPG"]),
        # In the order that they are given, each once.
        (["10.jpg", "1.png", "10.jpg", "./1.png"], ["10.jpg", "1.png"]),
        (["*.jpg", "*.JPG"], ["10.jpg", "2.JPG"]),
        (["trip"], TRIP),
        (["trip/"], TRIP),
        (["trip/b10.jpeg", "trip"], ["trip/b10.jpeg", *TRIP[:2], TRIP[3]]),
        (["."], ["1.png", "2.JPG", "10.jpg", *TRIP]),
        (["**/*.jp*g"], ["10.jpg", *TRIP[:3]]),
        (["trip/**"], TRIP),
        # A folder that matches is a folder that is given.
        (["tri*"], TRIP),
        (["trip/*2"], TRIP[3:]),
        (["*"], ["1.png", "2.JPG", "10.jpg", *TRIP]),
        (["trip/b?.jpeg"], ["trip/b9.jpeg"]),
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


def test_find_follows_links_once(album):
    (album / "other.png").symlink_to(album / "1.png")
    (album / "trip" / "round").symlink_to(album)
    assert found("1.png", "other.png") == ["1.png"]
    assert found("other.png", "1.png") == ["other.png"]
    assert found("trip") == TRIP


def test_find_takes_paths(album):
    assert image_files.find([album / "1.png"]) == [album / "1.png"]
    assert isinstance(image_files.find(["1.png"])[0], pathlib.Path)


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("3.jpg", "no such file"),
        ("trip/3.jpg", "no such file"),
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
