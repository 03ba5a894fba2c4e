"""Figures of matplotlib, kept in place of being written."""

import pytest
from matplotlib.figure import Figure

from zf_jax import io


@pytest.fixture
def kept(monkeypatch):
    """The list of the figures that would have been written."""
    figures: list[Figure] = []
    monkeypatch.setattr(io, "save", lambda figure, path, **_: figures.append(figure))
    return figures
