"""The interpreter of jaxprs, which every transform in this folder is built on.

A transform runs the jaxpr of a function with `evaluate`, and a handler that takes the
equations it is about: the rest is done as it stands, the insides of calls in place.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

# The equations that call a jaxpr once, by the parameter that holds it.
JIT = {"jit": "jaxpr", "pjit": "jaxpr"}
CALLS = JIT | {
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    # Custom calls and remat with jax_custom_jvp3, jax_custom_vjp3, jax_remat3.
    "call_hi_primitive": "_prim",
}

# Constant integers of more entries than this are no positions along an axis.
_MOST_INDICES = 1 << 16

# (equation, values of its operands) -> values of its results, or None for an equation
# that is to be done as it stands.
Handler = Callable[[JaxprEqn, list], Sequence | None]


class Program(NamedTuple):
    """What `evaluate` reads of a jaxpr.

    A jaxpr itself holds its constants since JAX 0.12, and so keeps them alive.
    """

    constvars: Sequence
    invars: Sequence
    eqns: Sequence[JaxprEqn]
    outvars: Sequence

    @classmethod
    def of(cls, jaxpr: Jaxpr) -> "Program":
        """The same variables and equations."""
        return cls(jaxpr.constvars, jaxpr.invars, jaxpr.eqns, jaxpr.outvars)


def evaluate(
    jaxpr: Jaxpr | Program,
    consts: Sequence,
    arguments: Sequence,
    *,
    handle: Handler | None = None,
    inline: Mapping[str, str] = CALLS,
) -> list:
    """Runs a jaxpr, on arrays or while JAX traces.

    Args:
      jaxpr: what is run.
      consts: values of its constants.
      arguments: values of its inputs.
      handle: is asked first about every equation, calls and what they call included.
      inline: calls whose equations are run one by one, by the parameter that holds
        their jaxpr; other calls are bound as they are.

    Returns:
      The values of the jaxpr's results.
    """
    values = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))
    run(jaxpr.eqns, values, handle=handle, inline=inline)
    return [value_of(atom, values) for atom in jaxpr.outvars]


def run(
    equations: Sequence[JaxprEqn],
    values: dict,
    *,
    handle: Handler | None = None,
    inline: Mapping[str, str] = CALLS,
) -> None:
    """Runs equations in order and adds their results to `values`, by variable."""
    for equation in equations:
        inputs = [value_of(atom, values) for atom in equation.invars]
        outputs = handle(equation, inputs) if handle else None
        if outputs is None:
            outputs = _as_it_stands(equation, inputs, handle, inline)
        values.update(zip(equation.outvars, outputs, strict=True))


def _as_it_stands(equation, inputs, handle, inline) -> list:
    called = called_jaxpr(equation, inline)
    if called is None:
        return bind(equation, inputs)
    return evaluate(*called, inputs, handle=handle, inline=inline)


def called_jaxpr(
    equation: JaxprEqn, inline: Mapping[str, str] = CALLS
) -> tuple[Jaxpr, Sequence] | None:
    """The jaxpr that a call runs, and its constants; None for what is no call."""
    called = equation.params.get(inline.get(equation.primitive.name))
    called = getattr(called, "traced", called)
    if not isinstance(called, ClosedJaxpr | Jaxpr):
        called = getattr(called, "jaxpr", None)
    if isinstance(called, ClosedJaxpr):
        return called.jaxpr, called.consts
    return (called, ()) if isinstance(called, Jaxpr) else None


def bind(equation: JaxprEqn, inputs: Sequence, **changes) -> list:
    """Does one equation's operation, with some of its parameters changed."""
    params = equation.primitive.get_bind_params(equation.params | changes)
    outputs = equation.primitive.bind(*inputs, **params)
    return outputs if equation.primitive.multiple_results else [outputs]


def value_of(atom, values: Mapping):
    """What a variable or a literal stands for."""
    return atom.val if isinstance(atom, Literal) else values[atom]


def is_known(atom, variables) -> bool:
    """Whether an atom is a literal or one of the variables."""
    return isinstance(atom, Literal) or atom in variables


def keep_none(equation: JaxprEqn) -> bool:
    """Tells of no call that it stays as it is."""
    return False


def inlined(
    function: Callable,
    *arguments,
    inline: Mapping[str, str] = CALLS,
    keep: Callable[[JaxprEqn], bool] = keep_none,
) -> tuple[ClosedJaxpr, Any]:
    """Traces a function, its calls replaced by what they call.

    Args:
      function: of pytrees of arrays, to another.
      *arguments: arrays, or their shapes and dtypes.
      inline: the calls, as for `evaluate`.
      keep: tells of a call that it stays as it is.

    Returns:
      The jaxpr, and the shapes and dtypes of the function's result.
    """

    def kept(equation, inputs):
        return bind(equation, inputs) if keep(equation) else None

    def run_inlined(*arguments):
        traced, result = jax.make_jaxpr(function, return_shape=True)(*arguments)
        leaves = jax.tree.leaves(arguments)
        leaves = evaluate(
            traced.jaxpr, traced.consts, leaves, handle=kept, inline=inline
        )
        return jax.tree.unflatten(jax.tree.structure(result), leaves)

    return jax.make_jaxpr(run_inlined, return_shape=True)(*arguments)


def abstract(arrays):
    """The shapes and dtypes of a pytree of arrays, which may be tracers.

    Within `jax.shard_map` they tell the mesh's axes along which an array varies, too.
    """
    return jax.eval_shape(lambda arrays: arrays, arrays)


def live_equations(jaxpr: Jaxpr | Program) -> list[JaxprEqn]:
    """The equations that a jaxpr's results need, in order."""
    return needed_equations(jaxpr.eqns, jaxpr.outvars)


def needed_equations(equations: Sequence[JaxprEqn], atoms) -> list[JaxprEqn]:
    """Those of some equations that some variables and literals need, in order."""
    live = {atom for atom in atoms if not isinstance(atom, Literal)}
    found = []
    for equation in reversed(equations):
        if live.intersection(equation.outvars):
            found.append(equation)
            live.update(a for a in equation.invars if not isinstance(a, Literal))
    return found[::-1]


def is_index(value) -> bool:
    """Whether an array is integers that rules look into: positions for a gather."""
    return (
        jnp.issubdtype(value.dtype, jnp.integer)
        and value.size <= _MOST_INDICES
        and not isinstance(value, jax.core.Tracer)
    )


class TracedFunction(NamedTuple):
    """A function of weights and one image, as a list of equations without calls.

    Attributes:
      inputs: variables: constants, weights, the image last.
      constants: values of the first of them.
      equations: those that the results need, in order.
      results: variables and literals, the leaves of the function's result.
    """

    inputs: list
    constants: list[jax.Array]
    equations: list[JaxprEqn]
    results: list

    @property
    def image(self):
        """The variable of the image."""
        return self.inputs[-1]

    @property
    def indices(self) -> dict:
        """The integers among the constants, by variable."""
        pairs = zip(self.inputs, self.constants, strict=False)
        return {var: np.asarray(each) for var, each in pairs if is_index(each)}

    def values(
        self, weights: Sequence, image: jax.Array, handle: Handler | None = None
    ) -> dict:
        """The value of every variable, for an image [1, H, W, C].

        `handle` is asked about every equation, as in `evaluate`.
        """
        given = [*self.constants, *weights, image]
        values = dict(zip(self.inputs, given, strict=True))
        run(self.equations, values, handle=handle)
        return values


def trace(
    apply: Callable,
    weights: Sequence,
    image: jax.ShapeDtypeStruct,
    *,
    keep: Callable[[JaxprEqn], bool] = keep_none,
) -> TracedFunction:
    """Traces `apply(weights, images)`, which gives a pytree, for an image [1, H, W, C].

    The weights are arrays, or their shapes and dtypes; `keep` is that of `inlined`.
    """
    closed, _ = inlined(apply, list(weights), image, keep=keep)
    jaxpr = closed.jaxpr
    inputs = [*jaxpr.constvars, *jaxpr.invars]
    return TracedFunction(
        inputs,
        list(closed.consts),
        live_equations(jaxpr),
        jaxpr.outvars,
    )
