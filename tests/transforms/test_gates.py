"""Gates: what they are in a jaxpr, and their backward maps, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from zf_jax.transforms import gates, jaxpr

X = jnp.asarray([-1.0, 0.0, 2.0, 3.0])
SIGNAL = jnp.asarray([1.0, 5.0, -4.0, 6.0])
BACKWARD = {  # By hand; at x = 0 a rectifier is closed.
    "deconvnet": [1, 5, 0, 6],
    "guided": [0, 0, 0, 6],
    "gradient": [0, 0, -4, 6],
}


def only_equation(function, x):
    (equation,) = jax.make_jaxpr(function)(x).jaxpr.eqns
    return equation


@pytest.mark.parametrize("rule", BACKWARD)
def test_rectifier(rule):
    gate = gates.rectifier(rule)
    value, down = jax.vjp(lambda x: gates.emit(gate, x), X)
    assert value.tolist() == [0, 0, 2, 3]
    assert down(SIGNAL)[0].tolist() == BACKWARD[rule]
    assert [each.dtype for each in gate.save(X)] == [bool] * (rule != "deconvnet")


def test_a_gate_is_recognised_by_its_name():
    gate = gates.rectifier("guided")
    equation = only_equation(lambda x: gates.emit(gate, x), X)
    assert equation.params["name"] == "rectifier[guided]"
    assert gates.of(equation) is gate
    assert gates.of(only_equation(jax.jit(lambda x: x + 1), X)) is None
    assert gates.of(only_equation(jnp.sin, X)) is None
    # Batched, it is the same equation.
    batched = only_equation(jax.vmap(lambda x: gates.emit(gate, x)), X[None])
    assert gates.of(batched) is gate


def test_emitted_within_vmap_and_jit():
    gate = gates.rectifier("guided")

    def down(signal):
        return jax.vjp(lambda x: gates.emit(gate, x), X)[1](signal)[0]

    found = jax.jit(jax.vmap(down))(jnp.stack([SIGNAL, 2 * SIGNAL]))
    assert found.tolist() == [[0, 0, 0, 6], [0, 0, 0, 12]]


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((2, 7, 6, 3), ((1, 3, 2, 1), (1, 2, 1, 1), ((0, 0), (1, 0), (0, 1), (0, 0)))),
        ((2, 3, 7, 6), ((1, 1, 3, 3), (1, 1, 2, 2), ((0, 0), (0, 0), (1, 1), (0, 1)))),
        ((3, 7, 6), ((1, 3, 3), (1, 2, 2), ((0, 0), (0, 0), (1, 1)))),
        ((2, 3, 2, 7, 6), ((1, 1, 1, 2, 2), (1, 1, 1, 2, 2), ((0, 0),) * 5)),
        ((5, 8), ((1, 3), (1, 1), ((0, 0), (1, 1)))),
        ((5, 3, 4, 2), ((2, 1, 1, 2), (2, 1, 1, 1), ((0, 0),) * 4)),
    ],
)
def test_max_pool_equals_jax(shape, window):
    # Whole numbers: many ties, and sums without rounding. JAX gives ties to the first.
    random = np.random.default_rng(0)
    x = jnp.asarray(random.integers(-3, 3, shape), jnp.float32)
    assert gates.has_switches(*window)
    gate = gates.max_pool(*window)
    expected, transpose = jax.vjp(
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, *window), x
    )
    found, down = jax.vjp(lambda x: gates.emit(gate, x), x)
    np.testing.assert_array_equal(found, expected)
    signal = jnp.asarray(random.integers(-9, 9, found.shape), jnp.float32)
    np.testing.assert_array_equal(down(signal)[0], transpose(signal)[0])
    (switches,) = gate.save(x)
    assert (switches.shape, switches.dtype) == (found.shape, jnp.uint8)


def test_windows_without_switches():
    none = ((0, 0),) * 4
    assert not gates.has_switches((1, 16, 16, 1), (1, 1, 1, 1), none)
    assert not gates.has_switches((1, 2, 2, 2), (1, 1, 1, 1), none)
    assert not gates.has_switches((1, 2, 2, 1), (1, 1, 1, 1), ((0, 0), (2, 0)) * 2)


def test_a_marked_part_keeps_its_derivative():
    gate = gates.identity("cube", lambda x: x**3)
    cube = gates.mark(gate, lambda x: x**3)
    equation = only_equation(cube, X)
    assert gates.marked(equation) is gate
    assert gates.of(equation) is None
    assert jax.grad(lambda x: cube(x).sum())(X).tolist() == [3, 0, 12, 27]
    # The gate itself lets the signal pass.
    value, down = jax.vjp(lambda x: gates.emit(gate, x), X)
    assert value.tolist() == [-1, 0, 8, 27]
    assert down(SIGNAL)[0].tolist() == SIGNAL.tolist()


def test_gates_survive_a_retrace():
    gate = gates.max_pool((2, 1), (2, 1), ((0, 0), (0, 0)))
    x = jnp.ones((4, 3))
    traced, _ = jaxpr.inlined(lambda x: gates.emit(gate, x), x, inline={})
    assert gates.of(traced.jaxpr.eqns[0]) is gate
