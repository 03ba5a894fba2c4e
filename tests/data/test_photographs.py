"""Image files of every kind come out as [H, W, 3] uint8 RGB, or as one clear line."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from zf_jax.data import photographs
from zf_jax.errors import BadInput

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(folder, image, name="it.png", **options):
    image.save(folder / name, **options)
    return photographs.read(folder / name)


def test_rgb_is_read_as_it_is(tmp_path):
    pixels = noise(9, 12, 3)
    read = save(tmp_path, Image.fromarray(pixels))
    np.testing.assert_array_equal(read, pixels)
    assert read.dtype == np.uint8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    upright = noise(8, 12, 3)
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
    read = save(tmp_path, Image.fromarray(stored), exif=exif)
    np.testing.assert_array_equal(read, upright)


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


def test_float_grey(tmp_path):
    # A float TIFF has no agreed range; levels in 0..255 stay what they are.
    levels = np.arange(64, dtype=np.float32).reshape(8, 8) * 4
    read = save(tmp_path, Image.fromarray(levels), "it.tif")
    np.testing.assert_array_equal(read[..., 0], levels.astype(np.uint8))


def test_the_first_picture_of_an_animation(tmp_path):
    first, second = (Image.new("RGB", (9, 9), colour) for colour in (RED, GREEN))
    read = save(
        tmp_path, first, "it.gif", save_all=True, append_images=[second], duration=40
    )
    np.testing.assert_array_equal(read, np.broadcast_to(RED, (9, 9, 3)))


def line(path):
    with pytest.raises(BadInput) as error:
        photographs.read(path)
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
