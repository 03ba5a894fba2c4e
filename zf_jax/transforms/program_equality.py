"""Whether two traced functions are the same program, whatever weights they hold.

A function that is traced again after its model has changed has new weights, and mostly
the same equations. What was compiled for the equations can then be used again.
"""

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from zf_jax.transforms.jaxpr import Program

# Derivative rules are new objects in every trace. They are not compared, since the
# programs are run and not differentiated.
_DERIVATIVES = {"jvp_jaxpr_fun", "fwd_jaxpr_thunk", "bwd", "out_trees"}


def signature(program: Program) -> tuple:
    """A hashable summary, which equal programs share."""
    variables = [*program.constvars, *program.invars]
    return (
        tuple((v.aval.shape, v.aval.dtype) for v in variables),
        tuple(equation.primitive.name for equation in program.eqns),
    )


def same_program(one: Program | Jaxpr, other: Program | Jaxpr) -> bool:
    """Whether both do the same operations, in the same order, on the same variables.

    Constants count as variables: their shapes and dtypes are compared, not their
    values. Literals, and the constants of jaxprs within loops and branches, are part of
    the program. Rules of custom derivatives are not compared.
    """
    pairs = {}

    def declare(ours, theirs) -> bool:
        pairs.update(zip(ours, theirs, strict=False))
        return [v.aval for v in ours] == [v.aval for v in theirs]

    def alike(ours, theirs) -> bool:
        return len(ours) == len(theirs) and all(map(same_atom, ours, theirs))

    def same_atom(a, b) -> bool:
        if isinstance(a, Literal) or isinstance(b, Literal):
            return type(a) is type(b) and a.aval == b.aval and _equal(a.val, b.val)
        return pairs.get(a) is b

    def same_equation(a, b) -> bool:
        return (
            a.primitive is b.primitive
            and alike(a.invars, b.invars)
            and _same_parameters(a.params, b.params)
            and declare(a.outvars, b.outvars)
        )

    return (
        declare(one.constvars, other.constvars)
        and declare(one.invars, other.invars)
        and len(one.eqns) == len(other.eqns)
        and all(map(same_equation, one.eqns, other.eqns))
        and alike(one.outvars, other.outvars)
    )


def _same_parameters(ours: dict, theirs: dict) -> bool:
    return ours.keys() == theirs.keys() and all(
        _equal(ours[name], theirs[name]) for name in ours.keys() - _DERIVATIVES
    )


def _equal(a, b) -> bool:
    """Whether two parameters of an equation, or two literals, are the same."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, ClosedJaxpr):
        return same_program(a.jaxpr, b.jaxpr) and _equal(list(a.consts), list(b.consts))
    if isinstance(a, Jaxpr):
        return same_program(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, float | np.generic):
        # Bit by bit: NaN equals itself, and 0.0 is not -0.0.
        return np.asarray(a).tobytes() == np.asarray(b).tobytes()
    if hasattr(a, "__array__"):
        same_kind = np.shape(a) == np.shape(b) and a.dtype == b.dtype
        return same_kind and np.asarray(a).tobytes() == np.asarray(b).tobytes()
    return bool(a == b)
