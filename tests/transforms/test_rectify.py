"""rectify: what it finds, the rules by hand, what it recurses into, how it composes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh, PartitionSpec

from zf_jax.errors import BadInput
from zf_jax.transforms import rectify

# A linear map before and one after, so that what stands between is a hidden value.
BEFORE = np.array([[1.0, -1, 2, 0], [-1, 2, 0, 1], [3, 0, -2, 0]], np.float32)
AFTER = np.array([[1.0, -2], [-3, 1], [2, 2], [-1, 5]], np.float32)
X = jnp.asarray([[1.0, 2, -1], [-2, 1, 0.5]])
SIGNAL = np.array([[1.0, -1], [2, 3]], np.float32)
# By hand, of both rows: the hidden values H, the signal R that comes down to them.
H = np.array([[-4, 3, 4, 2], [-1.5, 4, -5, 1]])
R = np.array([[3, -4, 0, -6], [-4, -3, 10, 13]])
PASSED = {
    "deconvnet": np.maximum(R, 0),
    "guided": np.where(H > 0, np.maximum(R, 0), 0),
    "gradient": np.where(H > 0, R, 0),
}
RULES = list(PASSED)


def around(function):
    return lambda x: function(x @ BEFORE) @ AFTER


def down(apply, rule, x=X, signal=SIGNAL, **options):
    f = rectify.rectify(apply, rule, **options)
    value, backward = jax.jit(lambda x: jax.vjp(f, x), static_argnums=())(x)
    return f, value, backward(jnp.asarray(signal))[0]


@jax.custom_vjp
def relu_of_a_user(x):
    return jnp.maximum(x, 0)


relu_of_a_user.defvjp(lambda x: (jnp.maximum(x, 0), None), lambda _, signal: (signal,))

RECTIFIERS = {
    "jax.nn.relu": jax.nn.relu,
    "maximum": lambda x: jnp.maximum(x, 0),
    "maximum, swapped": lambda x: jnp.maximum(0.0, x),
    "maximum of an array": lambda x: jnp.maximum(x, np.zeros((1, 4), np.float32)),
    "where x > 0": lambda x: jnp.where(x > 0, x, 0),
    "where x >= 0": lambda x: jnp.where(x >= 0, x, 0),
    "where x <= 0": lambda x: jnp.where(x <= 0, 0, x),
    "where 0 < x": lambda x: jnp.where(x > 0, x, jnp.zeros_like(x)),
    "where 0 > x": lambda x: jnp.where(x < 0, 0.0, x),
    "times x > 0": lambda x: x * (x > 0),
    "clip": lambda x: jnp.clip(x, 0),
    "clamp": lambda x: lax.clamp(0.0, x, 99.0),
    "custom_vjp": relu_of_a_user,
}


@pytest.mark.parametrize("name", RECTIFIERS)
def test_rectifiers_are_found_by_what_they_compute(name):
    apply = around(RECTIFIERS[name])
    for rule in ("deconvnet", "guided"):
        f, value, pixels = down(apply, rule)
        assert f.rectifiers == 1
        np.testing.assert_array_equal(value, apply(X))
        np.testing.assert_array_equal(pixels, PASSED[rule] @ BEFORE.T)


@pytest.mark.parametrize("name", RECTIFIERS)
def test_rule_gradient_is_the_gradient(name):
    # At 0, too, where jax.nn.relu and maximum differ.
    apply = around(RECTIFIERS[name])
    x = X.at[1].set(0)
    f, _, pixels = down(apply, "gradient", x)
    assert f.rectifiers == 1
    expected = jax.vjp(apply, x)[1](jnp.asarray(SIGNAL))[0]
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    "clip",
    [
        jax.nn.relu6,
        lambda x: jnp.clip(x, 0, 6),
        lambda x: jnp.maximum(jnp.minimum(x, 6), 0),
        lambda x: lax.clamp(0.0, x, 6.0),
        lambda x: jnp.minimum(checkpoint_name(jax.nn.relu(x), "maps"), 6),
    ],
)
def test_of_a_clip_the_lower_bound_is_the_rectifier(clip):
    # By hand: R is 1; above 6 the true derivative is 0.
    x = jnp.asarray([-1.0, 3, 7])
    for rule, expected in {"deconvnet": [1, 1, 0], "guided": [0, 1, 0]}.items():
        f, value, pixels = down(clip, rule, x, jnp.ones(3))
        assert (f.rectifiers, value.tolist()) == (1, [0, 3, 6])
        assert pixels.tolist() == expected


SLOPES = np.arange(4, dtype=np.float32)[None] / 8
OTHERS = {
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "celu": jax.nn.celu,
    "selu": jax.nn.selu,
    "silu": jax.nn.silu,
    "gelu": jax.nn.gelu,
    " gelu": functools.partial(jax.nn.gelu, approximate=False),
    "hard_sigmoid": jax.nn.hard_swish,
    " hard_sigmoid": lambda x: 6 * jax.nn.hard_sigmoid(x - 3),
    "hard_tanh": jax.nn.hard_tanh,
    "softplus": jax.nn.softplus,
    "mish": jax.nn.mish,
    "silu ": lambda x: x * jax.nn.sigmoid(x),
    "max": lambda x: jnp.maximum(x, 0.1 * x),
    "min": lambda x: jnp.minimum(x, 0),
    "where": lambda x: jnp.where(x > 0, x, SLOPES * x),
    "min ": lambda x: jnp.maximum(x, 0) + SLOPES * jnp.minimum(x, 0),
    "clamp": lambda x: lax.clamp(-1.0, x, 1.0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_nonlinearities(name):
    def apply(x):
        with jax.named_scope("block0"):
            hidden = OTHERS[name](x @ BEFORE)
        return jax.nn.relu(hidden @ AFTER @ AFTER.T) @ AFTER

    with pytest.raises(BadInput, match=rf"\b{name.strip()} at block0"):
        jax.eval_shape(rectify.rectify(apply, "guided"), X)
    for nonlinear in ("gradient", "sign"):
        # The rectifier above lets all pass: what is below it is looked at.
        hidden = lambda x: OTHERS[name](x @ BEFORE)  # noqa: E731
        f = rectify.rectify(hidden, "guided", nonlinear=nonlinear, may_have_none=True)
        value, backward = jax.vjp(f, X)
        np.testing.assert_allclose(value, hidden(X), rtol=1e-6)
        (found,) = backward(jnp.asarray(R, jnp.float32))
        if nonlinear == "sign":
            # SELU is ELU times a constant: that is a step of its own.
            factor = 1.0507009873554805 if name == "selu" else 1
            expected = factor * PASSED["guided"] @ BEFORE.T
        else:
            expected = jax.vjp(hidden, X)[1](jnp.asarray(R, jnp.float32))[0]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert f.rectifiers == 0


def test_without_rectifiers_but_with_other_nonlinearities():
    # Who says what those do has said enough; the gradient has no rules at all.
    apply = around(jax.nn.silu)
    for rule, nonlinear in (("guided", "sign"), ("gradient", None)):
        f = rectify.rectify(apply, rule, nonlinear=nonlinear)
        jax.eval_shape(f, X)
        assert f.rectifiers == 0


def squeeze_and_excite(x):
    hidden = jax.nn.relu(x @ BEFORE)
    return hidden * jax.nn.hard_sigmoid(hidden.mean(1, keepdims=True))


@pytest.mark.parametrize(
    "apply",
    [
        lambda x: jax.nn.softmax(x @ BEFORE),
        lambda x: jax.nn.log_softmax(x @ BEFORE),
        lambda x: jax.nn.logsumexp(x @ BEFORE),
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2), (1, 1), "VALID"),
        lambda x: jnp.maximum(x @ BEFORE, x @ (2 * BEFORE)),
        lambda x: x / jnp.maximum(jnp.sqrt((x**2).sum()), 1e-6),
    ],
)
def test_what_is_no_nonlinearity(apply):
    f = rectify.rectify(apply, "guided", may_have_none=True)
    jax.eval_shape(f, X)
    assert f.rectifiers == 0
    with pytest.raises(BadInput, match="no rectifier was found"):
        jax.eval_shape(rectify.rectify(apply, "guided"), X)


def test_a_hard_sigmoid_gate_is_no_rectifier():
    f = rectify.rectify(squeeze_and_excite, "guided", nonlinear="gradient")
    jax.eval_shape(f, X)
    assert f.rectifiers == 1
    with pytest.raises(BadInput, match="hard_sigmoid"):
        jax.eval_shape(rectify.rectify(squeeze_and_excite, "guided"), X)


def in_scan(x):
    def body(carry, weights):
        return jax.nn.relu(carry @ weights), None

    weights = jnp.stack([jnp.eye(3), 2 * jnp.eye(3)])
    return lax.scan(body, x @ jnp.asarray(BEFORE[:, :3]), weights)[0]


def in_loop(x):
    step = lambda _, x: jax.nn.relu(x)  # noqa: E731
    return lax.fori_loop(0, 3, step, x @ BEFORE)


@jax.custom_jvp
def doubled(x):
    return 2 * jax.nn.relu(x)


doubled.defjvps(lambda tangent, *_: 0 * tangent)

WITHIN = {
    "jit": jax.jit(jax.nn.relu),
    "remat": jax.checkpoint(lambda x: jax.nn.relu(x), prevent_cse=False),
    "cond": lambda x: lax.cond(x.sum() > -99, jax.nn.relu, lambda x: -x, x),
    "custom_jvp": doubled,
    "vmap": jax.vmap(jax.nn.relu),
}


@pytest.mark.parametrize("name", WITHIN)
@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_within(name, rule):
    apply = around(WITHIN[name])
    f, value, pixels = down(apply, rule)
    assert f.rectifiers == 1
    np.testing.assert_array_equal(value, apply(X))
    factor = 2 if name == "custom_jvp" else 1
    np.testing.assert_array_equal(pixels, factor * PASSED[rule] @ BEFORE.T)


@pytest.mark.parametrize("apply", [in_scan, in_loop])
def test_within_loops(apply):
    # With R all positive, and where all that is hidden is positive, all rules agree.
    f, value, pixels = down(apply, "deconvnet", signal=jnp.ones_like(apply(X)))
    assert f.rectifiers == 1
    np.testing.assert_array_equal(value, apply(X))
    columns = BEFORE[:, :3] * 2 if apply is in_scan else BEFORE
    np.testing.assert_array_equal(pixels, np.tile(columns.sum(1), (2, 1)))
    assert (jax.vjp(apply, X)[1](jnp.ones_like(value))[0] != pixels).any()


def test_kept_as_they_are():
    # A custom derivative without a rectifier within stays.
    @jax.custom_vjp
    def reversed_(x):
        return x

    reversed_.defvjp(lambda x: (x, None), lambda _, signal: (-signal,))
    _, _, pixels = down(around(lambda x: reversed_(jax.nn.relu(x))), "gradient")
    np.testing.assert_array_equal(pixels, -PASSED["gradient"] @ BEFORE.T)


def test_while_is_refused():
    def apply(x):
        condition = lambda x: x.sum() < 10  # noqa: E731
        return lax.while_loop(condition, lambda x: jax.nn.relu(x) + 1, x)

    with pytest.raises(BadInput, match="while holds nonlinearities, and rule 'guided'"):
        jax.eval_shape(rectify.rectify(apply, "guided"), X)


def test_callbacks_are_refused():
    def apply(x):
        return jax.pure_callback(lambda x: x, jax.nn.relu(x), jax.nn.relu(x))

    with pytest.raises(BadInput, match="pure_callback may hold rectifiers"):
        jax.eval_shape(rectify.rectify(apply, "guided"), X)


def test_composes_with_jit_vmap_and_grad():
    apply = around(jax.nn.relu)
    expected = PASSED["guided"] @ BEFORE.T
    f = rectify.rectify(jax.jit(apply), "guided")

    def pixels(x, signal):
        return jax.vjp(f, x)[1](signal)[0]

    one_by_one = jax.jit(jax.vmap(pixels))
    np.testing.assert_array_equal(one_by_one(X, jnp.asarray(SIGNAL)), expected)
    # The derivative of the pixels by the signal: the transpose, where it is passed.
    gradient = jax.grad(lambda signal: pixels(X, signal).sum())(jnp.asarray(SIGNAL))
    is_passed = PASSED["guided"] != 0
    np.testing.assert_array_equal(gradient, (BEFORE.sum(0) * is_passed) @ AFTER)


def test_composes_with_export():
    f = rectify.rectify(around(jax.nn.relu), "deconvnet")
    pixels = jax.jit(lambda x: jax.vjp(f, x)[1](jnp.asarray(SIGNAL))[0])
    read = jax.export.deserialize(jax.export.export(pixels)(X).serialize())
    expected = PASSED["deconvnet"] @ BEFORE.T
    np.testing.assert_array_equal(read.call(X), expected)


@pytest.mark.devices
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("is_outside", [True, False])
def test_composes_with_shard_map(rule, is_outside):
    mesh = Mesh(np.array(jax.devices()), ("n",))
    shard = functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=PartitionSpec("n"),
        out_specs=PartitionSpec("n"),
    )
    apply = around(jax.nn.relu)
    f = rectify.rectify(apply if is_outside else shard(apply), rule)
    backward = lambda x: jax.vjp(f, x)[1](f(x) * 0 + SIGNAL[: len(x)])[0]  # noqa: E731
    backward = jax.jit(shard(backward) if is_outside else backward)
    signals = np.concatenate([SIGNAL[:1]] * 2) if is_outside else SIGNAL
    x = X
    assert f.rectifiers is None
    found = backward(x)
    assert f.rectifiers == 1
    expected = jax.vjp(rectify.rectify(apply, rule), x)[1](jnp.asarray(signals))[0]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.skipif(
    not hasattr(jax.config, "jax_custom_jvp3"), reason="newer releases of JAX"
)
@pytest.mark.parametrize("name", ["jit", "remat", "custom_jvp"])
def test_with_the_new_custom_calls(name):
    flags = "jax_custom_jvp3", "jax_custom_vjp3", "jax_remat3"
    before = {flag: getattr(jax.config, flag) for flag in flags}
    try:
        for flag in flags:
            jax.config.update(flag, True)
        apply = around(WITHIN[name])
        f, value, pixels = down(apply, "guided")
        assert f.rectifiers == 1
        np.testing.assert_array_equal(value, apply(X))
        factor = 2 if name == "custom_jvp" else 1
        np.testing.assert_array_equal(pixels, factor * PASSED["guided"] @ BEFORE.T)
    finally:
        for flag, value in before.items():
            jax.config.update(flag, value)


def test_static_arguments_and_several_results():
    def apply(x, *, scale, double):
        hidden = jax.nn.relu(x @ BEFORE)
        return {"hidden": hidden, "top": [scale * hidden @ AFTER * (1 + double)]}

    f = rectify.rectify(apply, "guided")
    value, backward = jax.vjp(lambda x: f(x, scale=jnp.ones(()), double=True), X)
    assert jax.tree.structure(value) == jax.tree.structure({"hidden": 0, "top": [0]})
    (pixels,) = backward(
        {"hidden": jnp.zeros((2, 4)), "top": [jnp.asarray(SIGNAL) / 2]}
    )
    np.testing.assert_array_equal(pixels, PASSED["guided"] @ BEFORE.T)


def test_what_is_not_used_is_not_counted():
    def apply(x):
        jax.nn.silu(x)
        jax.nn.relu(x)
        return jax.nn.relu(x @ BEFORE)

    f = rectify.rectify(apply, "guided")
    jax.eval_shape(f, X)
    assert f.rectifiers == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "saliency"}, "rule 'saliency': there are deconvnet, guided"),
        ({"nonlinear": "ignore"}, "nonlinear 'ignore': there are 'gradient' and"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(BadInput, match=message):
        rectify.rectify(around(jax.nn.relu), **options)
