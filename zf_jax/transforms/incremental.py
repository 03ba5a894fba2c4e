"""Recomputing only what a change of the image changes (Krypton, SIGMOD 2019).

A patch put over an image changes a small part of each map, and all of them alike: a
window that grows and moves with the filters' arithmetic. A function of an image,
traced once to a list of operations, is planned and run:

    Plan    says for every operation where its result changes, for all places of the
            patch: a window of static size, a start for each place. Numpy alone.
    Run     does the operations on the windows of one place, each set into what the
            clean image has around it where an operation looks beyond its window.

What has no rule in `rules.py`, or changes on nearly the whole map, is *whole* from
there on: the window is written into the clean map and computing goes on densely. So any
function works, exactly (up to the order of float sums); those made of filters, pools
and arithmetic are fast.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal

from zf_jax.transforms import filters, jaxpr, rules, windows
from zf_jax.transforms.jaxpr import TracedFunction
from zf_jax.transforms.windows import Interval, Region, Window

# A window that covers this share of its map is not worth its setting in.
_NEARLY = 0.85


class Evaluation(NamedTuple):
    """One place of the patch.

    Attributes:
      clean: values of the clean image by variable.
      kept: what the plan keeps ready of them.
      place: [n] int32, the plan's numbers for this place.
      values: what changed, by variable; windows, or whole.
      made: what was made of them so far.
    """

    clean: dict
    kept: list
    place: jax.Array
    values: dict
    made: dict


Getter = Callable[[Evaluation], jax.Array]


class Step(NamedTuple):
    """One operation, planned.

    Attributes:
      equation: the operation.
      compute: gives its results.
      window: what of them is computed; None for all.
    """

    equation: Any
    compute: Callable[[Evaluation], list[jax.Array]]
    window: Window | None


class Plan:
    """What a patch changes in a function of an image, at all of its places.

    Attributes:
      steps: the operations that change.
      positions: T, of the patch.
      offsets: [T, n] int32, what `windowed` needs to know of each place.
    """

    def __init__(
        self, traced: TracedFunction, rows: Interval, columns: Interval, platform: str
    ):
        """Plans it.

        Args:
          traced: the function.
          rows: what the patch covers of the image's rows, at T places.
          columns: the same of its columns.
          platform: cpu, gpu or tpu: of how filters are computed.
        """
        self._program, self._platform = traced, platform
        self._columns: dict[bytes, int] = {}
        self._numbers: list[np.ndarray] = []
        self._keepers: list[Callable[[dict], Any]] = []
        self._keep_places: dict[tuple, int] = {}
        self._sources = {e.outvars[0]: e for e in traced.equations}
        self._sliced = rules.sliced_together(traced.equations)
        image = Window((1, 2), (rows, columns))
        # By variable: a Window, or None for what is whole; the clean ones are not here.
        self._changes: dict[Any, Window | None] = {traced.image: image}
        self.steps = [
            self._step(equation)
            for equation in traced.equations
            if any(map(self.changes, equation.invars))
        ]
        self._begin = self._patch(image)
        # What comes after the last window is computed for many places at once.
        self._split = 1 + max(
            (
                i
                for i, step in enumerate(self.steps)
                if any(map(self.window, step.equation.invars))
            ),
            default=-1,
        )
        self._live = self._find_live()
        self._seam = [self.whole(atom) for atom in self._live]
        self._results = [self.whole(atom) for atom in traced.results]
        self.positions = len(rows.low)
        self.offsets = np.zeros((self.positions, 0), np.int32)
        if self._numbers:
            self.offsets = np.stack(self._numbers, axis=1).astype(np.int32)

    def _find_live(self) -> list:
        """The variables that the steps behind the windows, or the results, need."""
        before = {self._program.image}
        before |= {o for s in self.steps[: self._split] for o in s.equation.outvars}
        used = [a for s in self.steps[self._split :] for a in s.equation.invars]
        used += self._program.results
        variables = dict.fromkeys(a for a in used if not isinstance(a, Literal))
        return [atom for atom in variables if atom in before and self.changes(atom)]

    @property
    def live(self) -> list:
        """The variables that `windowed` gives and `dense` goes on from."""
        return self._live

    @property
    def dense_steps(self) -> list[Step]:
        """The steps that `dense` does."""
        return self.steps[self._split :]

    # Running.

    def prepare(self, clean: dict) -> list:
        """What the places read of the clean values, padded and prepared once."""
        return [keeper(clean) for keeper in self._keepers]

    def windowed(self, clean, kept, place: jax.Array, fill: jax.Array) -> list:
        """As far as windows reach, at one place.

        Args:
          clean: values of the clean image by variable.
          kept: from `prepare`.
          place: [n], a row of `offsets`.
          fill: [1, H, W, C], what the patch shows of it at its place, or [1, 1, 1, C].

        Returns:
          what `dense` goes on from, [1, ...] arrays.
        """
        run = Evaluation(clean, kept, place, {}, {})
        run.values[self._program.image] = self._begin(run, fill)
        self._do(run, self.steps[: self._split])
        return [get(run) for get in self._seam]

    def dense(self, clean, kept, values: list) -> list:
        """The function's leaves at one place, from what `windowed` gives."""
        run = Evaluation(
            clean, kept, None, dict(zip(self._live, values, strict=True)), {}
        )
        # What was a window has been set into its map.
        for atom in filter(self.window, self._live):
            run.made[_key(atom, self._whole_regions(atom), 0)] = run.values[atom]
        self._do(run, self.steps[self._split :])
        return [get(run) for get in self._results]

    @staticmethod
    def _do(run: Evaluation, steps: list[Step]) -> None:
        for step in steps:
            results = step.compute(run)
            run.values.update(zip(step.equation.outvars, results, strict=True))

    # Planning: what the rules ask for.

    def changes(self, atom) -> bool:
        """Whether a variable changes at all."""
        return not isinstance(atom, Literal) and atom in self._changes

    def window(self, atom) -> Window | None:
        """Where a variable changes; None for what is clean or whole."""
        return None if isinstance(atom, Literal) else self._changes.get(atom)

    def sliced(self, equation) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest starts of the slices that are one pool's."""
        return self._sliced[rules.slices_alike(equation)]

    def clean(self, atom) -> Getter:
        """Its value on the clean image."""
        return lambda run: jaxpr.value_of(atom, run.clean)

    def value(self, atom) -> Getter:
        """Its changed value, as it is."""
        return lambda run: run.values[atom]

    def whole(self, atom) -> Getter:
        """Its value on the whole map."""
        if not self.changes(atom):
            return self.clean(atom)
        if self.window(atom) is None:
            return self.value(atom)
        return self.surrounded(atom, self._whole_regions(atom))

    def _whole_regions(self, atom) -> list[Region]:
        return [Region(np.zeros_like(s.low), s.length) for s in self.window(atom).spans]

    def surrounded(self, atom, regions: Sequence[Region], fill=0) -> Getter:
        """Regions of a windowed variable, the window set into its clean values.

        Args:
          atom: the variable.
          regions: what is wanted, one an axis of its window.
          fill: what lies beyond the map.
        """
        window, key = self.window(atom), _key(atom, regions, fill)
        if all(map(windows.same, window.regions, regions)):
            return self.value(atom)
        move = self._mover(atom, regions)
        inside = self.inside(atom.aval.ndim, window.axes, window.regions, regions)
        around = self.around(atom, window.axes, regions, fill) if inside else None

        def get(run: Evaluation):
            if key not in run.made:
                moved = move(run)
                if inside:
                    moved = jnp.where(inside(run), moved, around(run))
                run.made[key] = moved
            return run.made[key]

        return get

    def inside(self, rank: int, axes, inner: Sequence, outer: Sequence[Region]):
        """Which entries of the outer regions lie in the inner ones; None for all.

        Args:
          rank: of the mask, 1 along the axes that have no regions.
          axes: that have.
          inner: regions, or spans for what changed alone.
          outer: regions.
        """
        bounds = []
        for axis, one, region in zip(axes, inner, outer, strict=True):
            if isinstance(one, Interval):
                low, high = one.low, one.high
            else:
                low, high = one.first, one.first + one.size
            low, high = low - region.first, high - region.first
            if (low > 0).any() or (high < region.size).any():
                here = self._number(low), self._number(high)
                shape = [region.size if i == axis else 1 for i in range(rank)]
                bounds.append((here, shape, axis))
        if not bounds:
            return None

        def mask(run: Evaluation):
            found = None
            for (low, high), shape, axis in bounds:
                entries = lax.broadcasted_iota(jnp.int32, shape, axis)
                here = (entries >= run.place[low]) & (entries < run.place[high])
                found = here if found is None else found & here
            return found

        return mask

    def _mover(self, atom, regions: Sequence[Region]) -> Getter:
        """The window's values where the regions want them, anything elsewhere."""
        window, rank = self.window(atom), atom.aval.ndim
        pads, starts, sizes = [(0, 0, 0)] * rank, {}, list(window.cut(atom.aval.shape))
        for axis, own, region in zip(window.axes, window.regions, regions, strict=True):
            shift = region.first - own.first
            least, most = int(shift.min()), int(shift.max())
            pads[axis] = (-least, most + region.size - own.size, 0)
            starts[axis] = shift - least
            sizes[axis] = region.size
        cut = self._cutter(rank, starts, sizes)

        def get(run: Evaluation):
            value = run.values[atom]
            return cut(run, lax.pad(value, jnp.zeros((), value.dtype), pads))

        return get

    def _cutter(self, rank: int, starts: dict[int, np.ndarray], sizes: Sequence[int]):
        """Cuts `sizes` entries from the [T] starts on, 0 where there are none."""
        numbers = {a: self._number(s) for a, s in starts.items() if s.any()}

        def cut(run: Evaluation, value):
            if not numbers:
                return lax.slice(value, [0] * rank, sizes)
            at = [
                run.place[numbers[axis]] if axis in numbers else jnp.int32(0)
                for axis in range(rank)
            ]
            return lax.dynamic_slice(value, at, sizes)

        return cut

    def around(self, atom, axes, regions: Sequence[Region], fill=0) -> Getter:
        """Regions of a clean value, `fill` beyond its map."""
        made = self._sources.get(atom)
        shape = list(atom.aval.shape)
        sizes = list(shape)
        for axis, region in zip(axes, regions, strict=True):
            sizes[axis] = region.size
        if made is not None and made.primitive.name == "broadcast_in_dim":
            # What is the same along the axes need not be cut out.
            places, source = made.params["broadcast_dimensions"], made.invars[0]
            own = {i for i, n in zip(places, source.aval.shape, strict=True) if n > 1}
            if not own & set(axes):
                get = self.clean(source)
                return lambda run: lax.broadcast_in_dim(get(run), sizes, places)
        pads, starts = [(0, 0, 0)] * len(shape), {}
        for axis, (first, size) in zip(axes, regions, strict=True):
            before = max(0, -int(first.min()))
            after = max(0, int(first.max()) + size - shape[axis])
            pads[axis] = (before, after, 0)
            starts[axis] = first + before
        number = self._keep((atom, tuple(pads), fill), _padder(atom, pads, fill))
        cut = self._cutter(len(shape), starts, sizes)
        return lambda run: cut(run, run.kept[number])

    def outside(self, atom, window: Window) -> Getter:
        """The sum over the window's axes of a clean value outside of the window.

        Added up, not taken off the sum of all, which would lose small values next to
        large ones that the patch covers, and all of them next to infinite ones.
        """
        rank, parts = atom.aval.ndim, []
        for i, (axis, region) in enumerate(
            zip(window.axes, window.regions, strict=True)
        ):
            # Ahead of the window or behind it along this axis, within it along those
            # before, anywhere along those after.
            within, after = window.axes[:i], window.axes[i + 1 :]
            sizes = list(window.cut(atom.aval.shape))
            for each in (axis, *after):
                sizes[each] = 1
            starts = {a: window.regions[j].first for j, a in enumerate(within)}
            for end, back in (
                (region.first, False),
                (region.first + region.size, True),
            ):
                number = self._keep(
                    ("outside", atom, axis, after, back),
                    _running_sum(atom, axis, after, back),
                )
                cut = self._cutter(rank, starts | {axis: end}, sizes)
                parts.append((number, cut, within))

        def get(run: Evaluation):
            return sum(
                cut(run, run.kept[number]).sum(within, keepdims=True)
                for number, cut, within in parts
            )

        return get

    def onto(self, atom, window: Window, shape: Sequence[int]) -> Getter | None:
        """An operand on the window of an elementwise result of `shape`; None if not."""
        own = atom.aval.shape
        if self.window(atom):
            return self.surrounded(atom, window.regions)
        if all(own[axis] == 1 for axis in window.axes if own):
            return self.clean(atom)
        if any(own[axis] != shape[axis] for axis in window.axes):
            return None
        return self.around(atom, window.axes, window.regions)

    def bind(self, equation, **changes) -> Callable[..., list[jax.Array]]:
        """Does the operation: (run, values) -> results."""
        if self._platform == "cpu" and not self.changes(equation.invars[-1]):
            found = filters.as_products(equation, **changes)
            if found:
                number = self._keep(found.key, found.prepare)
                return lambda run, values: [found.apply(values[0], run.kept[number])]
        return lambda _, values: jaxpr.bind(equation, values, **changes)

    def _number(self, array: np.ndarray) -> int:
        """Where in a place's numbers those of an array [T] stand."""
        array = np.ascontiguousarray(array, np.int64)
        key = array.tobytes()
        if key not in self._columns:
            self._columns[key] = len(self._numbers)
            self._numbers.append(array)
        return self._columns[key]

    def _keep(self, key: tuple, keeper: Callable[[dict], Any]) -> int:
        if key not in self._keep_places:
            self._keep_places[key] = len(self._keepers)
            self._keepers.append(keeper)
        return self._keep_places[key]

    # Planning, operation by operation.

    def _step(self, equation) -> Step:
        rule, planned = rules.RULES.get(equation.primitive.name), None
        changed = [atom for atom in equation.invars if self.changes(atom)]
        if rule and all(map(self.window, changed)):
            planned = rule(self, equation)
        if planned is None:
            return self._whole_step(equation)
        window, compute = planned
        for variable in equation.outvars:
            self._changes[variable] = window
        if window:
            done = math.prod(span.size for span in window.spans)
            if done >= _NEARLY * math.prod(span.length for span in window.spans):
                compute = self._made_whole(equation, compute)
        return Step(equation, compute, window)

    def _whole_step(self, equation) -> Step:
        getters, bind = [self.whole(a) for a in equation.invars], self.bind(equation)
        for variable in equation.outvars:
            self._changes[variable] = None

        def compute(run: Evaluation):
            return bind(run, [get(run) for get in getters])

        return Step(equation, compute, None)

    def _made_whole(self, equation, compute):
        """The same step, its results set into their maps."""
        getters = [self.whole(variable) for variable in equation.outvars]
        for variable in equation.outvars:
            self._changes[variable] = None

        def compute_whole(run: Evaluation):
            results = compute(run)
            run.values.update(zip(equation.outvars, results, strict=True))
            return [get(run) for get in getters]

        return compute_whole

    def _patch(self, window: Window):
        """The patch at a place: the fill, and the image where the border crops it."""
        image = self._program.image
        inside = self.inside(4, window.axes, window.spans, window.regions)
        around = self.around(image, window.axes, window.regions) if inside else None
        shape = window.cut(image.aval.shape)
        starts = {a: r.first for a, r in zip(window.axes, window.regions, strict=True)}
        cut = self._cutter(4, starts, shape)

        def begin(run: Evaluation, fill):
            if fill.shape == image.aval.shape:
                fill = cut(run, fill)
            fill = jnp.broadcast_to(fill, shape)
            return jnp.where(inside(run), fill, around(run)) if inside else fill

        return begin


def _key(atom, regions: Sequence[Region], fill) -> tuple:
    return atom, tuple((r.first.tobytes(), r.size) for r in regions), fill


def _padder(atom, pads, fill) -> Callable[[dict], jax.Array]:
    def pad(clean: dict) -> jax.Array:
        value = jaxpr.value_of(atom, clean)
        return lax.pad(value, jnp.asarray(fill, value.dtype), pads)

    return pad


def _running_sum(atom, axis: int, after, back: bool) -> Callable[[dict], jax.Array]:
    """Sums along an axis of what lies ahead of each entry, or from it on if `back`."""

    def add_up(clean: dict) -> jax.Array:
        value = jaxpr.value_of(atom, clean)
        # Sums of half precision would not be those of a whole reduction.
        dtype = jnp.promote_types(value.dtype, jnp.float32)
        exact = jnp.issubdtype(value.dtype, jnp.integer)
        value = value.sum(after, keepdims=True, dtype=value.dtype if exact else dtype)
        pads = [(0, 0, 0)] * value.ndim
        pads[axis] = (0, 1, 0) if back else (1, 0, 0)
        zero = jnp.zeros((), value.dtype)
        return lax.pad(lax.cumsum(value, axis, reverse=back), zero, pads)

    return add_up
