"""Where a change of the image reaches: windows that grow and move with the layers.

The positions of an occluder are known before anything runs, so this is numpy arithmetic
on all T positions at once. The windows of all positions have one size, the smallest
that suits all; each lies within its feature map.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Region(NamedTuple):
    """A part of an axis, at all positions.

    Attributes:
      first: [T] int, where it begins; below 0 is padding ahead of the feature map.
      size: entries, the same at every position.
    """

    first: np.ndarray
    size: int


class Interval(NamedTuple):
    """What changed along one axis, at all positions.

    Attributes:
      low, high: [T] int, what changed, half open, within the axis.
      axis_length: of the axis.
    """

    low: np.ndarray
    high: np.ndarray
    axis_length: int

    @property
    def size(self) -> int:
        """Entries of the window around it, the same at every position."""
        return max(1, int((self.high - self.low).max()))

    @property
    def region(self) -> Region:
        """The window around it."""
        size = self.size
        return Region(np.clip(self.low, 0, self.axis_length - size), size)


class Window(NamedTuple):
    """Where a value changed: within one interval along each of some axes."""

    axes: tuple[int, ...]
    intervals: tuple[Interval, ...]

    @property
    def regions(self) -> list[Region]:
        """One an axis."""
        return [interval.region for interval in self.intervals]

    def shape_within(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of the part of an array of `shape` that the window is."""
        shape = list(shape)
        for axis, interval in zip(self.axes, self.intervals, strict=True):
            shape[axis] = interval.size
        return tuple(shape)


def is_same(one: Region, other: Region) -> bool:
    """Whether two regions are one and the same."""
    return one.size == other.size and np.array_equal(one.first, other.first)


def union(intervals: Sequence[Interval]) -> Interval:
    """The smallest interval around several of one length."""
    if len(intervals) == 1:
        return intervals[0]
    length = intervals[0].axis_length
    # Where nothing changed, low and high are equal but may stand anywhere.
    low = [np.where(i.low < i.high, i.low, length) for i in intervals]
    high = [np.where(i.low < i.high, i.high, 0) for i in intervals]
    low, high = np.min(low, axis=0), np.max(high, axis=0)
    return Interval(np.minimum(low, high), high, length)
