"""What a function does to its kernels alone, done once for many calls.

A net rearranges its kernels before it convolves: the backward pass flips them, and XLA
wants them in an order of its own. `precompute` takes that out of a function that is
called again and again with the same weights.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from zf_jax.kernels import prepared_conv
from zf_jax.transforms import jaxpr


class Precomputed(NamedTuple):
    """A function in two halves.

    Attributes:
      prepare: weights -> the list of prepared kernels.
      apply: (kernels, weights, *arguments) -> what the function gives.
    """

    prepare: Callable[[Any], list]
    apply: Callable[..., Any]


def precompute(function: Callable[..., Any], weights, *arguments) -> Precomputed:
    """Splits off what `function(weights, *arguments)` does to its kernels.

    The prepared kernels serve any number of images, of any size. Weights and arguments
    are pytrees of arrays, or of their shapes and dtypes.
    """
    closed, result = jaxpr.inlined(function, weights, *arguments)
    body, structure = closed.jaxpr, jax.tree.structure(result)
    known = {*body.constvars, *body.invars[: len(jax.tree.leaves(weights))]}
    early, convs = [], {}
    for equation in body.eqns:
        are_known = [jaxpr.is_known(atom, known) for atom in equation.invars]
        if all(are_known):
            early.append(equation)
            known.update(equation.outvars)
        elif equation.primitive.name == "conv_general_dilated" and are_known[1]:
            convs[equation.outvars[0]] = equation, prepared_conv.as_xla(equation)

    def prepare(weights) -> list:
        given = [*closed.consts, *jax.tree.leaves(weights)]
        values = dict(zip([*body.constvars, *body.invars], given, strict=False))
        jaxpr.run(early, values)
        return [
            conv.prepare(jaxpr.value_of(equation.invars[1], values))
            for equation, conv in convs.values()
        ]

    def apply(kernels, *given):
        prepared = dict(zip(convs, kernels, strict=True))

        def handle(equation, inputs):
            result = equation.outvars[0]
            if result not in convs:
                return None
            return [convs[result][1].apply(inputs[0], prepared[result])]

        leaves = jax.tree.leaves(given)
        found = jaxpr.evaluate(body, closed.consts, leaves, handle=handle)
        return jax.tree.unflatten(structure, found)

    return Precomputed(prepare, apply)
