"""Captions on pictures."""

import numpy as np
import pytest

from zf_jax.figures import text


def test_a_caption_shrinks_to_its_room():
    sheet = np.full((40, 300, 3), 255, np.uint8)

    def extent(room):
        captions = [text.Caption("some words of a caption", 150, 20, room, 16)]
        columns = np.flatnonzero((text.write(sheet, captions) < 255).any(axis=(0, 2)))
        return columns.max() - columns.min()

    width = text.width("some words of a caption", 16)
    assert extent(300) == pytest.approx(width, abs=4)
    assert extent(120) <= 120


def test_the_end_of_a_long_name():
    assert text.end("block0/relu", 11) == "block0/relu"
    assert text.end("layers/block0/relu", 11) == "…lock0/relu"


def test_number():
    assert text.number(26123.4) == "26,123"
    assert text.number(0.12345) == "0.123"
