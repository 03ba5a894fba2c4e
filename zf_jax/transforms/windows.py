"""Where a change of the image reaches: windows that grow and move with the filters.

Places of a patch are known before anything runs, so that is numpy arithmetic, for all
T places at once. Windows of all places have one size, the smallest that suits all; each
lies within its map.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from zf_jax import geometry


class Region(NamedTuple):
    """A part of an axis, for all places.

    Attributes:
      first: [T] int, where it begins; before 0 is what lies ahead of the map.
      size: entries, of every place's.
    """

    first: np.ndarray
    size: int


class Interval(NamedTuple):
    """What changed along one axis, for all places, and the windows around it.

    Attributes:
      low, high: [T] int, what changed, half open, within the axis.
      length: of the axis.
    """

    low: np.ndarray
    high: np.ndarray
    length: int

    @property
    def size(self) -> int:
        """Of the windows."""
        return max(1, int((self.high - self.low).max()))

    def at(self, places: np.ndarray) -> "Interval":
        """The same for some of the places."""
        return Interval(self.low[places], self.high[places], self.length)

    @property
    def region(self) -> Region:
        """The windows."""
        size = self.size
        return Region(np.clip(self.low, 0, self.length - size), size)


class Window(NamedTuple):
    """Where a value changed: only within a window, along some of its axes."""

    axes: tuple[int, ...]
    spans: tuple[Interval, ...]

    @property
    def regions(self) -> list[Region]:
        """One an axis."""
        return [span.region for span in self.spans]

    def cut(self, shape: Sequence[int]) -> tuple[int, ...]:
        """A shape, less what is outside of the window."""
        shape = list(shape)
        for axis, span in zip(self.axes, self.spans, strict=True):
            shape[axis] = span.size
        return tuple(shape)


def same(one: Region, other: Region) -> bool:
    """Whether two regions are one and the same."""
    return one.size == other.size and np.array_equal(one.first, other.first)


def slide(span: Interval, out: int, size: int, stride: int, before: int) -> Interval:
    """What changes in the output of windows that slide over the axis, `out` of them."""
    low, high = geometry.touched(span.low, span.high, size, stride, before)
    low = np.clip(low, 0, out)
    return Interval(low, np.clip(high, low, out), out)


def below(region: Region, size: int, stride: int, before: int) -> Region:
    """What windows that slide over an axis look at for a region of their output."""
    return Region(region.first * stride - before, (region.size - 1) * stride + size)


def box(spans: Sequence[Interval]) -> Interval:
    """Around the spans of several values of one length."""
    if len(spans) == 1:
        return spans[0]
    length = spans[0].length
    # What did not change at all has its low and high anywhere.
    low = np.min([np.where(s.low < s.high, s.low, length) for s in spans], axis=0)
    high = np.max([np.where(s.low < s.high, s.high, 0) for s in spans], axis=0)
    return Interval(np.minimum(low, high), high, length)


def shift(span: Interval, by: int, length: int) -> Interval:
    """The span on an axis that begins `by` entries earlier and is `length` long."""
    low = np.clip(span.low + by, 0, length)
    return Interval(low, np.clip(span.high + by, low, length), length)
