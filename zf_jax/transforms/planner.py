"""What the rules ask for while they plan: where values change, and how to read them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal

from zf_jax.kernels import prepared_conv
from zf_jax.transforms import jaxpr, rules_sliding, windows
from zf_jax.transforms.clean_reader import CleanReader
from zf_jax.transforms.evaluation import Evaluation, Getter, Offsets, Preparations
from zf_jax.transforms.jaxpr import TracedFunction
from zf_jax.transforms.windows import Region, Window


class Planner:
    """Knows which variables change where, as far as the function has been planned.

    Attributes:
      offsets: what the planned reading needs to know of each position.
      preparations: what it reads that is the same at all positions.
    """

    def __init__(self, traced: TracedFunction, platform: str):
        """Begins with nothing changed; platform: cpu, gpu or tpu."""
        self.offsets, self.preparations = Offsets(), Preparations()
        self._clean = CleanReader(traced.equations, self.offsets, self.preparations)
        self._slices = rules_sliding.slices_of_pools(traced.equations)
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

    def operand(self, equation) -> tuple[Any, Window | None]:
        """The first operand of an operation, and where it changes."""
        return equation.invars[0], self.window(equation.invars[0])

    def slice_starts(self, equation) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest starts of the slices that are one pool's."""
        return self._slices[rules_sliding.pool_of_slice(equation)]

    def read_clean(self, atom) -> Getter:
        """Its value on the clean image."""
        return lambda evaluation: jaxpr.value_of(atom, evaluation.clean)

    def value(self, atom) -> Getter:
        """Its changed value: a window, or whole."""
        return lambda evaluation: evaluation.values[atom]

    def sum_outside(self, atom, window: Window) -> Getter:
        """The sum over the window's axes of a clean value outside of the window."""
        return self._clean.sum_outside(atom, window)

    def whole(self, atom) -> Getter:
        """Its value on the whole map."""
        if not self.changes(atom):
            return self.read_clean(atom)
        if self.window(atom) is None:
            return self.value(atom)
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
        if all(map(windows.is_same, window.regions, regions)):
            return self.value(atom)
        move = self._mover(atom, regions)
        inner = [(r.first, r.first + r.size) for r in window.regions]
        mask = self._clean.mask(atom.aval.ndim, window.axes, inner, regions)
        around = self._clean.around(atom, window.axes, regions, fill) if mask else None

        def get(evaluation: Evaluation):
            if key not in evaluation.cache:
                moved = move(evaluation)
                if mask:
                    moved = jnp.where(mask(evaluation), moved, around(evaluation))
                evaluation.cache[key] = moved
            return evaluation.cache[key]

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

        def get(evaluation: Evaluation):
            value = evaluation.values[atom]
            return cut(evaluation, lax.pad(value, jnp.zeros((), value.dtype), pads))

        return get

    def align_operand(
        self, atom, window: Window, shape: Sequence[int]
    ) -> Getter | None:
        """An operand on the window of an elementwise result of `shape`.

        None for an operand of another shape.
        """
        own = atom.aval.shape
        if self.window(atom):
            return self.read_regions(atom, window.regions)
        if all(own[axis] == 1 for axis in window.axes if own):
            return self.read_clean(atom)
        if any(own[axis] != shape[axis] for axis in window.axes):
            return None
        return self._clean.around(atom, window.axes, window.regions)

    def bind(self, equation, **changes) -> Callable[..., list[jax.Array]]:
        """Does the operation, parameters changed: (evaluation, values) -> results."""
        is_clean = not self.changes(equation.invars[-1])
        if self._platform == "cpu" and is_clean:
            conv = prepared_conv.winograd_or_none(equation, **changes)
            if conv:
                return self._bind_prepared(equation.invars[1], conv)
        return lambda _, values: jaxpr.bind(equation, values, **changes)

    def _bind_prepared(self, kernel, conv: prepared_conv.PreparedConv):
        def prepare(clean: dict):
            return conv.prepare(jaxpr.value_of(kernel, clean))

        number = self.preparations.add((kernel, conv.key), prepare)
        return lambda evaluation, values: [
            conv.apply(values[0], evaluation.prepared[number])
        ]

    def apply(self, equation, window: Window | None, getters, **changes):
        """What a rule gives: the window, and the operation on what the getters give."""
        bind = self.bind(equation, **changes)
        return window, lambda evaluation: bind(
            evaluation, [get(evaluation) for get in getters]
        )

    def occluder(self, image, window: Window) -> Callable:
        """What the occluder's window shows: the fill, and the image at its border.

        It is (evaluation, fill) -> the values of the window of the image's variable.
        """
        regions = window.regions
        # Where the border crops the occluder, its window is larger than itself.
        inner = [(i.low, i.high) for i in window.intervals]
        mask = self._clean.mask(4, window.axes, inner, regions)
        around = self._clean.around(image, window.axes, regions) if mask else None
        shape = window.shape_within(image.aval.shape)
        starts = {a: r.first for a, r in zip(window.axes, regions, strict=True)}
        cut = self._clean.cutter(starts, shape)

        def occlude(evaluation: Evaluation, fill):
            if fill.shape == image.aval.shape:
                fill = cut(evaluation, fill)
            fill = jnp.broadcast_to(fill, shape)
            return (
                jnp.where(mask(evaluation), fill, around(evaluation)) if mask else fill
            )

        return occlude


def _key(atom, regions: Sequence[Region], fill) -> tuple:
    return atom, tuple((r.first.tobytes(), r.size) for r in regions), fill
