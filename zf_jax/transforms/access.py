"""How an operation's result reads its operands, axis by axis.

One description of an operation serves two transforms, which read it in two directions:

    incremental   which entries of the result change when entries of an operand do
    crop          which entries of an operand some entries of the result need

A relation ties an axis of an operand to an axis of the result: `Slide` for whatever
slides, stretches or stays, `Reversal`, and `Table` for what looks entries up. An axis
without a relation is read, or changes, as a whole.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from zf_jax import geometry
from zf_jax.transforms.windows import Interval, Region


class Slide(NamedTuple):
    """A filter slides: entry i of the result reads the entries under it.

    The operand's entries lie `dilation` apart. The filter covers `size` of the places
    from `i * stride - before` on. What it reads beyond the border is `fill`.
    """

    axis: int
    to: int
    size: int = 1
    stride: int = 1
    before: int = 0
    dilation: int = 1
    fill: float = 0

    def outputs(self, changed: Interval, length: int) -> Interval:
        """Which entries of the result's axis, of `length`, read what changed."""
        low, high = changed.low * self.dilation, (changed.high - 1) * self.dilation + 1
        low, high = geometry.windows_overlapping(
            low, high, self.size, self.stride, self.before
        )
        low = np.clip(low, 0, length)
        return Interval(low, np.clip(high, low, length), length)

    def inputs(self, region: Region) -> Region:
        """What a region of the result reads; it may reach beyond the operand."""
        first = region.first * self.stride - self.before
        end = first + (region.size - 1) * self.stride + self.size
        first, end = -(-first // self.dilation), (end - 1) // self.dilation + 1
        return Region(first, int((end - first).max()))


class Reversal(NamedTuple):
    """Entry i of the result is entry `length - 1 - i` of the operand."""

    axis: int
    to: int
    length: int
    fill: float = 0

    def outputs(self, changed: Interval, length: int) -> Interval:
        """As of `Slide`."""
        return Interval(length - changed.high, length - changed.low, length)

    def inputs(self, region: Region) -> Region:
        """As of `Slide`."""
        return Region(self.length - region.first - region.size, region.size)


class Table(NamedTuple):
    """Entry i of the result reads the entries from `low[i]` to `high[i]` (half open).

    Attributes:
      axis: of the operand.
      to: axis of the result.
      low, high: [n] int, of all entries of the result.
      fill: what lies beyond the operand's border.
    """

    axis: int
    to: int
    low: np.ndarray
    high: np.ndarray
    fill: float = 0

    def outputs(self, changed: Interval, length: int) -> Interval:
        """As of `Slide`."""
        reads = (self.low < changed.high[:, None]) & (self.high > changed.low[:, None])
        reads &= self.low < self.high
        first, last = reads.argmax(axis=1), length - reads[:, ::-1].argmax(axis=1)
        some = reads.any(axis=1)
        return Interval(np.where(some, first, 0), np.where(some, last, 0), length)

    def inputs(self, region: Region) -> Region:
        """As of `Slide`."""
        entries = region.first[:, None] + np.arange(region.size)
        entries = entries.clip(0, len(self.low) - 1)
        first, end = self.low[entries].min(axis=1), self.high[entries].max(axis=1)
        return Region(first, max(1, int((end - first).max())))


Relation = Slide | Reversal | Table
Regions = Mapping[int, Region]


class Access(NamedTuple):
    """How an operation reads its operands.

    Attributes:
      relations: of each operand, at most one for each of its axes.
      params: {axis: entries} of the result's axes that are computed in part -> the
        operation's parameters that change.
      free: axes of the result that no operand has, and that can be computed in part.
      align: {axis: (divisor, remainder)} of the result's axes whose parts can begin at
        some entries only.
      plan: where it takes more than other parameters: (reader, regions of the result,
        bind) -> what computes them, (evaluation, values of the operands) -> results.
    """

    relations: tuple[tuple[Relation, ...], ...]
    params: Callable[[Mapping[int, int]], dict] = lambda sizes: {}
    free: tuple[int, ...] = ()
    align: Mapping[int, tuple[int, int]] = {}
    plan: Callable | None = None

    @property
    def axes(self) -> set[int]:
        """The axes of the result that can be computed in part."""
        return {each.to for of_one in self.relations for each in of_one} | {*self.free}

    def aligned(self, regions: Regions) -> dict[int, Region]:
        """The regions around `regions` that the operation can compute."""
        return {
            axis: _aligned(region, *self.align[axis]) if axis in self.align else region
            for axis, region in regions.items()
        }

    def planned(self, reader, regions: Regions, bind: Callable):
        """What computes aligned regions: (evaluation, operands' values) -> results.

        `bind` takes changed parameters, and gives the like for the operation itself.
        """
        if self.plan:
            return self.plan(reader, regions, bind)
        return bind(**self.params({axis: r.size for axis, r in regions.items()}))


def _aligned(region: Region, divisor: int, remainder: int) -> Region:
    beyond = (region.first - remainder) % divisor
    parts = -(-(region.size + int(beyond.max())) // divisor)
    return Region(region.first - beyond, parts * divisor)
