"""Reads parts of arrays at positions that are known when the program runs.

Every method plans a reading, and gives what does it at one position: a function of the
`Evaluation`.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax.transforms import jaxpr, windows
from zf_jax.transforms.evaluation import Evaluation, Getter, Offsets, Preparations
from zf_jax.transforms.windows import Region, Window

Bounds = tuple[np.ndarray, np.ndarray]


class Reader:
    """Plans the reading of regions.

    Attributes:
      offsets: what the planned reading needs to know of each position.
      preparations: what it reads that is the same at all positions.
    """

    def __init__(self, equations):
        self.offsets, self.preparations = Offsets(), Preparations()
        self._sources = {e.outvars[0]: e for e in equations}

    def column(self, array: np.ndarray) -> int:
        """The number of an offset, [T] int, in an evaluation's `offsets`."""
        return self.offsets.column(array)

    def value(self, atom) -> Getter:
        """A value that is the same at all positions."""
        return lambda evaluation: jaxpr.value_of(atom, evaluation.clean)

    def cutter(self, starts: dict[int, np.ndarray], sizes: Sequence[int]):
        """Cuts a part of `sizes` out of a value: (evaluation, value) -> the part.

        It begins at `starts`, [T] by axis; at 0 along axes that have none.
        """
        fixed = [0] * len(sizes)
        for axis, start in starts.items():
            if (start == start[0]).all():
                fixed[axis] = int(start[0])
        moving = {
            axis: self.column(start)
            for axis, start in starts.items()
            if (start != start[0]).any()
        }
        ends = [start + size for start, size in zip(fixed, sizes, strict=True)]

        def cut(evaluation: Evaluation, value):
            if not moving:
                return lax.slice(value, fixed, ends)
            at = [
                evaluation.offsets[moving[axis]] if axis in moving else jnp.int32(first)
                for axis, first in enumerate(fixed)
            ]
            return lax.dynamic_slice(value, at, sizes)

        return cut

    def mover(
        self,
        shape: Sequence[int],
        axes: Sequence[int],
        own: Sequence[Region],
        wanted: Sequence[Region],
        fill: float = 0,
    ):
        """Goes from one region of a value to another: (evaluation, part) -> part.

        Args:
          shape: of the part.
          axes: those that have regions.
          own: the regions of the part.
          wanted: those that are to be read.
          fill: what lies where `wanted` reaches beyond `own`.
        """
        pads, starts, sizes = [(0, 0, 0)] * len(shape), {}, list(shape)
        for axis, region, target in zip(axes, own, wanted, strict=True):
            shift = target.first - region.first
            # A part that lies elsewhere altogether is not padded to reach there.
            shift = shift.clip(-target.size, region.size)
            least, most = min(0, int(shift.min())), int(shift.max())
            pads[axis] = (-least, max(0, most + target.size - region.size), 0)
            starts[axis] = shift - least
            sizes[axis] = target.size
        cut = self.cutter(starts, sizes)

        def move(evaluation: Evaluation, value):
            if any(map(any, pads)):
                value = lax.pad(value, jnp.asarray(fill, value.dtype), pads)
            return cut(evaluation, value)

        return move

    def mask(self, rank: int, axes, inner: Sequence[Bounds], outer: Sequence[Region]):
        """Which entries of the outer regions lie within bounds; None where all do.

        The mask has length 1 along all axes but `axes`. Bounds are low and high [T],
        half open.
        """
        bounds = []
        for axis, (low, high), region in zip(axes, inner, outer, strict=True):
            low, high = low - region.first, high - region.first
            if (low > 0).any() or (high < region.size).any():
                columns = self.column(low), self.column(high)
                shape = [region.size if i == axis else 1 for i in range(rank)]
                bounds.append((columns, shape, axis))
        if not bounds:
            return None

        def mask(evaluation: Evaluation):
            found = None
            for (low, high), shape, axis in bounds:
                entries = lax.broadcasted_iota(jnp.int32, shape, axis)
                here = (entries >= evaluation.offsets[low]) & (
                    entries < evaluation.offsets[high]
                )
                found = here if found is None else found & here
            return found

        return mask

    def around(self, atom, axes, regions: Sequence[Region], fill=0) -> Getter:
        """Regions of a value that is the same at all positions, `fill` beyond it."""
        shape = list(atom.aval.shape)
        sizes = list(shape)
        by_axis = list(zip(axes, regions, strict=True))
        for axis, region in by_axis:
            sizes[axis] = region.size
        if repeat := self._repeated(atom, axes, sizes):
            # As with any value, what lies beyond it is `fill`.
            bounds = [(0 * r.first, 0 * r.first + shape[a]) for a, r in by_axis]
            mask = self.mask(len(shape), axes, bounds, regions)
            return _masked(repeat, mask, fill) if mask else repeat
        pads, starts = [(0, 0, 0)] * len(shape), {}
        for axis, (first, size) in by_axis:
            # What lies beyond the value altogether is `fill`, however far.
            first = first.clip(-size, shape[axis])
            before = max(0, -int(first.min()))
            after = max(0, int(first.max()) + size - shape[axis])
            pads[axis] = (before, after, 0)
            starts[axis] = first + before
        key = ("padded", atom, tuple(pads), fill)
        number = self.preparations.add(key, _padder(atom, pads, fill))
        cut = self.cutter(starts, sizes)
        return lambda evaluation: cut(evaluation, evaluation.prepared[number])

    def _repeated(self, atom, axes, sizes) -> Getter | None:
        """For a value that is the same all along the axes: it need not be cut out."""
        made = self._sources.get(atom)
        if made is None or made.primitive.name != "broadcast_in_dim":
            return None
        dimensions, source = made.params["broadcast_dimensions"], made.invars[0]
        lengths = zip(dimensions, source.aval.shape, strict=True)
        if {axis for axis, length in lengths if length > 1} & set(axes):
            return None

        def repeat(evaluation: Evaluation):
            value = jaxpr.value_of(source, evaluation.clean)
            return lax.broadcast_in_dim(value, sizes, dimensions)

        return repeat

    def sum_outside(self, atom, window: Window) -> Getter:
        """The sum over the window's axes of a clean value outside of the window.

        Added up, not taken off the sum of all, which would lose small values next to
        large ones that the occluder covers, and all of them next to infinite ones.
        """
        parts, regions = [], window.regions
        for i, (axis, region) in enumerate(zip(window.axes, regions, strict=True)):
            # Ahead of the window or behind it along this axis, within it along those
            # before, anywhere along those after.
            within, after = window.axes[:i], window.axes[i + 1 :]
            sizes = list(window.shape_within(atom.aval.shape))
            for each in (axis, *after):
                sizes[each] = 1
            starts = {a: regions[j].first for j, a in enumerate(within)}
            ends = (region.first, False), (region.first + region.size, True)
            for end, is_behind in ends:
                number = self.preparations.add(
                    ("running sum", atom, axis, after, is_behind),
                    _running_sum(atom, axis, after, is_behind),
                )
                cut = self.cutter(starts | {axis: end}, sizes)
                parts.append((number, cut, within))

        def get(evaluation: Evaluation):
            return sum(
                cut(evaluation, evaluation.prepared[number]).sum(within, keepdims=True)
                for number, cut, within in parts
            )

        return get

    def plan(self, access, equation, regions: Mapping[int, Region], bind):
        """What computes regions of an equation's result.

        Args:
          access: how the equation reads its operands.
          equation: it.
          regions: of the result, by axis.
          bind: as `Access.planned` takes it.

        Returns:
          (evaluation, the operands for `access.aligned(regions)`) -> the results.
        """
        computed = access.aligned(regions)
        do = access.planned(self, computed, bind)
        cut = None
        if any(not windows.is_same(computed[a], regions[a]) for a in regions):
            shape = list(equation.outvars[0].aval.shape)
            for axis, region in computed.items():
                shape[axis] = region.size
            own, wanted = ([part[a] for a in regions] for part in (computed, regions))
            cut = self.mover(shape, list(regions), own, wanted)

        def compute(evaluation: Evaluation, values: list):
            results = do(evaluation, values)
            return [cut(evaluation, each) for each in results] if cut else results

        return compute


def _masked(get: Getter, mask, fill) -> Getter:
    def masked(evaluation: Evaluation) -> jax.Array:
        value = get(evaluation)
        return jnp.where(mask(evaluation), value, jnp.asarray(fill, value.dtype))

    return masked


def _padder(atom, pads, fill) -> Callable[[dict], jax.Array]:
    def pad(clean: dict) -> jax.Array:
        value = jaxpr.value_of(atom, clean)
        return lax.pad(value, jnp.asarray(fill, value.dtype), pads)

    return pad


def _running_sum(atom, axis: int, after, is_behind: bool):
    """Sums along an axis: ahead of each entry, or from it on if `is_behind`."""

    def add_up(clean: dict) -> jax.Array:
        value = jaxpr.value_of(atom, clean)
        # Sums of half precision would not be those of a whole reduction.
        dtype = jnp.promote_types(value.dtype, jnp.float32)
        is_exact = jnp.issubdtype(value.dtype, jnp.integer)
        dtype = value.dtype if is_exact else dtype
        value = value.sum(after, keepdims=True, dtype=dtype)
        pads = [(0, 0, 0)] * value.ndim
        pads[axis] = (0, 1, 0) if is_behind else (1, 0, 0)
        zero = jnp.zeros((), value.dtype)
        return lax.pad(lax.cumsum(value, axis, reverse=is_behind), zero, pads)

    return add_up
