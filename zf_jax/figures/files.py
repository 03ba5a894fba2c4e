"""Figures and arrays as files: whole or not at all."""

import contextlib
import pathlib

import numpy as np
from matplotlib.figure import Figure


@contextlib.contextmanager
def whole(path: pathlib.Path):
    """A file to write beside `path`, moved there when all went well, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".new{path.suffix}")
    try:
        yield fresh
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def save(figure: Figure, path: pathlib.Path, dpi: int = 110) -> pathlib.Path:
    """Writes a figure as PNG."""
    with whole(path) as fresh:
        figure.savefig(fresh, dpi=dpi, bbox_inches="tight", facecolor="white")
    return path


def save_arrays(path: pathlib.Path, **arrays: np.ndarray) -> pathlib.Path:
    """Writes named arrays as .npz."""
    with whole(path) as fresh:
        np.savez_compressed(fresh, **arrays)
    return path
