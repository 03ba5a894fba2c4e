"""The deconvnet's rules at the rectifiers of any JAX function.

`rectify` gives a function of the same values. By `jax.vjp` it gives what the deconvnet
draws (section 2.1), in place of the gradient:

    f = rectify.rectify(apply, rule="guided")
    outputs, backward = jax.vjp(f, images)
    (pixels,) = backward(seed)

A signal passes each rectifier as the rule says (`deconvnet.py` has the table), goes to
the switches of max pooling, and through everything else by its transpose. Rectifiers
are found in the jaxpr by what they compute (`activations.py`), so that it does not
matter how they are written, nor how often a module is used. A part that the function
marks (`gates.mark`) has the backward rule that it is marked with.
"""

import collections
import functools
from collections.abc import Callable
from typing import Any, get_args

import jax

from zf_jax.errors import BadInput
from zf_jax.transforms import gates, jaxpr, rectify_plan

Nonlinear = rectify_plan.Nonlinear


class Rectified:
    """A function with a rule's derivative at its rectifiers: `rectify` makes it.

    Attributes:
      rectifiers: how many were found, once the function was called or traced. One
        within a loop, or a function that is called twice, counts as often as it stands
        in the jaxpr.
    """

    def __init__(self, apply, rule: gates.Rule, nonlinear, may_have_none: bool):
        functools.update_wrapper(self, apply, updated=())
        self.rectifiers: int | None = None
        self._apply, self._rule, self._nonlinear = apply, rule, nonlinear
        self._may_have_none = may_have_none

    def __call__(self, *arguments, **named):
        leaves, structure = jax.tree.flatten((arguments, named))
        is_array = [hasattr(leaf, "dtype") for leaf in leaves]
        arrays = [leaf for leaf, use in zip(leaves, is_array, strict=True) if use]

        def of_arrays(*arrays):
            given = iter(arrays)
            filled = [
                next(given) if use else leaf
                for leaf, use in zip(leaves, is_array, strict=True)
            ]
            arguments, named = jax.tree.unflatten(structure, filled)
            return self._apply(*arguments, **named)

        traced, result = jax.make_jaxpr(of_arrays, return_shape=True)(*arrays)
        options = rectify_plan.Options(self._rule, self._nonlinear)
        is_image = [True] * len(arrays)
        plan = rectify_plan.plan(traced.jaxpr, traced.consts, is_image, options)
        self._check(plan)
        self.rectifiers = plan.rectifiers
        outputs = plan.run(arrays)
        return jax.tree.unflatten(jax.tree.structure(result), outputs)

    def _check(self, plan: rectify_plan.Plan) -> None:
        others = plan.others
        if others and self._rule != "gradient" and self._nonlinear is None:
            raise BadInput(
                f"rule {self._rule!r} is for rectifiers, and there are other "
                f"nonlinearities: {_listed(others)}; say nonlinear='gradient' to pass "
                "their derivative, 'sign' to pass what a rectifier would, or take the "
                "rule 'gradient'"
            )
        if not plan.rectifiers and not others and not self._may_have_none:
            raise BadInput(
                "no rectifier was found (max(x, 0), jax.nn.relu, ...), so that the "
                "rules differ in nothing; for the gradient take jax.grad of the "
                "function itself"
            )


def rectify(
    apply: Callable[..., Any],
    rule: gates.Rule = "deconvnet",
    *,
    nonlinear: Nonlinear | None = None,
    may_have_none: bool = False,
) -> Rectified:
    """The function, with a rule's derivative at its rectifiers.

    It works within `jax.jit`, `jax.vmap`, `jax.grad`, `jax.shard_map` and `jax.export`,
    and on functions that use them, remat, `lax.cond` and `lax.scan`. (Outside of
    `jax.jit` it runs operation by operation, as the function would.)

    Args:
      apply: any JAX function of arrays to a pytree. What depends on its arguments
        counts as hidden: let it close over its weights.
      rule: what a rectifier does in the backward pass. With "gradient" the derivative
        is that of `apply`.
      nonlinear: what other nonlinear elementwise functions do (leaky ReLU, ELU, SiLU,
        GELU, sigmoid, ...): "gradient", their derivative, or "sign", what a rectifier
        in their place would. By default there must be none. Normalisation and softmax
        always have their derivative.
      may_have_none: takes a function without rectifiers, which the rules change
        nothing of.

    Returns:
      A function of the same arguments and values, with the attribute `rectifiers`.
      Calling or tracing it raises BadInput for a function without rectifiers, for
      other nonlinearities of which nothing is said, and for rectifiers within
      `lax.while_loop` or a Pallas kernel.
    """
    if rule not in gates.RULES:
        raise BadInput(f"rule {rule!r}: there are {', '.join(gates.RULES)}")
    if nonlinear not in (None, *get_args(Nonlinear)):
        raise BadInput(f"nonlinear {nonlinear!r}: there are 'gradient' and 'sign'")
    return Rectified(apply, rule, nonlinear, may_have_none)


def has_switches(function: Callable, image: jax.ShapeDtypeStruct) -> bool:
    """Whether a function of an image, as shape and dtype, has pools with switches."""
    rectified = rectify(function, "gradient", nonlinear="gradient", may_have_none=True)
    traced, _ = jaxpr.inlined(rectified, image, keep=gates.is_closed)
    found = (gates.of(e) for e in jaxpr.live_equations(traced.jaxpr))
    return any(gate is not None and gate.window is not None for gate in found)


def _listed(names: list[str]) -> str:
    counted = collections.Counter(names)
    named = [
        f"{name} ({count} times)" if count > 1 else name
        for name, count in counted.items()
    ]
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    return ", ".join(named[:3]) + more
