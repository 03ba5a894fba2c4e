"""A function's convolutions in the form that a CPU computes fast."""

from collections.abc import Callable

import jax

from zf_jax.kernels import prepared_conv
from zf_jax.transforms import jaxpr


def depthwise(function: Callable, platform: str) -> Callable:
    """The same function of arrays; on a CPU its depthwise convolutions are sums.

    Those within loops, branches and custom derivatives stay as they are, as does all of
    it on another platform.
    """
    if platform != "cpu":
        return function

    def run(*arguments):
        traced, result = jaxpr.inlined(function, *arguments, inline=jaxpr.JIT)
        leaves = jax.tree.leaves(arguments)
        found = jaxpr.evaluate(
            traced.jaxpr, traced.consts, leaves, handle=handle, inline={}
        )
        return jax.tree.unflatten(jax.tree.structure(result), found)

    return run


def handle(equation, inputs: list) -> list | None:
    """Does a depthwise convolution; a handler for `jaxpr.evaluate`."""
    conv = prepared_conv.depthwise_or_none(equation)
    return conv and [conv.apply(inputs[0], conv.prepare(inputs[1]))]
