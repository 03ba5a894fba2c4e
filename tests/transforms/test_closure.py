"""Closed-over weights as arguments: the same function, and no constants in it."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from zf_jax.transforms import closure

W = jnp.asarray(np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32) / 3)
# A NumPy array, which `jit` bakes in like any other.
BIAS = np.linspace(-1, 1, 6, dtype=np.float32)
X = jnp.asarray(np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32))


@jax.jit
def layer(x):
    return jax.nn.relu(x @ W + BIAS.reshape(1, 6))


@jax.jit
def nested(x):
    return layer(layer(x)) @ W


def scanned(x):
    def step(carry, bias):
        carry = layer(carry) + bias
        return carry, carry.sum()

    return lax.scan(step, x, jnp.asarray(BIAS))


def chosen(x):
    return lax.cond(x.sum() > 0, layer, lambda x: -layer(x), x)


def repeated(x):
    return lax.while_loop(lambda x: jnp.abs(x).sum() < 1e3, lambda x: x @ W * 3, x)


def as_a_tree(x):
    return {"a": layer(x), "b": (x @ W, [x[:, 0], W]), "nothing": None}


@jax.custom_jvp
def cubed(x):
    return x**3 * W[0, 0]


cubed.defjvp(lambda primal, tangent: (cubed(*primal), 7 * tangent[0]))


@jax.custom_vjp
def halved(x):
    return x / 2 @ W


halved.defvjp(lambda x: (halved(x), None), lambda _, signal: (signal * 11,))


FUNCTIONS = {
    "jit in jit": nested,
    "custom_jvp of jax.nn": lambda x: jax.nn.relu(x @ W),
    "scan": scanned,
    "cond": chosen,
    "while": repeated,
    "a pytree": as_a_tree,
    "own custom_jvp": lambda x: cubed(layer(x)),
    "own custom_vjp": lambda x: halved(layer(x)),
    "vmap of jit": jax.vmap(lambda row: layer(row[None])[0]),
    "gradient of jit": jax.grad(lambda x: nested(x).sum()),
    "the argument itself": lambda x: x,
    "of the weights alone": lambda x: W @ W,
    "a literal": lambda x: (x + 1.0, 3.0),
}


def hoisted(function):
    return closure.hoist(function, jax.ShapeDtypeStruct(X.shape, X.dtype))


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("jitted", [False, True])
def test_apply_equals_the_function(function, jitted):
    program = hoisted(function)
    apply = jax.jit(program.apply) if jitted else program.apply
    got, want = apply(program.weights, X), function(X)
    assert program.result == jax.eval_shape(function, X)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    # The same operations in float32; XLA may fuse them otherwise: a few roundings of
    # values up to 1e3 (while).
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, want
    )


BIG = jnp.asarray(np.random.default_rng(2).normal(size=(300, 400)), jnp.float32)


@jax.jit
def _inner(x):
    return jax.nn.relu(x @ BIG)


def _in_jit(x):
    return jax.jit(_inner)(x) + 1


@pytest.mark.parametrize("function", [_inner, _in_jit])
def test_no_weights_in_the_program(function):
    x = jnp.ones((2, 300))
    program = closure.hoist(function, jax.ShapeDtypeStruct(x.shape, x.dtype))
    assert any(weight is BIG for weight in program.weights)
    lowered = jax.jit(program.apply).lower(program.weights, x).as_text()
    # 120,000 weights as text take a million characters; the program itself a few
    # thousand.
    assert len(lowered) < 20_000
    # Without hoisting they are there (so the length above is a test of something).
    assert len(jax.jit(lambda x: x @ np.asarray(BIG)).lower(x).as_text()) > 500_000


def test_other_weights_may_be_given():
    program = closure.hoist(lambda x: x @ W, jax.ShapeDtypeStruct(X.shape, X.dtype))
    (weight,) = program.weights
    np.testing.assert_allclose(
        program.apply([2 * weight], X), 2 * (X @ W), rtol=1e-6, atol=1e-6
    )


def test_the_same_program_has_one_apply():
    example = jax.ShapeDtypeStruct((5, 6), jnp.float32)
    one = closure.hoist(lambda x: jax.nn.relu(x @ W) + 1.5, example)
    # Other weights, in another function.
    other = 2 * W
    again = closure.hoist(lambda x: jax.nn.relu(x @ other) + 1.5, example)
    assert again.apply is one.apply
    np.testing.assert_array_equal(again.weights[0], other)
    for different in (
        lambda x: jax.nn.relu(x @ W) + 2.5,
        lambda x: [jax.nn.relu(x @ W) + 1.5],
        lambda x: jax.nn.relu(x @ W.T) + 1.5,
        lambda x: jax.nn.relu(x @ W[:, :3]) + 1.5,
        lambda x: jax.nn.relu(x @ W) - 1.5,
    ):
        assert closure.hoist(different, example).apply is not one.apply
    # The dtype counts as well: bfloat16 times float32 gives another program.
    half = jax.ShapeDtypeStruct((5, 6), jnp.bfloat16)
    assert closure.hoist(lambda x: jax.nn.relu(x @ W) + 1.5, half).apply != one.apply


def test_constants_within_a_branch_are_part_of_the_program():
    def branching(weights):
        inner = jax.jit(lambda x: x @ weights)
        return lambda x: lax.cond(x.sum() > 0, inner, lambda x: -inner(x), x)

    for weights in (W, 2 * W):
        program = hoisted(branching(weights))
        got = jax.jit(program.apply)(program.weights, X)
        np.testing.assert_allclose(got, branching(weights)(X), rtol=1e-5, atol=1e-5)


def test_several_arguments():
    program = closure.hoist(
        lambda x, y: jnp.dot(x @ W, y),
        jax.ShapeDtypeStruct((5, 6), jnp.float32),
        jax.ShapeDtypeStruct((6,), jnp.float32),
    )
    got = program.apply(program.weights, X, jnp.asarray(BIAS))
    np.testing.assert_allclose(got, np.asarray(X) @ W @ BIAS, rtol=1e-5, atol=1e-5)


def test_what_is_kept_goes_with_the_function():
    weights = jnp.ones((6, 3))
    gone = weakref.ref(weights)
    function = (lambda kept: lambda x: x @ kept)(weights)
    apply = hoisted(function).apply
    # The compiled program is cached by `apply`, which may outlive the function.
    jax.jit(apply)(hoisted(function).weights, X)
    del weights, function
    gc.collect()
    assert gone() is None
    assert callable(apply)


class Model:
    """A net as an object, as many libraries have it."""

    def __init__(self, weights):
        self.weights = weights

    def __call__(self, x):
        return x @ self.weights

    def twice(self, x):
        return 2 * self(x)


def test_a_model_that_is_changed_in_place(compilations):
    class Unhashable(Model):
        __hash__ = None

    for model in (Model(W), Unhashable(W)):
        for function in (model, model.twice):
            run = jax.jit(lambda program, apply, x: apply(program, x), static_argnums=1)
            model.weights = W
            before = hoisted(function)
            run(before.weights, before.apply, X)
            model.weights = W + 1
            after = hoisted(function)
            with compilations() as found:
                got = run(after.weights, after.apply, X)
            assert found == []
            np.testing.assert_allclose(got, function(X), rtol=1e-5, atol=1e-5)


def test_positions_stay():
    """Rules of gathers look into them: they are no weights, and tell programs apart."""

    def looked_up(positions):
        return closure.hoist(lambda x: jnp.take(x, positions, axis=0) @ W, X)

    first, same, other = map(looked_up, np.array([[0, 2], [0, 2], [3, 1]]))
    assert len(first.weights) == 1
    assert first.apply is same.apply is not other.apply
    given = X[np.array([3, 1])] @ W
    np.testing.assert_allclose(other.apply(other.weights, X), given, rtol=1e-6)
