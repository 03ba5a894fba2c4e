"""The interpreter: the same values, calls inlined, and handlers asked first."""

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import Literal

from zf_jax.transforms import jaxpr


@jax.jit
def inner(x):
    return jax.nn.relu(x) * 2


def outer(x):
    return jax.checkpoint(inner)(x) + 1


X = jnp.asarray([-1.0, 3.0])


def names(equations):
    return [equation.primitive.name for equation in equations]


@pytest.mark.parametrize("inline", [jaxpr.CALLS, jaxpr.JIT, {}])
def test_evaluate_gives_the_functions_values(inline):
    closed = jax.make_jaxpr(outer)(X)
    (found,) = jaxpr.evaluate(closed.jaxpr, closed.consts, [X], inline=inline)
    assert found.tolist() == [1, 7]


def test_inlined_has_no_calls_left():
    closed, result = jaxpr.inlined(outer, X)
    # relu is jitted, a custom_jvp and jitted within.
    assert names(closed.jaxpr.eqns) == ["max", "mul", "add"]
    assert (result.shape, result.dtype) == (X.shape, X.dtype)


def test_only_the_calls_that_are_named_are_inlined():
    closed, _ = jaxpr.inlined(lambda x: inner(x) + 1, X, inline=jaxpr.JIT)
    assert names(closed.jaxpr.eqns) == ["custom_jvp_call", "mul", "add"]


def test_a_handler_is_asked_about_calls_and_what_is_within():
    closed = jax.make_jaxpr(lambda x: jax.nn.relu(x) + inner(x))(X)
    seen = []

    def handle(equation, inputs):
        seen.append(equation.primitive.name)
        # In place of a rectifier, found before its custom_jvp is inlined.
        return [inputs[0] * 10] if seen[-1] == "custom_jvp_call" else None

    (found,) = jaxpr.evaluate(closed.jaxpr, closed.consts, [X], handle=handle)
    assert found.tolist() == [-30, 90]
    assert "max" not in seen
    assert {"mul", "add"} < set(seen)


def test_bind_with_a_parameter_changed():
    closed, _ = jaxpr.inlined(lambda x: jax.lax.cumsum(x), X)
    (equation,) = closed.jaxpr.eqns
    (found,) = jaxpr.bind(equation, [X], reverse=True)
    assert found.tolist() == [2, 3]


def test_live_equations_are_those_the_results_need():
    def function(x):
        jnp.sin(x)
        return jnp.cos(x), 3.0

    closed = jax.make_jaxpr(function)(X)
    assert names(jaxpr.live_equations(closed.jaxpr)) == ["cos"]


def test_trace_of_a_function_of_weights_and_an_image():
    def apply(weights, images):
        scale, bias = weights
        return {"sum": (images * scale).sum(axis=(1, 2, 3)), "bias": bias}

    weights = [jnp.asarray(2.0), jnp.asarray(5.0)]
    traced = jaxpr.trace(
        apply, weights, jax.ShapeDtypeStruct((1, 2, 3, 1), jnp.float32)
    )
    assert traced.image.aval.shape == (1, 2, 3, 1)
    values = traced.values(weights, jnp.ones((1, 2, 3, 1)))
    found = [jaxpr.value_of(atom, values) for atom in traced.results]
    # In the order of the pytree's leaves.
    assert [each.tolist() for each in found] == [5.0, [12.0]]
    assert not any(isinstance(atom, Literal) for atom in traced.inputs)
