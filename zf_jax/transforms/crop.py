"""Computing only what one unit sees: its receptive field, borders included.

A function of an image is traced once. From a unit of a hidden value back to the image,
`crop_regions` finds the part of every value that the unit needs, for all positions of
the unit at once: a region of static size, and where it begins. It may reach beyond the
border of its map; what an operation reads there is padding, as on the whole image. An
operation without a rule (`rules.py`), or one that needs all of its map, is computed
as a whole.

The backward pass reads little of the forward pass: the switches of pools, where
rectifiers are open, and the operands of other nonlinear operations. These *saved*
values come from the crop of the image (`Crop.forward`), or are cut out of those of the
whole image (`Crop.cut`), so that all units of an image share its forward pass. Then
`Crop.backward` gives the pixels. These methods are for one unit, and batched by
`jax.vmap`.
"""

import functools
import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from zf_jax.transforms import costs, crop_regions, gates, jaxpr
from zf_jax.transforms.context import Context
from zf_jax.transforms.crop_steps import Step, StepPlanner, whole_region
from zf_jax.transforms.evaluation import Evaluation
from zf_jax.transforms.jaxpr import TracedFunction
from zf_jax.transforms.reader import Reader
from zf_jax.transforms.saved import Key, PoolPart, Saved
from zf_jax.transforms.windows import Region


class Crop:
    """What a unit of a hidden value needs of a function of an image.

    Attributes:
      positions: (rows, columns) of the hidden value; (1, 1) of a vector.
      channels: how many it has.
      size: rows and columns of the image that a unit sees, the image's at most.
      saved: what the backward pass may read of the forward pass.
      offsets: [rows * columns, n] int32, what reading needs to know of each position.
        The argument `offsets` of methods is one of its rows, which `index` finds.
    """

    def __init__(self, traced: TracedFunction, result, platform: str):
        """Plans it for `result`, a variable [1, h, w, C] or [1, D] of the function.

        The platform, cpu, gpu or tpu, tells how convolutions are computed.
        """
        self._traced, self._result = traced, result
        self._equations = jaxpr.needed_equations(traced.equations, [result])
        self._numbers = {id(e): n for n, e in enumerate(traced.equations)}
        self._dependent = crop_regions.dependent_variables(
            self._equations, traced.image
        )
        self._reader = Reader(traced.equations)
        *_, self.channels = shape = result.aval.shape
        self.positions = shape[1:3] if len(shape) == 4 else (1, 1)
        at = np.unravel_index(np.arange(math.prod(self.positions)), self.positions)
        axes = (1, 2) if len(shape) == 4 else ()
        self._unit = {axis: Region(at[axis - 1], 1) for axis in axes}
        needs = crop_regions.find(
            self._equations,
            Context(traced.equations, traced.indices),
            result=result,
            unit=self._unit,
            image=traced.image,
            dependent=self._dependent,
        )
        self._regions = needs.regions
        planner = StepPlanner(
            self._reader, needs, self._numbers, self._dependent, platform
        )
        depending = [e for e in self._equations if self._depends(e)]
        self._steps = planner.steps(depending, result)
        self.saved = [each for step in self._steps for each in step.saved]
        self._cutters = {each.key: self._cutter(each) for each in self.saved}
        for each in self.saved:
            for region in each.regions.values() if each.gate else ():
                self._reader.column(region.first)
        self._get_result = planner.read(result, self._unit, 0)
        image, whole = self._regions[traced.image], traced.image.aval.shape
        image = {a: image.get(a) or whole_region(at[0], whole[a]) for a in (1, 2)}
        self.size = image[1].size, image[2].size
        self._firsts = np.stack([image[1].first, image[2].first], axis=1)
        self.offsets = self._reader.offsets.table(len(at[0]))

    def index(self, positions: np.ndarray) -> np.ndarray:
        """Where positions [N, 2] stand in `offsets`, [N] int; 0 for a vector's."""
        rows, columns = self.positions
        return positions[:, 0].clip(0, rows - 1) * columns + positions[:, 1].clip(
            0, columns - 1
        )

    def firsts(self, positions: np.ndarray) -> np.ndarray:
        """First pixels (row, column) that units see, [N, 2]; beyond the border too."""
        return self._firsts[self.index(positions)]

    def _depends(self, equation) -> bool:
        return any(out in self._dependent for out in equation.outvars)

    def _cutter(self, saved: Saved):
        shape = saved.whole.shape
        have = [whole_region(r.first, shape[a]) for a, r in saved.regions.items()]
        return self._reader.mover(
            shape,
            tuple(saved.regions),
            have,
            [*saved.regions.values()],
            saved.fill,
        )

    def prepare(self, weights: Sequence) -> tuple[dict, list]:
        """What all units read that does not depend on the image."""
        given = [*self._traced.constants, *weights]
        clean = dict(zip(self._traced.inputs[:-1], given, strict=True))
        jaxpr.run([e for e in self._equations if not self._depends(e)], clean)
        return clean, self._reader.preparations.run(clean)

    def pools(self, offsets: jax.Array) -> list[PoolPart]:
        """The pools with switches, for a unit's position."""
        found = []
        for each in self.saved:
            if each.gate is None or each.gate.window is None:
                continue
            equation = self._traced.equations[each.key[0]]
            whole, shape = equation.invars[0].aval.shape, each.part.shape
            gate = gates.in_part(each.gate, each.regions)
            starts, operand = [], list(whole)
            windows = zip(*each.gate.window, strict=True)
            for axis, (size, stride, (before, _)) in enumerate(windows):
                first = 0
                if axis in each.regions:
                    first = offsets[self._reader.column(each.regions[axis].first)]
                    operand[axis] = (shape[axis] - 1) * stride + size
                starts.append((first + jnp.arange(shape[axis])) * stride - before)
            found.append(
                PoolPart(each.key, gate, shape, tuple(operand), tuple(starts), whole)
            )
        return found

    def cut(self, whole: Mapping[Key, jax.Array], offsets: jax.Array) -> dict:
        """A unit's part of the saved values of the whole image."""
        evaluation = Evaluation({}, [], offsets, {}, {})
        return {key: self._cutters[key](evaluation, whole[key]) for key in whole}

    def forward(self, prepared, crop: jax.Array, offsets: jax.Array) -> tuple:
        """Computes a unit from the image that it sees.

        Args:
          prepared: from `prepare`.
          crop: [1, *size, C], the image's part; anything beyond its border.
          offsets: of the unit's position.

        Returns:
          The saved values by key, and all channels [C] at the unit's position.
        """
        evaluation, found = self._evaluation(prepared, crop, offsets), {}
        for step in self._steps:
            values = [get(evaluation) for get in step.getters]
            keys = (each.key for each in step.saved)
            found.update(zip(keys, step.save(values), strict=True))
            _set(evaluation, step, step.compute(evaluation, values))
        return found, self._get_result(evaluation).reshape(-1)

    def backward(self, prepared, saved: Mapping, offsets, seed: jax.Array) -> jax.Array:
        """The pixels [*size, C] of a seed [C] at the unit's position.

        Args:
          prepared: from `prepare`.
          saved: of the unit, from `cut` or `forward`; those of `reads` at least.
          offsets: of the unit's position.
          seed: what each channel passes down.
        """

        def transposed(crop):
            evaluation = self._evaluation(prepared, crop, offsets)
            for step in self._steps:
                values = [get(evaluation) for get in step.getters]
                known = [
                    # What `reads` has not plays no part.
                    saved.get(e.key, jnp.zeros(e.part.shape, e.part.dtype))
                    for e in step.saved
                ]
                _set(evaluation, step, step.transposed(evaluation, values, known))
            return self._get_result(evaluation)

        image = self._traced.image.aval
        empty = jnp.zeros((1, *self.size, image.shape[-1]), image.dtype)
        result, pull = jax.vjp(transposed, empty)
        (pixels,) = pull(seed.reshape(result.shape).astype(result.dtype))
        return pixels[0]

    def _evaluation(self, prepared, crop, offsets) -> Evaluation:
        clean, read = prepared
        return Evaluation(clean, read, offsets, {self._traced.image: crop}, {})

    @functools.cached_property
    def reads(self) -> frozenset[Key]:
        """The saved values that the backward pass does read."""
        first = len(self._traced.constants)
        weights = [_abstract(v) for v in self._traced.inputs[first:-1]]
        offsets = jax.ShapeDtypeStruct(self.offsets.shape[1:], self.offsets.dtype)
        seed = jax.ShapeDtypeStruct((self.channels,), self._result.aval.dtype)
        parts = [each.part for each in self.saved]

        def pixels(parts, weights, offsets, seed):
            keys = (each.key for each in self.saved)
            saved = dict(zip(keys, parts, strict=True))
            return self.backward(self.prepare(weights), saved, offsets, seed)

        traced, _ = jaxpr.inlined(pixels, parts, weights, offsets, seed)
        live = jaxpr.live_equations(traced.jaxpr)
        used = {a for e in live for a in e.invars if not isinstance(a, Literal)}
        variables = traced.jaxpr.invars[: len(parts)]
        pairs = zip(self.saved, variables, strict=True)
        return frozenset(each.key for each, variable in pairs if variable in used)

    def forward_work(self, *, whole: bool) -> float:
        """What a forward pass for `reads` costs (`costs`), of a unit or of an image."""
        numbers = {number for number, _ in self.reads}
        atoms = [a for n in numbers for a in self._traced.equations[n].invars]
        equations = jaxpr.needed_equations(self._equations, atoms)
        return sum(
            costs.of_equation(e) * (1.0 if whole else self._share(e))
            for e in equations
            if self._depends(e)
        )

    def bytes(self) -> float:
        """Bytes of all values that depend on the image, for one unit."""
        return sum(
            self._share(e) * out.aval.size * out.aval.dtype.itemsize
            for e in self._equations
            if self._depends(e)
            for out in e.outvars
        )

    def _share(self, equation) -> float:
        """How much of an operation's result a unit needs."""
        out = equation.outvars[0]
        regions = self._regions[out].items()
        return math.prod(r.size / out.aval.shape[axis] for axis, r in regions)


def _set(evaluation: Evaluation, step: Step, results: Sequence) -> None:
    evaluation.values.update(zip(step.equation.outvars, results, strict=True))


def _abstract(variable) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(variable.aval.shape, variable.aval.dtype)
