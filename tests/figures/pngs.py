"""What the tests of figures share: a picture that was drawn, and a figure kept."""

import numpy as np
from PIL import Image


def read(path):
    """The picture's [h, w, 3] uint8; raises where the file is not whole."""
    with Image.open(path) as opened:
        assert opened.format == "PNG"
        opened.load()
        return np.asarray(opened.convert("RGB"))


def assert_drawn(path, folder):
    """A PNG of a sane size that shows something, and nothing else in the folder."""
    picture = read(path)
    height, width = picture.shape[:2]
    assert 100 <= height <= 4000
    assert 100 <= width <= 4000
    assert picture.std() > 5
    assert [each for each in folder.rglob("*") if each.is_file()] == [path]
    return picture
