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
    given = weights, *arguments
    structure = jax.tree.structure(given)

    def flat(*leaves):
        return jax.tree.leaves(function(*jax.tree.unflatten(structure, leaves)))

    closed = jaxpr.inline(flat, *jax.tree.leaves(given))
    body, consts = closed.jaxpr, closed.consts
    result = jax.tree.structure(jax.eval_shape(function, *given))
    early = {*body.constvars, *body.invars[: len(jax.tree.leaves(weights))]}
    sparse, made, ways = filters.mostly_zero(body), [], {}
    for number, equation in enumerate(body.eqns):
        known = [jaxpr.is_known(atom, early) for atom in equation.invars]
        if all(known):
            made.append(equation)
            early.update(equation.outvars)
        elif equation.primitive.name == "conv_general_dilated" and known[1]:
            is_sparse = equation.invars[0] in sparse
            ways[number] = _way(equation, products, is_sparse)

    def begin(leaves) -> dict:
        values = dict(zip(body.constvars, consts, strict=True))
        return values | dict(zip(body.invars, leaves, strict=False))

    def step(equation, values: dict) -> None:
        inputs = [jaxpr.value_of(atom, values) for atom in equation.invars]
        outputs = jaxpr.bind(equation, inputs)
        values.update(zip(equation.outvars, outputs, strict=True))

    def prepare(weights) -> list:
        values = begin(jax.tree.leaves(weights))
        for equation in made:
            step(equation, values)
        return [way.prepare(values) for way in ways.values()]

    def apply(kernels, *given):
        values = begin(jax.tree.leaves(given))
        ready = dict(zip(ways, kernels, strict=True))
        for number, equation in enumerate(body.eqns):
            if number in ways:
                x = jaxpr.value_of(equation.invars[0], values)
                values[equation.outvars[0]] = ways[number].apply(x, ready[number])
            else:
                step(equation, values)
        found = [jaxpr.value_of(atom, values) for atom in body.outvars]
        return jax.tree.unflatten(result, found)

    return Precomputed(prepare, apply)


def _way(equation, products: bool, is_sparse: bool) -> filters.Filtering:
    found = None
    if products and jax.default_backend() == "cpu":
        found = filters.as_products(equation, is_sparse=is_sparse)
    return found or filters.as_is(equation)
