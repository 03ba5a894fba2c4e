"""Recomputing only what an occluder changes (Krypton, SIGMOD 2019).

An occluder put over an image changes a small part of each feature map: a window that
grows and moves with the arithmetic of the layers. A function of an image, traced once
to a list of equations, is planned and run:

    Plan        says for every equation where its result changes, for all positions of
                the occluder: a window of static size, and a start for each position.
                Planning is numpy alone.
    Evaluation  does the operations on the windows of one position, each set into what
                the clean image has around it where an operation reads beyond it.

What has no rule (`rules.py`), or changes on nearly the whole map, is *whole* from
there on: the window is written into the clean map and computing goes on densely. So any
function works, exactly (up to the order of float sums); those made of convolutions,
pooling and arithmetic are fast.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal

from zf_jax.transforms.evaluation import Evaluation
from zf_jax.transforms.jaxpr import TracedFunction
from zf_jax.transforms.planner import Planner
from zf_jax.transforms.windows import Interval, Window

# A window that covers this share of its feature map is computed as the whole map.
_DENSE_FRACTION = 0.85


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
        """Plans it for an occluder that covers `rows` and `columns` at T positions.

        The platform, cpu, gpu or tpu, tells how convolutions are computed.
        """
        self._traced, self._planner = traced, Planner(traced, platform)
        planner, image = self._planner, Window((1, 2), (rows, columns))
        planner.record([traced.image], image)
        self.steps = [
            _step(planner, equation)
            for equation in traced.equations
            if any(map(planner.changes, equation.invars))
        ]
        self._occlude = planner.occluder(traced.image, image)
        # What comes after the last window is computed for many positions at once.
        reads_window = [any(map(planner.window, s.equation.invars)) for s in self.steps]
        self._split = max((i + 1 for i, r in enumerate(reads_window) if r), default=0)
        self.live = self._find_live()
        self._get_live = [planner.whole(atom) for atom in self.live]
        self._get_results = [planner.whole(atom) for atom in traced.results]
        self.positions = len(rows.low)
        self.offsets = planner.reader.offsets.table(self.positions)

    def _find_live(self) -> list:
        """The variables that the steps behind the windows, or the results, need."""
        before = {self._traced.image}
        before |= {o for s in self.steps[: self._split] for o in s.equation.outvars}
        used = [a for s in self.dense_steps for a in s.equation.invars]
        used += self._traced.results
        variables = dict.fromkeys(a for a in used if not isinstance(a, Literal))
        return [
            atom for atom in variables if atom in before and self._planner.changes(atom)
        ]

    @property
    def dense_steps(self) -> list[Step]:
        """The steps that `dense` does."""
        return self.steps[self._split :]

    def prepare(self, clean: dict) -> list:
        """What all positions read of the clean values, padded and prepared once."""
        return self._planner.reader.preparations.run(clean)

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
        evaluation = Evaluation(clean, prepared, offsets, {}, {})
        evaluation.values[self._traced.image] = self._occlude(evaluation, fill)
        self._do(evaluation, self.steps[: self._split])
        return [get(evaluation) for get in self._get_live]

    def dense(self, clean, prepared, values: list) -> list:
        """The leaves of the function's result at one position, from `windowed`'s."""
        given = dict(zip(self.live, values, strict=True))
        evaluation = Evaluation(clean, prepared, None, given, {})
        # What was a window has been set into its map.
        for atom in filter(self._planner.window, self.live):
            self._planner.remember_whole(evaluation, atom)
        self._do(evaluation, self.dense_steps)
        return [get(evaluation) for get in self._get_results]

    @staticmethod
    def _do(evaluation: Evaluation, steps: list[Step]) -> None:
        for step in steps:
            results = step.compute(evaluation)
            evaluation.values.update(zip(step.equation.outvars, results, strict=True))


def _step(planner: Planner, equation) -> Step:
    """Plans one operation, densely where its window is nearly the whole map."""
    window, compute = planner.plan(equation)
    planner.record(equation.outvars, window)
    if window:
        computed = math.prod(i.size for i in window.intervals)
        if computed >= _DENSE_FRACTION * math.prod(
            i.axis_length for i in window.intervals
        ):
            compute = _made_whole(planner, equation, compute)
    return Step(equation, compute, window)


def _made_whole(planner: Planner, equation, compute):
    """The same step, its results set into their maps."""
    getters = [planner.whole(variable) for variable in equation.outvars]
    planner.record(equation.outvars, None)

    def compute_whole(evaluation: Evaluation):
        results = compute(evaluation)
        evaluation.values.update(zip(equation.outvars, results, strict=True))
        return [get(evaluation) for get in getters]

    return compute_whole
