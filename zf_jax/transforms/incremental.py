"""Recomputing only what an occluder changes (Krypton, SIGMOD 2019).

An occluder put over an image changes a small part of each feature map: a window that
grows and moves with the arithmetic of the layers. A function of an image, traced once
to a list of equations, is planned and run:

    Plan        says for every equation where its result changes, for all positions of
                the occluder: a window of static size, and a start for each position.
                Planning is numpy alone.
    Evaluation  does the operations on the windows of one position, each set into what
                the clean image has around it where an operation reads beyond it.

What has no rule in `rules.py`, or changes on nearly the whole map, is *whole* from
there on: the window is written into the clean map and computing goes on densely. So any
function works, exactly (up to the order of float sums); those made of convolutions,
pooling and arithmetic are fast.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal

from zf_jax.kernels import prepared_conv
from zf_jax.transforms import jaxpr, rules, rules_sliding, windows
from zf_jax.transforms.evaluation import Evaluation, Getter, Offsets, Preparations
from zf_jax.transforms.jaxpr import TracedFunction
from zf_jax.transforms.surroundings import Surroundings
from zf_jax.transforms.windows import Interval, Region, Window

# A window that covers this share of its feature map is computed as the whole map.
_NEARLY = 0.85


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
    """What an occluder changes in a function of an image, at all of its positions.

    Attributes:
      steps: the operations whose results change.
      live: the variables that `windowed` gives, and that `dense` goes on from.
      positions: T, of the occluder.
      offsets: [T, n] int32, what `windowed` needs to know of each position.
    """

    def __init__(
        self, traced: TracedFunction, rows: Interval, columns: Interval, platform: str
    ):
        """Plans it.

        Args:
          traced: the function.
          rows: what the occluder covers of the image's rows, at T positions.
          columns: the same of its columns.
          platform: cpu, gpu or tpu: of how convolutions are computed.
        """
        self._traced, self._platform = traced, platform
        offsets, self._preparations = Offsets(), Preparations()
        self._clean = Surroundings(traced.equations, offsets, self._preparations)
        self._slices = rules_sliding.slices_of_pools(traced.equations)
        image = Window((1, 2), (rows, columns))
        # By variable: a Window, or None for what is whole; the clean ones are not here.
        self._changes: dict[Any, Window | None] = {traced.image: image}
        self.steps = [
            self._step(equation)
            for equation in traced.equations
            if any(map(self.changes, equation.invars))
        ]
        self._occlude = self._occluder(image)
        # What comes after the last window is computed for many positions at once.
        reads_window = [any(map(self.window, s.equation.invars)) for s in self.steps]
        self._split = max((i + 1 for i, r in enumerate(reads_window) if r), default=0)
        self.live = self._find_live()
        self._get_live = [self.whole(atom) for atom in self.live]
        self._get_results = [self.whole(atom) for atom in traced.results]
        self.positions = len(rows.low)
        self.offsets = offsets.table(self.positions)

    def _find_live(self) -> list:
        """The variables that the steps behind the windows, or the results, need."""
        before = {self._traced.image}
        before |= {o for s in self.steps[: self._split] for o in s.equation.outvars}
        used = [a for s in self.dense_steps for a in s.equation.invars]
        used += self._traced.results
        variables = dict.fromkeys(a for a in used if not isinstance(a, Literal))
        return [atom for atom in variables if atom in before and self.changes(atom)]

    @property
    def dense_steps(self) -> list[Step]:
        """The steps that `dense` does."""
        return self.steps[self._split :]

    # Running.

    def prepare(self, clean: dict) -> list:
        """What all positions read of the clean values, padded and prepared once."""
        return self._preparations.run(clean)

    def windowed(self, clean, prepared, offsets: jax.Array, fill: jax.Array) -> list:
        """Computes as far as windows reach, at one position.

        Args:
          clean: values of the clean image, by variable.
          prepared: from `prepare`.
          offsets: [n], the position's row of `self.offsets`.
          fill: what the occluder shows: [1, 1, 1, C], or [1, H, W, C], of which it
            shows the part at its position.

        Returns:
          The values of `live`, [1, ...] arrays.
        """
        run = Evaluation(clean, prepared, offsets, {}, {})
        run.values[self._traced.image] = self._occlude(run, fill)
        self._do(run, self.steps[: self._split])
        return [get(run) for get in self._get_live]

    def dense(self, clean, prepared, values: list) -> list:
        """The leaves of the function's result at one position.

        Args:
          clean: values of the clean image, by variable.
          prepared: from `prepare`.
          values: from `windowed`.
        """
        given = dict(zip(self.live, values, strict=True))
        run = Evaluation(clean, prepared, None, given, {})
        # What was a window has been set into its map.
        for atom in filter(self.window, self.live):
            run.cache[_key(atom, self._whole_regions(atom), 0)] = run.values[atom]
        self._do(run, self.dense_steps)
        return [get(run) for get in self._get_results]

    @staticmethod
    def _do(run: Evaluation, steps: list[Step]) -> None:
        for step in steps:
            results = step.compute(run)
            run.values.update(zip(step.equation.outvars, results, strict=True))

    # What the rules ask for.

    def changes(self, atom) -> bool:
        """Whether a variable changes at all."""
        return not isinstance(atom, Literal) and atom in self._changes

    def window(self, atom) -> Window | None:
        """Where a variable changes; None for what is clean or whole."""
        return None if isinstance(atom, Literal) else self._changes.get(atom)

    def operand(self, equation) -> tuple[Any, Window | None]:
        """The first operand of an operation, and where it changes."""
        return equation.invars[0], self.window(equation.invars[0])

    def slice_starts(self, equation) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest starts of the slices that are one pool's."""
        return self._slices[rules_sliding.pool_of_slice(equation)]

    def clean(self, atom) -> Getter:
        """Its value on the clean image."""
        return lambda run: jaxpr.value_of(atom, run.clean)

    def value(self, atom) -> Getter:
        """Its changed value: a window, or whole."""
        return lambda run: run.values[atom]

    def sum_outside(self, atom, window: Window) -> Getter:
        """The sum over the window's axes of a clean value outside of the window."""
        return self._clean.sum_outside(atom, window)

    def whole(self, atom) -> Getter:
        """Its value on the whole map."""
        if not self.changes(atom):
            return self.clean(atom)
        if self.window(atom) is None:
            return self.value(atom)
        return self.surrounded(atom, self._whole_regions(atom))

    def _whole_regions(self, atom) -> list[Region]:
        intervals = self.window(atom).intervals
        return [Region(np.zeros_like(i.low), i.length) for i in intervals]

    def surrounded(self, atom, regions: Sequence[Region], fill=0) -> Getter:
        """Regions of a windowed variable, the window set into its clean values.

        Args:
          atom: the variable.
          regions: what is wanted, one an axis of its window.
          fill: what lies beyond the map.
        """
        window, key = self.window(atom), _key(atom, regions, fill)
        if all(map(windows.is_same, window.regions, regions)):
            return self.value(atom)
        move = self._mover(atom, regions)
        inner = [(r.first, r.first + r.size) for r in window.regions]
        mask = self._clean.mask(atom.aval.ndim, window.axes, inner, regions)
        around = self._clean.around(atom, window.axes, regions, fill) if mask else None

        def get(run: Evaluation):
            if key not in run.cache:
                moved = move(run)
                if mask:
                    moved = jnp.where(mask(run), moved, around(run))
                run.cache[key] = moved
            return run.cache[key]

        return get

    def _mover(self, atom, regions: Sequence[Region]) -> Getter:
        """The window's values where the regions want them, anything elsewhere."""
        window, rank = self.window(atom), atom.aval.ndim
        pads, starts = [(0, 0, 0)] * rank, {}
        sizes = list(window.shape_within(atom.aval.shape))
        for axis, own, region in zip(window.axes, window.regions, regions, strict=True):
            shift = region.first - own.first
            least, most = int(shift.min()), int(shift.max())
            pads[axis] = (-least, most + region.size - own.size, 0)
            starts[axis] = shift - least
            sizes[axis] = region.size
        cut = self._clean.cutter(starts, sizes)

        def get(run: Evaluation):
            value = run.values[atom]
            return cut(run, lax.pad(value, jnp.zeros((), value.dtype), pads))

        return get

    def onto(self, atom, window: Window, shape: Sequence[int]) -> Getter | None:
        """An operand on the window of an elementwise result of `shape`.

        None for an operand of another shape.
        """
        own = atom.aval.shape
        if self.window(atom):
            return self.surrounded(atom, window.regions)
        if all(own[axis] == 1 for axis in window.axes if own):
            return self.clean(atom)
        if any(own[axis] != shape[axis] for axis in window.axes):
            return None
        return self._clean.around(atom, window.axes, window.regions)

    def bind(self, equation, **changes) -> Callable[..., list[jax.Array]]:
        """Does the operation, parameters changed: (evaluation, values) -> results."""
        is_clean = not self.changes(equation.invars[-1])
        if self._platform == "cpu" and is_clean:
            conv = prepared_conv.as_kernel(equation, **changes)
            if conv:
                return self._bind_prepared(equation.invars[1], conv)
        return lambda _, values: jaxpr.bind(equation, values, **changes)

    def _bind_prepared(self, kernel, conv: prepared_conv.PreparedConv):
        def prepare(clean: dict):
            return conv.prepare(jaxpr.value_of(kernel, clean))

        number = self._preparations.add((kernel, conv.key), prepare)
        return lambda run, values: [conv.apply(values[0], run.prepared[number])]

    def apply(self, equation, window: Window | None, getters, **changes):
        """What a rule gives: the window, and the operation on what the getters give."""
        bind = self.bind(equation, **changes)
        return window, lambda run: bind(run, [get(run) for get in getters])

    # Planning, operation by operation.

    def _step(self, equation) -> Step:
        rule, planned = rules.RULES.get(equation.primitive.name), None
        changed = [atom for atom in equation.invars if self.changes(atom)]
        if rule and all(map(self.window, changed)):
            planned = rule(self, equation)
        if planned is None:
            planned = self.apply(
                equation, None, [self.whole(a) for a in equation.invars]
            )
        window, compute = planned
        self._changes.update(dict.fromkeys(equation.outvars, window))
        if window:
            computed = math.prod(i.size for i in window.intervals)
            if computed >= _NEARLY * math.prod(i.length for i in window.intervals):
                compute = self._made_whole(equation, compute)
        return Step(equation, compute, window)

    def _made_whole(self, equation, compute):
        """The same step, its results set into their maps."""
        getters = [self.whole(variable) for variable in equation.outvars]
        self._changes.update(dict.fromkeys(equation.outvars))

        def compute_whole(run: Evaluation):
            results = compute(run)
            run.values.update(zip(equation.outvars, results, strict=True))
            return [get(run) for get in getters]

        return compute_whole

    def _occluder(self, window: Window):
        """What the occluder's window shows: the fill, and the image at its border."""
        image, regions = self._traced.image, window.regions
        # Where the border crops the occluder, its window is larger than itself.
        inner = [(i.low, i.high) for i in window.intervals]
        mask = self._clean.mask(4, window.axes, inner, regions)
        around = self._clean.around(image, window.axes, regions) if mask else None
        shape = window.shape_within(image.aval.shape)
        starts = {a: r.first for a, r in zip(window.axes, regions, strict=True)}
        cut = self._clean.cutter(starts, shape)

        def occlude(run: Evaluation, fill):
            if fill.shape == image.aval.shape:
                fill = cut(run, fill)
            fill = jnp.broadcast_to(fill, shape)
            return jnp.where(mask(run), fill, around(run)) if mask else fill

        return occlude


def _key(atom, regions: Sequence[Region], fill) -> tuple:
    return atom, tuple((r.first.tobytes(), r.size) for r in regions), fill
