"""The positions of the occluding square: a grid over the image (fig. 7)."""

import math
from typing import NamedTuple

import numpy as np

from zf_jax.errors import BadInput
from zf_jax.layers import Pair, pair
from zf_jax.transforms.windows import Interval


class Grid(NamedTuple):
    """The positions of the occluding square.

    Attributes:
      rows: row of each square's top edge, pixels.
      columns: column of each square's left edge, pixels.
      side: rows and columns of the square.
    """

    rows: range
    columns: range
    side: Pair

    @property
    def shape(self) -> Pair:
        """Rows and columns of the grid."""
        return len(self.rows), len(self.columns)

    @property
    def count(self) -> int:
        """How many positions there are."""
        return math.prod(self.shape)

    def covered(self, shape: Pair) -> tuple[Interval, Interval]:
        """The image's rows, and columns, under each square, position by position.

        Positions go row by row. The border crops the last squares.
        """
        starts = np.meshgrid(self.rows, self.columns, indexing="ij")
        lows = [np.minimum(s.ravel(), n) for s, n in zip(starts, shape, strict=True)]
        rows, columns = (
            Interval(low, np.minimum(low + side, length), length)
            for low, side, length in zip(lows, self.side, shape, strict=True)
        )
        return rows, columns


def grid(shape: Pair, side: int | Pair, stride: int | Pair) -> Grid:
    """The squares' positions over an image of `shape` (rows, columns).

    Raises:
      BadInput: side or stride below 1, or larger than the image (a stride only where
        there is more than one position).
    """
    side, stride = pair(side), pair(stride)
    if min(side) < 1 or min(stride) < 1:
        raise BadInput(f"side {side}, stride {stride}: both start at 1 pixel")
    for n, s, t in zip(shape, side, stride, strict=True):
        if s > n or t > n > s:
            raise BadInput(
                f"side {side}, stride {stride}: larger than the image of "
                f"{shape[0]}x{shape[1]} pixels"
            )
    rows, columns = (
        range(0, math.ceil((n - s) / t) * t + 1, t)
        for n, s, t in zip(shape, side, stride, strict=True)
    )
    return Grid(rows, columns, side)
