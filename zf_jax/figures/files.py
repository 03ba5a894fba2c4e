"""Figures and arrays as files: whole or not at all."""

import pathlib

import numpy as np
from matplotlib.figure import Figure


def save(figure: Figure, path: pathlib.Path, dpi: int = 110) -> pathlib.Path:
    """Writes the figure beside `path` and moves it there, so no half file is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new.png")
    figure.savefig(fresh, dpi=dpi, bbox_inches="tight", facecolor="white")
    return fresh.replace(path)


def save_arrays(path: pathlib.Path, **arrays: np.ndarray) -> pathlib.Path:
    """Writes named arrays as .npz, in the same way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new.npz")
    np.savez_compressed(fresh, **arrays)
    return fresh.replace(path)
