"""The upper bound of a unit's own activation passes its seed, as of relu6 and clip.

The seed of a projection is the activation itself (section 2.1). Where a unit is at its
upper bound, the derivative there is zero, and would let nothing of the seed pass.
"""

from collections.abc import Callable

import jax
from jax.extend.core import Literal

from zf_jax.transforms import gates, jaxpr

# These move a value's entries, and change none.
_MOVES = {"copy", "name", "reshape", "squeeze", "transpose"}


def open_own(function: Callable, rule: gates.Rule) -> Callable:
    """The function, with upper bounds of its results that pass all signals.

    Args:
      function: of images to a pytree, with gates (`rectify`) in place of rectifiers. A
        result's bound is one that stands beside its rectifier, the last of all.
      rule: of the gates. With "gradient" bounds keep their derivative.
    """
    if rule == "gradient":
        return function

    def opened(images):
        traced, result = jax.make_jaxpr(function, return_shape=True)(images)
        bounded = _own_bounds(traced.jaxpr)

        def handle(equation, inputs):
            if not bounded.intersection(equation.outvars):
                return None
            (value,) = jaxpr.bind(equation, inputs)
            operand = inputs[equation.invars.index(_bounded(equation))]
            return [gates.straight_through(operand, value)]

        leaves = jaxpr.evaluate(
            traced.jaxpr, traced.consts, [images], handle=handle, inline={}
        )
        return jax.tree.unflatten(jax.tree.structure(result), leaves)

    return opened


def _own_bounds(program) -> set:
    """The results of bounds that stand beside the rectifiers of a program's results."""
    sources = {out: equation for equation in program.eqns for out in equation.outvars}
    found = set()
    for result in program.outvars:
        results, is_rectified, atom = set(), False, result
        while not isinstance(atom, Literal) and atom in sources:
            equation = sources[atom]
            gate = gates.of(equation)
            if gate is not None and gate.window is None and not is_rectified:
                is_rectified, atom = True, equation.invars[0]
            elif _bounded(equation) is not None:
                results.add(atom)
                atom = _bounded(equation)
            elif equation.primitive.name in _MOVES:
                atom = equation.invars[0]
            else:
                break
        if is_rectified:
            found |= results
    return found


def _bounded(equation):
    """The operand of a minimum of an array and a number; None for another equation."""
    arrays = [atom for atom in equation.invars if not isinstance(atom, Literal)]
    is_bound = equation.primitive.name == "min" and len(arrays) == 1
    return arrays[0] if is_bound else None
