"""A JAX function as a flat list of operations, to be walked by other transforms."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Literal

from zf_jax.transforms import closure

# Calls whose insides are walked, by the parameter that holds them.
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
}


class TracedFunction(NamedTuple):
    """A function of weights and one image, as a list of operations.

    Attributes:
      inputs: variables: constants, weights, the image last.
      constants: of the first of them.
      equations: the operations that the results need, in order.
      results: variables and literals.
    """

    inputs: list
    constants: list[jax.Array]
    equations: list
    results: list

    @property
    def image(self):
        """The variable of the image."""
        return self.inputs[-1]


def trace(apply: Callable, weights: Sequence, shape, dtype) -> TracedFunction:
    """The operations of `apply(weights, images)` on one image [1, *shape].

    Args:
      apply: gives a pytree.
      weights: arrays, or their shapes and dtypes.
      shape: of the image, (rows, columns, colours).
      dtype: of the image.
    """

    def flat(*arguments):
        *weights, image = arguments
        return jax.tree.leaves(apply(weights, image))

    image = jax.ShapeDtypeStruct((1, *shape), dtype)
    traced = inline(flat, *weights, image)
    jaxpr, kept = traced.jaxpr, []
    needed = {atom for atom in jaxpr.outvars if not isinstance(atom, Literal)}
    for equation in reversed(jaxpr.eqns):
        if needed & set(equation.outvars):
            kept.append(equation)
            needed.update(a for a in equation.invars if not isinstance(a, Literal))
    inputs = [*jaxpr.constvars, *jaxpr.invars]
    return TracedFunction(inputs, list(traced.consts), kept[::-1], jaxpr.outvars)


def inline(flat: Callable, *arguments) -> ClosedJaxpr:
    """A function of arrays to a list of arrays, without calls in it.

    Args:
      flat: the function.
      *arguments: arrays, or their shapes and dtypes.
    """
    traced = jax.make_jaxpr(flat)(*arguments)

    def inlined(*values):
        return closure.evaluate(traced.jaxpr, traced.consts, values, _CALLS)

    return jax.make_jaxpr(inlined)(*arguments)


def run(program: TracedFunction, weights: Sequence, image: jax.Array) -> dict:
    """The value of every variable, for an image [1, H, W, C]."""
    given = [*program.constants, *weights, image]
    values = dict(zip(program.inputs, given, strict=True))
    for equation in program.equations:
        inputs = [value_of(atom, values) for atom in equation.invars]
        values.update(zip(equation.outvars, bind(equation, inputs), strict=True))
    return values


def is_known(atom, variables: set) -> bool:
    """Whether it is a literal or one of the variables."""
    return isinstance(atom, Literal) or atom in variables


def value_of(atom, values: dict):
    """What a variable or a literal stands for."""
    return atom.val if isinstance(atom, Literal) else values[atom]


def bind(equation, values: Sequence, **changes) -> list[jax.Array]:
    """Does one operation on other values, with some of its parameters changed."""
    params = equation.primitive.get_bind_params(equation.params | changes)
    outputs = equation.primitive.bind(*values, **params)
    return outputs if equation.primitive.multiple_results else [outputs]
