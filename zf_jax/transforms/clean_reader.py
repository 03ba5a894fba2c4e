"""Reads parts of the clean image's values, around windows and outside of them."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax.transforms import jaxpr
from zf_jax.transforms.evaluation import Evaluation, Getter, Offsets, Preparations
from zf_jax.transforms.windows import Region, Window

Bounds = tuple[np.ndarray, np.ndarray]


class CleanReader:
    """Plans the reading of regions; every method gives what reads at one position."""

    def __init__(self, equations, offsets: Offsets, preparations: Preparations):
        self._sources = {e.outvars[0]: e for e in equations}
        self._offsets, self._preparations = offsets, preparations

    def cutter(self, starts: dict[int, np.ndarray], sizes: Sequence[int]):
        """Cuts a part of `sizes` out of a value: (evaluation, value) -> the part.

        It begins at `starts`, [T] by axis; at 0 along axes that have none.
        """
        columns = {a: self._offsets.column(s) for a, s in starts.items() if s.any()}

        def cut(evaluation: Evaluation, value):
            if not columns:
                return lax.slice(value, [0] * len(sizes), sizes)
            at = [
                evaluation.offsets[columns[axis]] if axis in columns else jnp.int32(0)
                for axis in range(len(sizes))
            ]
            return lax.dynamic_slice(value, at, sizes)

        return cut

    def mask(self, rank: int, axes, inner: Sequence[Bounds], outer: Sequence[Region]):
        """Which entries of the outer regions lie within bounds; None where all do.

        The mask has length 1 along all axes but `axes`. Bounds are low and high [T],
        half open.
        """
        bounds = []
        for axis, (low, high), region in zip(axes, inner, outer, strict=True):
            low, high = low - region.first, high - region.first
            if (low > 0).any() or (high < region.size).any():
                columns = self._offsets.column(low), self._offsets.column(high)
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
        """Regions of a clean value, `fill` beyond its border."""
        shape = list(atom.aval.shape)
        sizes = list(shape)
        for axis, region in zip(axes, regions, strict=True):
            sizes[axis] = region.size
        if repeat := self._repeated(atom, axes, sizes):
            return repeat
        pads, starts = [(0, 0, 0)] * len(shape), {}
        for axis, (first, size) in zip(axes, regions, strict=True):
            before = max(0, -int(first.min()))
            after = max(0, int(first.max()) + size - shape[axis])
            pads[axis] = (before, after, 0)
            starts[axis] = first + before
        key = ("padded", atom, tuple(pads), fill)
        number = self._preparations.add(key, _padder(atom, pads, fill))
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
                number = self._preparations.add(
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
