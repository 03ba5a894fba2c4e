"""A function's convolutions in the form that a CPU computes fast."""

from collections.abc import Callable

import jax

from zf_jax.kernels import prepared_conv
from zf_jax.transforms import gates, jaxpr


def depthwise(function: Callable, platform: str) -> Callable:
    """The same function of arrays; on a CPU its depthwise convolutions are sums.

    Those within loops, branches and custom derivatives stay as they are, as does all of
    it on another platform.
    """
    if platform != "cpu":
        return function

    def run(*arguments):
        traced, result = jaxpr.inlined(
            function, *arguments, inline=jaxpr.JIT, keep=gates.is_closed
        )
        leaves = jax.tree.leaves(arguments)
        found = jaxpr.evaluate(
            traced.jaxpr, traced.consts, leaves, handle=handler(platform), inline={}
        )
        return jax.tree.unflatten(jax.tree.structure(result), found)

    return run


def depthwise_or_none(equation, platform: str, padding=None):
    """The form of a depthwise convolution, as a PreparedConv; None for anything else.

    The padding is the equation's own, if none is given.
    """
    is_cpu = platform == "cpu"
    return prepared_conv.depthwise_or_none(equation, padding) if is_cpu else None


def handler(platform: str) -> jaxpr.Handler:
    """Does depthwise convolutions; a handler for `jaxpr.evaluate`."""

    def handle(equation, inputs: list) -> list | None:
        conv = depthwise_or_none(equation, platform)
        return conv and [conv.apply(inputs[0], conv.prepare(inputs[1]))]

    return handle
