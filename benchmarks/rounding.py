"""What a GPU or TPU computes in its default precision, emulated on any device.

It rounds the factors of convolutions and matrix products to fewer bits; products and
sums are float32.
"""

from collections.abc import Callable

import jax
from jax import lax

from zf_jax.transforms import gates, jaxpr

# Bits of the mantissa, without the leading one; the exponent has 8, as in float32.
MANTISSA = {"TF32": 10, "bfloat16": 7}
_PRODUCTS = ("conv_general_dilated", "dot_general")


def round_factors(function: Callable, mantissa: int) -> Callable:
    """The function of arrays with the factors of its products rounded.

    Those within loops, branches and custom derivatives stay as they are.
    """

    def handle(equation, inputs: list) -> list | None:
        if equation.primitive.name not in _PRODUCTS:
            return None
        rounded = [lax.reduce_precision(x, 8, mantissa) for x in inputs]
        return [equation.primitive.bind(*rounded, **equation.params)]

    def run(*arguments):
        traced, result = jaxpr.inlined(
            function, *arguments, inline=jaxpr.JIT, keep=gates.is_closed
        )
        leaves = jax.tree.leaves(arguments)
        found = jaxpr.evaluate(
            traced.jaxpr, traced.consts, leaves, handle=handle, inline={}
        )
        return jax.tree.unflatten(jax.tree.structure(result), found)

    return run
