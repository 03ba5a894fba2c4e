"""A function's closed-over weights, made arguments.

`jax.jit` bakes the arrays that a function closes over into the compiled program as
constants: a closure over 250 MB of weights is copied, folded and hashed. `hoist` turns
them into arguments, those of nested `jax.jit` calls too (but for calls within a loop or
a branch, `lax.scan`, `lax.cond`).
"""

import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from zf_jax.errors import BadInput


class Hoisted(NamedTuple):
    """A pure function and the arrays it closed over.

    Attributes:
      apply: (weights, *arguments) -> what the function gives.
      weights: the arrays, wherever they lie.
      result: ShapeDtypeStructs in the structure of the function's result.
    """

    apply: Callable[..., Any]
    weights: list[jax.Array]
    result: Any


# What was traced, by function, held weakly: it goes, with the weights, when the
# function goes.
_known: weakref.WeakKeyDictionary[Callable, dict] = weakref.WeakKeyDictionary()


def hoist(function: Callable[..., Any], *examples: jax.ShapeDtypeStruct) -> Hoisted:
    """Takes the arrays that `function` closes over out of it.

    It is traced once per function (or method of an object) and examples, so what is
    jitted with the same one compiles once. To use other weights pass another function,
    not the same one changed.

    Args:
      function: any JAX function of arrays to a pytree.
      *examples: the arguments' shapes and dtypes; `apply` takes no others.

    Raises:
      BadInput: the function has no hash, or cannot be referred to weakly.
    """
    # A method is another object at each look: it is known by what it belongs to.
    method = isinstance(function, types.MethodType)
    owner, name = (function.__self__, function.__func__) if method else (function, None)
    try:
        known = _known.setdefault(owner, {})
    except TypeError as error:
        raise BadInput(
            f"a {type(owner).__name__} cannot be kept track of ({error}): give a "
            "function, as lambda images: model(images), and the same one each time"
        ) from error
    key = name, tuple((example.shape, example.dtype) for example in examples)
    if key not in known:
        known[key] = _trace(function, examples)
    return known[key]


def _trace(function, examples) -> Hoisted:
    traced, result = jax.make_jaxpr(
        lambda *arguments: _inline(function, arguments), return_shape=True
    )(*examples)
    steps = _Steps.of(traced.jaxpr)
    structure = jax.tree.structure(result)

    def apply(weights, *arguments):
        leaves = evaluate(steps, weights, arguments)
        return jax.tree.unflatten(structure, leaves)

    return Hoisted(apply, traced.consts, result)


class _Steps(NamedTuple):
    """A jaxpr without its constants, which since JAX 0.12 it would keep alive."""

    constvars: list
    invars: list
    eqns: list
    outvars: list

    @classmethod
    def of(cls, jaxpr: Jaxpr) -> "_Steps":
        return cls(jaxpr.constvars, jaxpr.invars, jaxpr.eqns, jaxpr.outvars)


def _inline(function, arguments):
    traced, result = jax.make_jaxpr(function, return_shape=True)(*arguments)
    leaves = evaluate(traced.jaxpr, traced.consts, arguments)
    return jax.tree.unflatten(jax.tree.structure(result), leaves)


# Calls of jit, by the parameter that holds what is called.
_JIT = {"jit": "jaxpr", "pjit": "jaxpr"}


def evaluate(
    jaxpr: Jaxpr | _Steps,
    consts: Sequence[jax.Array],
    arguments: Sequence[jax.Array],
    inlined: Mapping[str, str] = _JIT,
) -> list[jax.Array]:
    """Runs a jaxpr, with the jaxprs of the `inlined` calls run in their place."""
    values = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def read(atom):
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        nested = equation.params.get(inlined.get(equation.primitive.name))
        if isinstance(nested, ClosedJaxpr):
            outputs = evaluate(nested.jaxpr, nested.consts, inputs, inlined)
        elif isinstance(nested, Jaxpr):
            outputs = evaluate(nested, (), inputs, inlined)
        else:
            params = equation.primitive.get_bind_params(equation.params)
            outputs = equation.primitive.bind(*inputs, **params)
            if not equation.primitive.multiple_results:
                outputs = [outputs]
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]
