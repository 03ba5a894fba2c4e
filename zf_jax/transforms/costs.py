"""What a plan costs, in multiply-adds and bytes, before anything runs.

A multiply-add is the unit of work. A value that is only touched (added, compared, set
into its surroundings) counts as several, since memory is slower than arithmetic.
"""

import math

import jax
from jax.extend.core import ClosedJaxpr

from zf_jax.transforms.incremental import Plan, Step
from zf_jax.transforms.jaxpr import TracedFunction

# Multiply-adds that touching one value is worth: measured, roughly, on CPUs.
_MEMORY_ACCESS_COST = 8


def multiply_adds(equation) -> int:
    """Of one value of a convolution's or a product's result; 0 for anything else."""
    name, params = equation.primitive.name, equation.params
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        return math.prod(kernel) // kernel[params["dimension_numbers"].rhs_spec[0]]
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    return 0


def of_function(traced: TracedFunction) -> int:
    """The work of a function on one image."""
    return sum(map(of_equation, traced.equations))


def of_equation(equation) -> int:
    """The work of one operation on one image."""
    each = multiply_adds(equation) + _MEMORY_ACCESS_COST
    return _values(equation) * each + _nested(equation)


def of_plan(plan: Plan) -> float:
    """The work of a plan at one position of the occluder."""
    return sum(map(of_step, plan.steps))


def of_step(step: Step) -> float:
    """The work of one operation at one position of the occluder."""
    # A window is computed, and then set into its surroundings.
    touched = _MEMORY_ACCESS_COST if step.window is None else 2 * _MEMORY_ACCESS_COST
    each = multiply_adds(step.equation) + touched
    work = _values(step.equation) * each + _nested(step.equation)
    return share(step) * work


def share(step: Step) -> float:
    """How much of an operation's result is computed at one position."""
    if step.window is None:
        return 1.0
    return math.prod(i.size / i.axis_length for i in step.window.intervals)


def _values(equation) -> int:
    return sum(math.prod(variable.aval.shape) for variable in equation.outvars)


def _nested(equation) -> int:
    """The work of an operation's loops and branches; `while` counts once."""
    found = jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda x: isinstance(x, ClosedJaxpr)
    )
    nested = [each.jaxpr for each in found if isinstance(each, ClosedJaxpr)]
    once = sum(of_equation(inner) for jaxpr in nested for inner in jaxpr.eqns)
    return equation.params.get("length", 1) * once


def peak_bytes(traced: TracedFunction) -> int:
    """Bytes that a function holds at once on one image, roughly."""
    return max((4 * _bytes(e.outvars) for e in traced.equations), default=1)


def peak_bytes_windowed(plan: Plan) -> int:
    """Bytes that one position holds at once within its windows, roughly."""
    # A window, its surroundings, and four times that to be filtered.
    sizes = [6 * share(s) * _bytes(s.equation.outvars) for s in plan.steps if s.window]
    return int(max(sizes, default=1))


def peak_bytes_dense(plan: Plan) -> int:
    """Bytes that one position holds at once behind its windows, roughly."""
    dense = max((4 * _bytes(s.equation.outvars) for s in plan.dense_steps), default=0)
    return dense + _bytes(plan.live)


def _bytes(variables) -> int:
    return sum(v.aval.size * v.aval.dtype.itemsize for v in variables)
