"""One example: read, decoded and cut, or marked as damaged."""

import contextlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from zf_jax.data import crops, decoding, sources
from zf_jax.data.sources import Source


class Example(NamedTuple):
    """An image, or black in place of what could not be read; or a batch of them.

    Attributes:
      image: [..., H, W, 3] uint8, cut.
      label: its class; 0 where it could not be read.
      index: in the split.
      valid: whether it could be read.
    """

    image: np.ndarray
    label: np.int32
    index: np.int64
    valid: np.bool


def read(
    examples: Sequence[dict],
    index: int,
    cut: Callable[[np.ndarray], np.ndarray],
    black: np.ndarray,
    *,
    short_side: int | None = None,
) -> Example:
    """Reads and cuts an image, wherever that is done: nothing is raised.

    Args:
      examples: of TFDS, encoded or not.
      index: which of them; beyond the last there is no image.
      cut: makes a crop of the image [H, W, 3].
      black: stands for a crop where there is none, or a damaged one.
      short_side: of `decoding.decode`.
    """
    if index < len(examples):
        # Damaged files make decoders fail in every way there is.
        with contextlib.suppress(Exception):
            image, label = decode(examples, index, short_side)
            image = np.ascontiguousarray(cut(image))
            return Example(image, label, np.int64(index), np.True_)
    return Example(black, np.int32(0), np.int64(index), np.False_)


def decode(
    examples: Sequence[dict], index: int, short_side: int | None = None
) -> tuple[np.ndarray, np.int32]:
    """The image [H, W, 3] uint8 RGB and the label of an example.

    Args:
      examples: of TFDS, encoded or not.
      index: which of them.
      short_side: of `decoding.decode`.

    Raises:
      Exception: of any type, where it is damaged.
    """
    example = examples[int(index)]
    image = example["image"]
    if isinstance(image, bytes):
        image = decoding.decode(image, short_side=short_side)
    return crops.to_rgb(image), np.int32(example["label"])


def reason(source: Source, index: int) -> str:
    """Why an image cannot be read: found by reading it again, as it happens rarely."""
    try:
        decode(sources.encoded(source.examples), index)
    except Exception as error:
        return line(error)
    return "it could be read only the second time, or not be cut"


def line(error: Exception) -> str:
    """An error's message in one line; its type if it has none."""
    return " ".join(str(error).split())[:200] or type(error).__name__
