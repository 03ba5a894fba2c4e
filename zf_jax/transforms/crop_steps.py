"""The operations that one unit needs, each on the parts of its operands."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal

from zf_jax.ops import pooling
from zf_jax.transforms import cpu_forms, crop_regions, gates, jaxpr, linearity
from zf_jax.transforms.crop_regions import Needs, Regions
from zf_jax.transforms.evaluation import Evaluation, Getter
from zf_jax.transforms.reader import Reader
from zf_jax.transforms.saved import Saved
from zf_jax.transforms.windows import Region


class Step(NamedTuple):
    """An operation on the parts of its operands.

    Attributes:
      equation: the operation.
      getters: what reads its operands.
      compute: (evaluation, operands) -> results.
      saved: the values that its transpose reads.
      save: operands -> them.
      transposed: (evaluation, operands, saved values) -> results of which the
        derivative alone counts.
    """

    equation: Any
    getters: list[Getter]
    compute: Callable
    saved: list[Saved]
    save: Callable
    transposed: Callable


class StepPlanner:
    """Plans operations, by what a unit needs of their results."""

    def __init__(
        self,
        reader: Reader,
        needs: Needs,
        numbers: dict[int, int],
        dependent: Collection,
        platform: str,
    ):
        """Begins with what is known of the program.

        Args:
          reader: plans what is read.
          needs: of the unit.
          numbers: of the program's equations, by their `id`.
          dependent: the variables that depend on the image.
          platform: cpu, gpu or tpu.
        """
        self._reader, self._needs, self._numbers = reader, needs, numbers
        self._dependent, self._platform = dependent, platform

    def steps(self, equations: Sequence[JaxprEqn], result) -> list[Step]:
        """The steps of equations that depend on the image, towards `result`."""
        own = _own_rectifier(equations, result)
        return [self._plan_open(e) if e is own else self._plan(e) for e in equations]

    def _plan_open(self, equation) -> Step:
        """The unit's own rectifier: its seed passes, whatever the rule."""
        step = self._plan(equation)
        return step._replace(
            saved=[], save=lambda _: (), transposed=lambda _, values, saved: values
        )

    def _plan(self, equation) -> Step:
        out = equation.outvars[0]
        part, access = self._needs.regions[out], self._needs.accesses.get(out)
        computed = access.aligned(part) if access else {}
        getters, wanted = [], []
        for number, atom in enumerate(equation.invars):
            relations = access.relations[number] if access else ()
            fill = relations[0].fill if relations else 0
            read = crop_regions.inputs(relations, computed, out.aval.shape)
            wanted.append((read, fill))
            getters.append(self.read(atom, *wanted[-1]))
        if gate := gates.of(equation):
            return self._plan_gate(equation, gate, getters, part)

        def bind(**changes):
            if gates.is_straight_through(equation):
                # Its jaxpr is for the whole map.
                return lambda _, values: [gates.straight_through(*values)]
            padding = changes.get("padding")
            if conv := cpu_forms.depthwise_or_none(equation, self._platform, padding):
                return lambda _, values: [
                    conv.apply(values[0], conv.prepare(values[1]))
                ]
            return lambda _, values: jaxpr.bind(equation, values, **changes)

        compute = bind()
        if access:
            compute = self._reader.plan(access, equation, part, bind)
        operands = linearity.nonlinear_operands(equation, self._dependent)
        saved = [self._operand(equation, n, *wanted[n]) for n in operands]

        def transposed(evaluation, values, known):
            values = list(values)
            for number, value in zip(operands, known, strict=True):
                values[number] = _at(values[number], value)
            return compute(evaluation, values)

        def save(values):
            return [values[number] for number in operands]

        return Step(equation, getters, compute, saved, save, transposed)

    def _operand(self, equation, number: int, regions: Regions, fill) -> Saved:
        aval = equation.invars[number].aval
        return Saved(
            (self._numbers[id(equation)], number),
            lambda values: values[number],
            jax.ShapeDtypeStruct(aval.shape, aval.dtype),
            regions,
            fill,
            None,
        )

    def _plan_gate(self, equation, gate: gates.Gate, getters, part: Regions) -> Step:
        aval, in_part = equation.invars[0].aval, gates.in_part(gate, part)
        shapes = jax.eval_shape(gate.save, jax.ShapeDtypeStruct(aval.shape, aval.dtype))
        saved = [
            Saved(
                (self._numbers[id(equation)], number),
                lambda values, number=number: gate.save(values[0])[number],
                shape,
                part,
                pooling.NOWHERE if gate.window else False,
                gate,
            )
            for number, shape in enumerate(shapes)
        ]
        return Step(
            equation,
            getters,
            lambda _, values: [in_part.value(values[0])],
            saved,
            lambda values: in_part.save(values[0]),
            lambda _, values, known: [in_part.linear(values[0], tuple(known))],
        )

    def read(self, atom, wanted: Regions, fill) -> Getter:
        """What reads regions of a value; beyond its border lies `fill`."""
        if isinstance(atom, Literal) or atom not in self._dependent:
            if not wanted:
                return self._reader.value(atom)
            return self._reader.around(atom, tuple(wanted), [*wanted.values()], fill)
        if not wanted:
            return lambda evaluation: evaluation.values[atom]
        own, shape = self._needs.regions[atom], atom.aval.shape
        part = [own[a].size if a in own else n for a, n in enumerate(shape)]
        have = [
            own.get(axis) or whole_region(region.first, shape[axis])
            for axis, region in wanted.items()
        ]
        move = self._reader.mover(part, tuple(wanted), have, [*wanted.values()], fill)
        # What a crop holds beyond the border of its map is anything.
        masked = {axis: region for axis, region in wanted.items() if axis in own}
        bounds = [(0 * r.first, 0 * r.first + shape[a]) for a, r in masked.items()]
        mask = self._reader.mask(len(shape), masked, bounds, [*masked.values()])

        def get(evaluation: Evaluation):
            value = move(evaluation, evaluation.values[atom])
            if mask:
                value = jnp.where(
                    mask(evaluation), value, jnp.asarray(fill, value.dtype)
                )
            return value

        return get


def _own_rectifier(equations, result):
    """The equation of the rectifier that gives the hidden value; None without one."""
    sources = {out: e for e in equations for out in e.outvars}
    while (source := sources.get(result)) is not None:
        if (gate := gates.of(source)) and gate.window is None:
            return source
        is_passed = source.primitive.name in ("name", "transpose", "reshape", "copy")
        if not is_passed and not gates.is_straight_through(source):
            return None
        result = source.invars[0]
    return None


def whole_region(like: np.ndarray, length: int) -> Region:
    """All of an axis, at as many positions as `like` has."""
    return Region(np.zeros_like(like), length)


@jax.custom_jvp
def _at(x: jax.Array, known: jax.Array) -> jax.Array:
    """The known value, with x's derivative."""
    return known


_at.defjvp(lambda primals, tangents: (primals[1], tangents[0]))
