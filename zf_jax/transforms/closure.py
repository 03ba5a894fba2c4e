"""A function's closed-over weights, made arguments.

`jax.jit` bakes the arrays that a function closes over into the compiled program as
constants: a closure over 250 MB of weights is copied, folded and hashed. `hoist` turns
them into arguments, those of nested `jax.jit` calls too (but for calls within a loop or
a branch, `lax.scan`, `lax.cond`).
"""

import types
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from zf_jax.errors import BadInput
from zf_jax.transforms import jaxpr


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
    traced, result = jaxpr.inlined(function, *examples, inline=jaxpr.JIT)
    program = jaxpr.Program.of(traced.jaxpr)
    structure = jax.tree.structure(result)

    def apply(weights, *arguments):
        leaves = jaxpr.evaluate(program, weights, arguments, inline={})
        return jax.tree.unflatten(structure, leaves)

    return Hoisted(apply, traced.consts, result)
