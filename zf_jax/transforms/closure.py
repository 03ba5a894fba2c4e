"""A function's closed-over weights, made arguments.

`jax.jit` bakes the arrays that a function closes over into the compiled program as
constants: a closure over 250 MB of weights is copied, folded and hashed. `hoist` turns
them into arguments, those of nested `jax.jit` calls too (but for calls within a loop or
a branch, `lax.scan`, `lax.cond`).

The function is traced at every call of `hoist`, so that a model which was changed in
place gives the numbers of its new weights. Compiling is what costs: two traces that are
the same program (`program_equality`) give the same `apply`, and compile once.
"""

import collections
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import JaxprEqn

from zf_jax import xla
from zf_jax.transforms import bodies, gates, jaxpr
from zf_jax.transforms.program_equality import same_program, signature

# How many programs are remembered, those used last. They hold no weights.
_MOST_PROGRAMS = 128


class Hoisted(NamedTuple):
    """A pure function and the arrays it closed over.

    Attributes:
      apply: (weights, *arguments) -> what the function gives. One that is shared is to
        be run, not differentiated: it may have the custom derivatives of another
        function that computes the same.
      weights: the arrays, wherever they lie.
      result: ShapeDtypeStructs in the structure of the function's result.
    """

    apply: Callable[..., Any]
    weights: list[jax.Array]
    result: Any


_JITTED = type(jax.jit(lambda: None))  # noqa: TID251 (nothing is compiled)

# (program, apply), by a summary of the program and the structure of its result.
_programs: collections.OrderedDict[tuple, list] = collections.OrderedDict()
_lock = threading.Lock()


def hoist(
    function: Callable[..., Any],
    *examples: jax.ShapeDtypeStruct,
    shared: bool = True,
    differentiated: bool = False,
) -> Hoisted:
    """Takes the arrays that `function` closes over out of it.

    The result of `jax.jit` is taken as the function that was jitted, since JAX keeps
    the weights that a jitted function closed over when it was first traced. Jitted
    functions that it calls are, as ever in JAX, what they were at their first trace.

    Args:
      function: any JAX function of arrays to a pytree.
      *examples: the arguments' shapes and dtypes; `apply` takes no others.
      shared: gives the same `apply` for the same program. If not, or where the weights
        are tracers, `apply` is a new function, which keeps the derivatives of this one
        and is remembered nowhere.
      differentiated: takes care that derivatives are those of the function: one that
        calls functions with custom derivatives, other than JAX's own, is not shared.
    """
    while isinstance(function, _JITTED):
        function = function.__wrapped__

    def fresh(*arguments):
        # JAX remembers what it has traced by the function: this one is always new.
        return function(*arguments)

    # A gate stays one equation, so that it is known for what it is.
    traced, result = jaxpr.inlined(
        fresh, *examples, inline=jaxpr.JIT, keep=gates.is_closed
    )
    program = jaxpr.Program.of(traced.jaxpr)
    is_own = not shared or xla.is_traced(traced.consts)
    is_own = is_own or (differentiated and _has_own_derivatives(program.eqns))
    make = _make_apply if is_own else _shared_apply
    # Rules of gathers look into the indices, so that those stay in the program.
    indices = {i: c for i, c in enumerate(traced.consts) if jaxpr.is_index(c)}
    weights = [c for i, c in enumerate(traced.consts) if i not in indices]
    apply = make(program, indices, jax.tree.structure(result))
    return Hoisted(apply, weights, result)


def _has_own_derivatives(equations: Sequence[JaxprEqn]) -> bool:
    """Whether any has, or one in a jaxpr within: gates are known by their names."""
    return any(
        bodies.has_own_derivative(each)
        or any(
            _has_own_derivatives(body.eqns)
            for body, *_ in bodies.of(each, [True] * len(each.invars))
        )
        for each in equations
        if gates.of(each) is None and not gates.is_straight_through(each)
    )


@functools.partial(xla.jit, static_argnames="apply")
def run(apply: Callable, weights, *arguments):
    """`apply` of a `Hoisted`, compiled: once for the same program."""
    return apply(weights, *arguments)


def _make_apply(program: jaxpr.Program, indices: dict, structure) -> Callable:
    """A function that runs a program, with some of its constants by their number."""

    def apply(weights, *arguments):
        given = iter(weights)
        consts = [
            indices[i] if i in indices else next(given)
            for i in range(len(program.constvars))
        ]
        leaves = jaxpr.evaluate(program, consts, arguments, inline={})
        return jax.tree.unflatten(structure, leaves)

    return apply


def _shared_apply(program: jaxpr.Program, indices: dict, structure) -> Callable:
    """The function that runs a program; the same one for the same program."""
    values = ((i, np.asarray(each)) for i, each in indices.items())
    same = tuple((i, each.shape, each.tobytes()) for i, each in values)
    key = signature(program), structure, same
    with _lock:
        alike = _programs.setdefault(key, [])
        _programs.move_to_end(key)
        for known, apply in alike:
            if same_program(known, program):
                return apply
        apply = _make_apply(program, indices, structure)
        # The oldest of those that differ in a literal alone goes first.
        alike[:] = [*alike[-3:], (program, apply)]
        if len(_programs) > _MOST_PROGRAMS:
            _programs.popitem(last=False)
    return apply
