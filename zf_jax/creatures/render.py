"""Draws many examples on all cores, as PNG files.

Workers are fresh processes that import this module and what it needs, which is but
numpy and Pillow, so they start at once.
"""

import concurrent.futures
import io
import itertools
import multiprocessing
import os
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from zf_jax import processes
from zf_jax.creatures import scenes

# Fewer examples than this are drawn sooner than processes start.
_WORTH_PROCESSES = 512
_CHUNK = 32
# Chunks for each worker that may be under way before the first is asked for: bounds
# the memory when the reader is slower than the drawing.
_AHEAD = 4


class Encoded(NamedTuple):
    """An example whose pictures are PNG files.

    Attributes:
      image: the file of [S, S, 3] uint8.
      mask: the file of [S, S] uint8.
      label: index of the class in `scenes.CLASSES`.
      parts: boxes by name, as in `scenes.Example`.
    """

    image: bytes
    mask: bytes
    label: int
    parts: dict[str, tuple[float, float, float, float]]


def encoded(seed: int, split: str, index: int, size: int) -> Encoded:
    """Draws one example and encodes it; arguments as for `scenes.draw`."""
    example = scenes.draw(seed, split, index, size)
    return Encoded(
        _png(example.image),
        _png(example.mask),
        example.label,
        example.parts,
    )


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    # Runs alone are compressed: textures hardly shrink any further.
    Image.fromarray(image).save(file, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return file.getvalue()


def draw_all(
    seed: int, split: str, count: int, size: int, workers: int | None = None
) -> Iterator[Encoded]:
    """Draws the examples 0 to `count` - 1 of a split, in order.

    Args:
      seed: number of the data set.
      split: one of `scenes.SPLITS`.
      count: how many.
      size: side in pixels.
      workers: processes; one for each core if None. 1 draws in this process.

    Yields:
      The examples.
    """
    workers = workers or os.cpu_count() or 1
    if workers == 1 or count < _WORTH_PROCESSES:
        for index in range(count):
            yield encoded(seed, split, index, size)
        return
    tasks = (
        (seed, split, range(first, min(first + _CHUNK, count)), size)
        for first in range(0, count, _CHUNK)
    )
    # Fresh processes: a fork of one that runs JAX's threads can hang. An executor,
    # for unlike a Pool it raises when its processes die instead of waiting for ever.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers, context, initializer=processes.end_with_parent
    ) as pool:
        with processes.shielded_from_interrupts():
            waiting = [
                pool.submit(_chunk, *task)
                for task in itertools.islice(tasks, _AHEAD * workers)
            ]
        try:
            while waiting:
                done = waiting.pop(0)
                waiting += [
                    pool.submit(_chunk, *task) for task in itertools.islice(tasks, 1)
                ]
                yield from done.result()
        finally:
            for future in waiting:
                future.cancel()


def _chunk(seed: int, split: str, indices: range, size: int) -> list[Encoded]:
    return [encoded(seed, split, index, size) for index in indices]
