"""Images of any mode, depth and orientation come out as upright 8-bit RGB."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from zf_jax.data import image_files, pixels
from zf_jax.errors import BadInput

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)
GREY = (100, 100, 100)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(folder, image, name="it.png", **options):
    image.save(folder / name, **options)
    return image_files.read(folder / name)


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_exif_orientation_is_applied(tmp_path):
    # Four corners of their own colour.
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
        # None of the standard's.
        9: upright,
    }
    for orientation, array in stored.items():
        image = Image.fromarray(np.ascontiguousarray(array))
        read = save(tmp_path, image, exif=oriented(orientation))
        np.testing.assert_array_equal(read, upright, str(orientation))


@pytest.mark.parametrize("name", ["it.jpg", "it.tif", "it.webp", "it.avif"])
def test_every_format_tells_its_orientation(tmp_path, name):
    read = save(tmp_path, Image.new("RGB", (16, 24)), name, exif=oriented(6))
    assert read.shape == (16, 24, 3)


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
    array = noise(16, 16, 3)
    path = tmp_path / "it.jpg"
    Image.fromarray(array).save(path, quality=100, subsampling=0, exif=exif)
    read = image_files.read(path)
    assert np.abs(read.astype(int) - array).max() < 10
    assert image_files.encode(path) == path.read_bytes()


def test_damaged_exif_may_still_tell_the_orientation(tmp_path):
    exif = oriented(6)
    exif[0x010F] = "maker"
    stream, path = io.BytesIO(), tmp_path / "it.jpg"
    Image.new("RGB", (16, 24)).save(stream, "JPEG", exif=exif)
    content = bytearray(stream.getvalue())
    # The maker's tag becomes the width's: a text where there should be a number, which
    # Pillow's exif_transpose fails to write again.
    content[content.index(struct.pack(">HH", 0x010F, 2)) + 1] = 0
    path.write_bytes(content)
    # On its side in the file, 24 rows of 16.
    assert image_files.read(path).shape == (16, 24, 3)


def halves(mode, left, right, palette=()):
    image = Image.new(mode, (16, 8), left)
    image.paste(right, (8, 0, 16, 8))
    if palette:
        image.putpalette(palette)
    return image


PALETTE = [*RED, *GREEN]


@pytest.mark.parametrize(
    ("image", "name", "options", "left", "right"),
    [
        (halves("L", 100, 255), "it.png", {}, GREY, WHITE),
        (halves("1", 0, 1), "it.png", {}, (0, 0, 0), WHITE),
        (halves("RGBA", (*RED, 255), (0, 0, 0, 0)), "it.png", {}, RED, WHITE),
        # By hand: alpha 51 / 255 is a fifth: 0.2 * 0 + 0.8 * 255 = 204; 204 is four
        # fifths: green and blue 0.2 * 255 = 51.
        (
            halves("RGBA", (0, 0, 0, 51), (*RED, 204)),
            "it.png",
            {},
            (204, 204, 204),
            (255, 51, 51),
        ),
        (halves("LA", (100, 255), (100, 0)), "it.png", {}, GREY, WHITE),
        (halves("P", 0, 1, PALETTE), "it.gif", {}, RED, GREEN),
        # Alpha for each entry: opaque red, and a fifth of green on white.
        (
            halves("P", 0, 1, PALETTE),
            "it.png",
            {"transparency": b"\xff\x33"},
            RED,
            (204, 255, 204),
        ),
        # One entry, one colour, one level is transparent.
        (halves("P", 0, 1, PALETTE), "it.gif", {"transparency": 1}, RED, WHITE),
        (halves("RGB", RED, GREEN), "it.png", {"transparency": GREEN}, RED, WHITE),
        (halves("L", 100, 7), "it.png", {"transparency": 7}, GREY, WHITE),
        (halves("1", 0, 1), "it.png", {"transparency": 0}, WHITE, WHITE),
        # No ink is white; cyan and yellow without black are green.
        (
            halves("CMYK", (0, 0, 0, 0), (255, 0, 255, 0)),
            "it.tif",
            {},
            WHITE,
            GREEN,
        ),
    ],
)
def test_modes(tmp_path, image, name, options, left, right):
    read = save(tmp_path, image, name, **options)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read[:, :8], np.broadcast_to(left, (8, 8, 3)))
    np.testing.assert_array_equal(read[:, 8:], np.broadcast_to(right, (8, 8, 3)))


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


def test_cmyk_jpeg_with_and_without_adobes_marker(tmp_path):
    # Pillow and browsers take its inks to be inverted too: no programme writes others.
    path = tmp_path / "it.jpg"
    content = jpeg(path, (255, 0, 255, 0))
    assert np.abs(image_files.read(path).astype(int) - GREEN).max() < 5
    start = content.index(b"\xff\xee")
    length = struct.unpack(">H", content[start + 2 : start + 4])[0]
    path.write_bytes(content[:start] + content[start + 2 + length :])
    assert np.abs(image_files.read(path).astype(int) - GREEN).max() < 5


# Cameras and scanners store 10, 12 or 14 bits in files of 16.
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_deep_grey_is_scaled_by_the_bits_in_use(tmp_path, bits):
    levels = np.linspace(0, 2**bits - 1, 64).round().astype(np.uint16).reshape(8, 8)
    name = "it.tif" if bits == 12 else "it.png"
    read = save(tmp_path, Image.fromarray(levels), name)
    want = np.round(levels / (2**bits - 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(read, np.repeat(want[..., None], 3, axis=2))


def test_black_stays_black(tmp_path):
    assert not save(tmp_path, Image.fromarray(np.zeros((9, 9), np.uint16))).any()


def png(path, colour, samples, **chunks):
    """A 16-bit PNG file by hand, which Pillow does not write: samples [H, W, C]."""

    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    height, width = samples.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + b"".join(chunk(name.encode(), content) for name, content in chunks.items())
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize(
    ("colour", "channels"), [(2, [0, 1, 2]), (6, [0, 1, 2]), (4, [0, 0, 0])]
)
def test_16_bit_channels(tmp_path, colour, channels):
    # PNG's types of colour: RGB, RGB with alpha, grey with alpha.
    levels = noise(9, 10, {2: 3, 6: 4, 4: 2}[colour])
    if colour != 2:
        levels[..., -1] = 255
    # Samples whose two bytes are one: 257 times what 8 bits show.
    samples = levels.astype(np.uint16) * 257
    path = png(tmp_path / "it.png", colour, samples)
    np.testing.assert_array_equal(image_files.read(path), levels[..., channels])
    assert image_files.encode(path)[24:26] == b"\x08\x02"


@pytest.mark.parametrize("name", ["it.png", "it.tif", "packed.tif"])
def test_12_bit_colours_in_16_bit_channels(tmp_path, name):
    samples = np.linspace(0, 4095, 270).round().astype(np.uint16).reshape(9, 10, 3)
    path = tmp_path / name
    if name == "it.png":
        png(path, 2, samples)
    else:
        compression = "zlib" if name == "packed.tif" else None
        tifffile.imwrite(path, samples, compression=compression, photometric="rgb")
    want = np.round(samples / 4095 * 255).astype(np.uint8)
    np.testing.assert_array_equal(image_files.read(path), want)


def test_16_bit_channels_with_a_transparent_colour(tmp_path):
    # It is said in 16 bits, which Pillow does not compare.
    samples = noise(9, 10, 3).astype(np.uint16) * 257
    path = png(
        tmp_path / "it.png", 2, samples, tRNS=samples[0, 0].astype(">u2").tobytes()
    )
    assert image_files.read(path).shape == (9, 10, 3)


def test_16_bit_colour_tiff(tmp_path):
    levels, path = noise(9, 10, 3), tmp_path / "it.tif"
    tifffile.imwrite(path, levels.astype(np.uint16) * 257, photometric="rgb")
    np.testing.assert_array_equal(image_files.read(path), levels)


def test_float_grey(tmp_path):
    # A float TIFF has no agreed range; levels in 0 to 255 stay what they are.
    levels = np.arange(64, dtype=np.float32).reshape(8, 8) * 4
    read = save(tmp_path, Image.fromarray(levels), "it.tif")
    np.testing.assert_array_equal(read[..., 0], levels.astype(np.uint8))
    # From 0 to 1 they are stretched.
    read = save(tmp_path, Image.fromarray(levels / 255), "it.tif")
    np.testing.assert_array_equal(read[..., 1], levels.astype(np.uint8))
    # What is beyond is cut off.
    levels[0, :4] = np.nan, np.inf, -np.inf, 1e9
    read = save(tmp_path, Image.fromarray(levels), "it.tif")
    assert read[0, :4, 0].tolist() == [0, 255, 0, 255]


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "HSV"])
def test_other_spaces_of_colour(tmp_path, mode):
    # Pillow's own conversion there and back, to a few levels.
    image = Image.new("RGB", (9, 9), (200, 100, 50))
    name = "it.tif" if mode != "HSV" else "it.png"
    if mode == "LAB":
        profiles = (ImageCms.createProfile(name) for name in ("sRGB", "LAB"))
        image = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    elif mode == "YCbCr":
        image = image.convert(mode)
    read = save(tmp_path, image, name).astype(int)
    assert np.abs(read - (200, 100, 50)).max() < 6


@pytest.mark.parametrize("name", ["it.png", "it.jpg"])
def test_very_large_images_are_reduced(tmp_path, monkeypatch, name):
    # A limit of 1000 pixels: 40 x 60 is 2.4 times that, so every second is left.
    monkeypatch.setattr(pixels, "LARGEST", 1000)
    image = Image.fromarray(np.repeat(np.repeat(noise(5, 6, 3), 8, 0), 10, 1))
    read = save(tmp_path, image, name)
    assert read.shape == (20, 30, 3)
    small = np.asarray(image)[::2, ::2].astype(int)
    assert np.abs(read - small).mean() < (1 if name == "it.png" else 8)
    # A decoder that opens the file itself gets the reduced image, too.
    with Image.open(io.BytesIO(image_files.encode(tmp_path / name))) as opened:
        assert opened.size == (30, 20)


def test_an_image_beyond_the_memory_is_one_line(tmp_path):
    # A PNG file that claims 10 million pixels a side, some 1 PB.
    path = tmp_path / "bomb.png"
    Image.new("RGB", (8, 8)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 10_000_000, 10_000_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    path.write_bytes(content)
    with pytest.raises(
        BadInput, match=r"bomb.png: 10000000x10000000 .*save it smaller"
    ):
        image_files.read(path)
