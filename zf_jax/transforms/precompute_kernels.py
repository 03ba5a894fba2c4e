"""What a function does to its filters alone, done once for many calls.

A net turns its kernels about before it filters: down a net they are flipped, and as
matrix products (`filters.py`) they are prepared. `split` takes that out of a function
that is called again and again with the same weights.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from zf_jax.transforms import filters, jaxpr


class Precomputed(NamedTuple):
    """A function in two halves.

    Attributes:
      prepare: weights -> the list of kernels, made ready.
      apply: (kernels, weights, *arguments) -> what the function gives.
    """

    prepare: Callable[[Any], list]
    apply: Callable[..., Any]


def precompute(
    function: Callable[..., Any], weights, *arguments, products: bool = False
) -> Precomputed:
    """Parts what `function(weights, *arguments)` does to its convolutions' kernels.

    What was prepared serves any number of images; with products, of the same size.

    Args:
      function: of pytrees of arrays, to another.
      weights: arrays, or their shapes and dtypes.
      *arguments: the same.
      products: on a CPU, computes the convolutions of `filters.as_products` as matrix
        products: faster, but summed in another order than XLA's own.
    """
    closed, result = jaxpr.inlined(function, weights, *arguments)
    body, structure = closed.jaxpr, jax.tree.structure(result)
    early = {*body.constvars, *body.invars[: len(jax.tree.leaves(weights))]}
    made, ways = [], {}
    for equation in body.eqns:
        known = [jaxpr.is_known(atom, early) for atom in equation.invars]
        if all(known):
            made.append(equation)
            early.update(equation.outvars)
        elif equation.primitive.name == "conv_general_dilated" and known[1]:
            ways[equation.outvars[0]] = _way(equation, products)

    def prepare(weights) -> list:
        given = [*closed.consts, *jax.tree.leaves(weights)]
        values = dict(zip([*body.constvars, *body.invars], given, strict=False))
        jaxpr.run(made, values)
        return [way.prepare(values) for way in ways.values()]

    def apply(kernels, *given):
        ready = dict(zip(ways, kernels, strict=True))

        def handle(equation, inputs):
            result = equation.outvars[0]
            if result not in ways:
                return None
            return [ways[result].apply(inputs[0], ready[result])]

        leaves = jax.tree.leaves(given)
        found = jaxpr.evaluate(body, closed.consts, leaves, handle=handle)
        return jax.tree.unflatten(structure, found)

    return Precomputed(prepare, apply)


def _way(equation, products: bool) -> filters.Filtering:
    found = None
    if products and jax.default_backend() == "cpu":
        found = filters.as_products(equation)
    return found or filters.as_is(equation)
