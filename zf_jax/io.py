"""Figures and arrays as files: whole or not at all."""

import contextlib
import errno
import json
import pathlib
import shutil

import numpy as np
from matplotlib.figure import Figure
from PIL import Image


@contextlib.contextmanager
def atomic_write(path: pathlib.Path):
    """A file to write beside `path`, moved there when all went well, else removed.

    Raises:
      OSError: it cannot be written; names `path`, as a full disk's error does not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".new{path.suffix}")
    try:
        yield fresh
        fresh.replace(path)
    except OSError as error:
        if error.filename is not None:
            raise
        reason = error.strerror or str(error)
        raise OSError(error.errno or errno.EIO, reason, str(path)) from error
    finally:
        fresh.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: pathlib.Path):
    """A folder to fill beside `path`, which takes its place when all went well.

    What was at `path` stays as it is until then. What a killed run left beside it is
    removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh, former = (path.with_name(f".{path.name}.{end}") for end in ("new", "old"))
    if former.exists() and not path.exists():
        # A run was killed between the two moves below.
        former.replace(path)
    for left in (fresh, former):
        shutil.rmtree(left, ignore_errors=True)
    fresh.mkdir()
    try:
        yield fresh
        if path.exists():
            path.replace(former)
        try:
            fresh.replace(path)
        except OSError:
            if former.exists():
                former.replace(path)
            raise
    finally:
        for left in (fresh, former):
            shutil.rmtree(left, ignore_errors=True)


def save(figure: Figure, path: pathlib.Path, dpi: int = 110) -> pathlib.Path:
    """Writes a figure as PNG."""
    with atomic_write(path) as fresh:
        figure.savefig(fresh, dpi=dpi, bbox_inches="tight", facecolor="white")
    return path


def save_picture(picture: np.ndarray, path: pathlib.Path) -> pathlib.Path:
    """Writes a picture [h, w, 3] uint8 as PNG, pixel by pixel."""
    with atomic_write(path) as fresh:
        # More takes longer than drawing, and saves some 5 % of a page of projections.
        Image.fromarray(picture).save(fresh, compress_level=1)
    return path


# Compressing more takes longer than drawing, and saves little of what is noise.
_LARGE = 32 << 20


def save_arrays(path: pathlib.Path, **arrays: np.ndarray) -> pathlib.Path:
    """Writes named arrays as .npz, compressed where they are not large."""
    large = sum(np.asarray(array).nbytes for array in arrays.values()) > _LARGE
    with atomic_write(path) as fresh:
        (np.savez if large else np.savez_compressed)(fresh, **arrays)
    return path


def save_json(path: pathlib.Path, found: dict) -> pathlib.Path:
    """Writes figures as JSON text; there is no NaN in it."""
    text = json.dumps(found, indent=2, allow_nan=False) + "\n"
    with atomic_write(path) as fresh:
        fresh.write_text(text)
    return path
