"""What a plan costs, in multiply-adds, before anything runs.

A multiply-add is the unit; a value that is only touched (added, compared, set into its
surroundings) counts as several, since memory is slower than arithmetic.
"""

import math
from typing import NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr

from zf_jax.transforms.incremental import Plan, Step
from zf_jax.transforms.jaxpr import TracedFunction
from zf_jax.transforms.windows import Interval

# Multiply-adds that touching one value is worth: measured, roughly, on CPUs.
_TOUCH = 8
# Multiply-adds that a group of places must save to be worth compiling for itself, some
# two seconds of work.
_WORTH = {"cpu": 4e10}
_WORTH_ACCELERATOR = 1e13
_MOST_GROUPS = 6
# Kinds of rows, and of columns, that are told apart.
_KINDS = 8


def multiply_adds(equation) -> int:
    """Of one value of a filter's or a product's result; 0 for anything else."""
    name, params = equation.primitive.name, equation.params
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        return math.prod(kernel) // kernel[params["dimension_numbers"].rhs_spec[0]]
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    return 0


def _values(equation) -> int:
    return sum(math.prod(variable.aval.shape) for variable in equation.outvars)


def of_function(traced: TracedFunction) -> int:
    """Of the function on one image."""
    return sum(map(of_equation, traced.equations))


def of_equation(equation) -> int:
    """Of one operation on one image."""
    return _values(equation) * (multiply_adds(equation) + _TOUCH) + _inside(equation)


def _inside(equation) -> int:
    """Of what an operation does in a loop or a branch; `while` counts once."""
    found = jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda x: isinstance(x, ClosedJaxpr)
    )
    nested = [each.jaxpr for each in found if isinstance(each, ClosedJaxpr)]
    once = sum(of_equation(inner) for jaxpr in nested for inner in jaxpr.eqns)
    return equation.params.get("length", 1) * once


def of_plan(plan: Plan) -> float:
    """Of one place."""
    return sum(map(of_step, plan.steps))


def of_step(step: Step) -> float:
    """Of one operation at one place."""
    return share(step) * _of_windowed(step)


def _of_windowed(step: Step) -> int:
    # A window is computed, and set into its surroundings.
    touched = _TOUCH if step.window is None else 2 * _TOUCH
    each = multiply_adds(step.equation) + touched
    return _values(step.equation) * each + _inside(step.equation)


def share(step: Step) -> float:
    """How much of an operation a place computes."""
    if step.window is None:
        return 1.0
    return math.prod(span.size / span.length for span in step.window.spans)


def largest_value(traced: TracedFunction) -> int:
    """Bytes that the function holds at once on one image, roughly."""
    return max((4 * _bytes(e) for e in traced.equations), default=1)


def largest(plan: Plan) -> int:
    """Bytes that a place holds at once within its windows, roughly."""
    # A window, its surroundings, and four times that to be filtered.
    sizes = [6 * share(s) * _bytes(s.equation) for s in plan.steps if s.window]
    return int(max(sizes, default=1))


def largest_behind(plan: Plan) -> int:
    """Bytes that a place holds at once behind its windows, roughly."""
    done = max((4 * _bytes(step.equation) for step in plan.behind), default=0)
    return done + _size(plan.live)


def _bytes(equation) -> int:
    return _size(equation.outvars)


def _size(variables) -> int:
    return sum(v.aval.size * v.aval.dtype.itemsize for v in variables)


class _Profile(NamedTuple):
    """How large the windows of some places are, step by step.

    Attributes:
      rows, columns: [E] entries.
      places: which of them, numbers.
    """

    rows: np.ndarray
    columns: np.ndarray
    places: np.ndarray


def groups(plan: Plan, platform: str) -> list[np.ndarray]:
    """Splits the places of a plan into groups that are better planned by themselves.

    Windows are as large as the largest of their group's, and those at the border or of
    another alignment are smaller. Places that need much alike come together, for as
    long as a group of their own would not pay for its compilation.

    Returns:
      the places' numbers, group by group.
    """
    steps = [s for s in plan.steps if s.window and len(s.window.spans) == 2]
    places = np.arange(len(plan.numbers))
    if not steps:
        return [places]
    sizes = np.array([[_sizes(span) for span in s.window.spans] for s in steps], float)
    lengths = [math.prod(span.length for span in step.window.spans) for step in steps]
    unit = np.array([_of_windowed(step) for step in steps]) / np.array(lengths)
    # Axis by axis first: of many rows and columns there are a few kinds.
    for axis in (0, 1):
        for profile in _joined(_alike(sizes, [axis]), unit, _KINDS):
            sizes[:, axis, profile.places] = profile[axis][:, None]
    worth = _WORTH.get(platform, _WORTH_ACCELERATOR)
    found = _joined(_alike(sizes, [0, 1]), unit, _MOST_GROUPS, worth)
    return [np.sort(profile.places) for profile in found]


def _sizes(span: Interval) -> np.ndarray:
    return np.maximum(span.high - span.low, 1)


def _alike(sizes: np.ndarray, axes: list[int]) -> list[_Profile]:
    """The places by what sizes [E, 2, T] they have along the axes."""
    other = np.broadcast_to(sizes.mean(axis=2, keepdims=True), sizes.shape)
    sizes = np.where(np.isin([0, 1], axes)[:, None], sizes, other)
    profiles, kinds = np.unique(
        sizes.reshape(-1, sizes.shape[2]), axis=1, return_inverse=True
    )
    profiles = profiles.reshape(*sizes.shape[:2], -1)
    return [
        _Profile(*profiles[:, :, kind].T, np.flatnonzero(kinds.ravel() == kind))
        for kind in range(profiles.shape[2])
    ]


def _joined(
    found: list[_Profile], unit: np.ndarray, most: int, worth: float = 0.0
) -> list[_Profile]:
    """Joins what costs least to be joined, to `most` that are each worth having."""

    def cost(rows, columns, places):
        return (unit * rows * columns).sum(-1) * places

    while len(found) > 1:
        rows, columns = (np.stack([p[axis] for p in found]) for axis in (0, 1))
        counts = np.array([len(p.places) for p in found])
        own = cost(rows, columns, counts)
        together = cost(
            np.maximum(rows[:, None], rows),
            np.maximum(columns[:, None], columns),
            counts[:, None] + counts,
        )
        more = together - own[:, None] - own
        np.fill_diagonal(more, np.inf)
        i, j = np.unravel_index(more.argmin(), more.shape)
        if len(found) <= most and more[i, j] > worth:
            break
        joined = _Profile(
            np.maximum(rows[i], rows[j]),
            np.maximum(columns[i], columns[j]),
            np.concatenate([found[i].places, found[j].places]),
        )
        found = [p for k, p in enumerate(found) if k not in (i, j)] + [joined]
    return found


def window_sizes(step: Step) -> tuple[int, ...]:
    """Of a step's window, axis by axis; none where it is whole."""
    return tuple(span.size for span in step.window.spans) if step.window else ()
