"""What an occluder changes, operation by operation, and how to read around it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from zf_jax.kernels import prepared_conv
from zf_jax.transforms import jaxpr, rules, windows
from zf_jax.transforms.access import Access
from zf_jax.transforms.context import Context
from zf_jax.transforms.evaluation import Evaluation, Getter
from zf_jax.transforms.jaxpr import TracedFunction
from zf_jax.transforms.reader import Reader
from zf_jax.transforms.windows import Region, Window

Compute = Callable[[Evaluation], list[jax.Array]]


class Planner:
    """Knows which variables change where, as far as the function has been planned.

    Attributes:
      reader: plans what is read of clean values.
    """

    def __init__(self, traced: TracedFunction, platform: str):
        """Begins with nothing changed; platform: cpu, gpu or tpu."""
        self.reader, self._context = (
            Reader(traced.equations),
            Context(traced.equations, traced.indices),
        )
        self._platform = platform
        # By variable: a Window, or None for what is whole; the clean ones are not here.
        self._changes: dict[Any, Window | None] = {}

    def record(self, variables: Iterable, window: Window | None) -> None:
        """Says where variables change; None for anywhere."""
        self._changes.update(dict.fromkeys(variables, window))

    def changes(self, atom) -> bool:
        """Whether a variable changes at all."""
        return not isinstance(atom, Literal) and atom in self._changes

    def window(self, atom) -> Window | None:
        """Where a variable changes; None for what is clean or whole."""
        return None if isinstance(atom, Literal) else self._changes.get(atom)

    def plan(self, equation) -> tuple[Window | None, Compute]:
        """Where an operation's result changes, None for anywhere; what computes it."""
        changed = [atom for atom in equation.invars if self.changes(atom)]
        if all(map(self.window, changed)):
            planned = self._plan_window(equation) or self._plan_sum(equation)
            if planned:
                return planned
        getters = [self.whole(atom) for atom in equation.invars]
        return None, _from_getters(self._bind(equation), getters)

    def _plan_window(self, equation) -> tuple[Window, Compute] | None:
        access = rules.access(equation, self._context)
        window = access and self._result_window(equation, access)
        if not window:
            return None
        regions = dict(zip(window.axes, window.regions, strict=True))
        computed = access.aligned(regions)
        getters = [
            self._operand(atom, relations, computed)
            for atom, relations in zip(equation.invars, access.relations, strict=True)
        ]

        def bind(**changes):
            return self._bind(equation, **changes)

        compute = self.reader.plan(access, equation, regions, bind)
        return window, _from_getters(compute, getters)

    def _result_window(self, equation, access: Access) -> Window | None:
        """The window around what the windows of all operands change."""
        shape, found = equation.outvars[0].aval.shape, []
        for atom, relations in zip(equation.invars, access.relations, strict=True):
            if window := self.window(atom):
                by_axis = {each.axis: each for each in relations}
                if not by_axis.keys() >= {*window.axes}:
                    return None
                pairs = zip(window.axes, window.intervals, strict=True)
                pairs = [(by_axis[axis], interval) for axis, interval in pairs]
                found.append({r.to: r.outputs(i, shape[r.to]) for r, i in pairs})
        axes = tuple(sorted(found[0]))
        if any(each.keys() != found[0].keys() for each in found):
            return None
        intervals = ([each[axis] for each in found] for axis in axes)
        return Window(axes, tuple(map(windows.union, intervals)))

    def _operand(self, atom, relations, regions: dict[int, Region]) -> Getter:
        """What an operand's relations read for regions of the result."""
        wanted = {r.axis: r.inputs(regions[r.to]) for r in relations if r.to in regions}
        fill = relations[0].fill if relations else 0
        if window := self.window(atom):
            return self.read_regions(atom, [wanted[a] for a in window.axes], fill)
        if not wanted:
            return self.reader.value(atom)
        return self.reader.around(atom, tuple(wanted), [*wanted.values()], fill)

    def _plan_sum(self, equation) -> tuple[None, Compute] | None:
        """The sum over all axes of a window: of what changed, and of the rest."""
        if equation.primitive.name != "reduce_sum":
            return None
        atom, bind = equation.invars[0], self._bind(equation)
        window = self.window(atom)
        if not {*window.axes} <= {*equation.params["axes"]}:
            return None
        rest = self.reader.sum_outside(atom, window)

        def compute(evaluation: Evaluation):
            (inside,) = bind(evaluation, [evaluation.values[atom]])
            outside = rest(evaluation).astype(atom.aval.dtype)
            return [inside + bind(evaluation, [outside])[0]]

        return None, compute

    def whole(self, atom) -> Getter:
        """Its value on the whole map."""
        if not self.changes(atom):
            return self.reader.value(atom)
        if self.window(atom) is None:
            return lambda evaluation: evaluation.values[atom]
        return self.read_regions(atom, self._whole_regions(atom))

    def remember_whole(self, evaluation: Evaluation, atom) -> None:
        """Says that a window's value has been set into its whole map."""
        evaluation.cache[_key(atom, self._whole_regions(atom), 0)] = evaluation.values[
            atom
        ]

    def _whole_regions(self, atom) -> list[Region]:
        intervals = self.window(atom).intervals
        return [Region(np.zeros_like(i.low), i.axis_length) for i in intervals]

    def read_regions(self, atom, regions: Sequence[Region], fill=0) -> Getter:
        """Regions of a windowed variable, the window set into its clean values.

        There is one region for each axis of the window; beyond the map lies `fill`.
        """
        window, key = self.window(atom), _key(atom, regions, fill)
        own = window.regions
        if all(map(windows.is_same, own, regions)):
            return lambda evaluation: evaluation.values[atom]
        shape = window.shape_within(atom.aval.shape)
        move = self.reader.mover(shape, window.axes, own, regions)
        inner = [(r.first, r.first + r.size) for r in own]
        mask = self.reader.mask(atom.aval.ndim, window.axes, inner, regions)
        around = self.reader.around(atom, window.axes, regions, fill) if mask else None

        def get(evaluation: Evaluation):
            if key not in evaluation.cache:
                moved = move(evaluation, evaluation.values[atom])
                if mask:
                    moved = jnp.where(mask(evaluation), moved, around(evaluation))
                evaluation.cache[key] = moved
            return evaluation.cache[key]

        return get

    def _bind(self, equation, **changes) -> Callable[..., list[jax.Array]]:
        """Does the operation, parameters changed: (evaluation, values) -> results."""
        is_clean = not self.changes(equation.invars[-1])
        if self._platform == "cpu" and is_clean:
            conv = prepared_conv.cpu_form_or_none(equation, changes.get("padding"))
            if conv:
                return self._bind_prepared(equation.invars[1], conv)
        return lambda _, values: jaxpr.bind(equation, values, **changes)

    def _bind_prepared(self, kernel, conv: prepared_conv.PreparedConv):
        def prepare(clean: dict):
            return conv.prepare(jaxpr.value_of(kernel, clean))

        number = self.reader.preparations.add((kernel, conv.key), prepare)
        return lambda evaluation, values: [
            conv.apply(values[0], evaluation.prepared[number])
        ]

    def occluder(self, image, window: Window) -> Callable:
        """What the occluder's window shows: the fill, and the image at its border.

        It is (evaluation, fill) -> the values of the window of the image's variable.
        """
        regions, reader = window.regions, self.reader
        # Where the border crops the occluder, its window is larger than itself.
        inner = [(i.low, i.high) for i in window.intervals]
        mask = reader.mask(4, window.axes, inner, regions)
        around = reader.around(image, window.axes, regions) if mask else None
        shape = window.shape_within(image.aval.shape)
        starts = {a: r.first for a, r in zip(window.axes, regions, strict=True)}
        cut = reader.cutter(starts, shape)

        def occlude(evaluation: Evaluation, fill):
            if fill.shape == image.aval.shape:
                fill = cut(evaluation, fill)
            fill = jnp.broadcast_to(fill, shape)
            return (
                jnp.where(mask(evaluation), fill, around(evaluation)) if mask else fill
            )

        return occlude


def _from_getters(compute: Callable, getters: list[Getter]) -> Compute:
    return lambda evaluation: compute(evaluation, [get(evaluation) for get in getters])


def _key(atom, regions: Sequence[Region], fill) -> tuple:
    return atom, tuple((r.first.tobytes(), r.size) for r in regions), fill
