"""The convnet: parameters, trace, dtypes, dropout, and what compiles to what."""

import re

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import reference_net
from zf_jax import convnet, geometry
from zf_jax.errors import BadInput
from zf_jax.layers import LRN, Conv, Dense, Dropout, Flatten, Layer, Pool, Relu
from zf_jax.spec import Input, Spec

UP = ((0, 1), (0, 1))
# LRN after the pool, then before it; groups; dense layers; dropout.
NET = Spec(
    "net",
    Input((18, 13)),
    (
        Layer("a", (Conv(6, 3, 1, UP), Relu(), Pool(3, 2, UP), LRN(3, 1.0, 0.1))),
        Layer("b", (Conv(8, 3, 1, 1, groups=2), Relu(), LRN(3, 1.0, 0.1), Pool(2, 2))),
        Layer("c", (Conv(4, 1),)),
        Layer("d", (Flatten(), Dense(64), Relu(), Dropout(0.25))),
        Layer("e", (Dense(5),)),
    ),
)
MODEL = convnet.ConvNet(NET)


@pytest.fixture(scope="module")
def images():
    values = np.random.default_rng(0).normal(size=(3, 18, 13, 3))
    return jnp.asarray(values, jnp.float32)


@pytest.fixture(scope="module")
def variables():
    """Larger than the paper's 10^-2, or five layers up there would be nothing left."""
    random, params = np.random.default_rng(1), {}
    for name, (kernel, bias) in geometry.parameter_shapes(NET).items():
        scale = np.sqrt(2 / np.prod(kernel[:-1]))
        params[name] = {
            "kernel": jnp.asarray(scale * random.normal(size=kernel), jnp.float32),
            "bias": jnp.asarray(0.1 * random.normal(size=bias), jnp.float32),
        }
    return {"params": params}


@pytest.fixture(scope="module")
def applied(variables, images):
    return jax.jit(MODEL.apply)(variables, images)


def test_parameters_have_the_layers_names(images):
    given = jax.eval_shape(MODEL.init, jax.random.key(0), images)
    assert set(given) == {"params"}
    found = {
        layer: {name: x.shape for name, x in each.items()}
        for layer, each in given["params"].items()
    }
    # By hand: 17 x 12 maps pool to 8 x 6, then 4 x 3 of 4 maps: 48 inputs of layer d.
    assert found == {
        "a": {"kernel": (3, 3, 3, 6), "bias": (6,)},
        "b": {"kernel": (3, 3, 3, 8), "bias": (8,)},
        "c": {"kernel": (1, 1, 8, 4), "bias": (4,)},
        "d": {"kernel": (48, 64), "bias": (64,)},
        "e": {"kernel": (64, 5), "bias": (5,)},
    }
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(given))


def test_initial_weights():
    # Section 3: weights 10^-2, biases 0. 7,776 normal draws: their deviation is
    # within 4 / sqrt(2 * 7776) = 3.2 % of its own with probability 0.9999.
    net = Spec("wide", Input(3), (Layer("a", (Conv(288, 3), Relu())),))
    images = jnp.zeros((1, 3, 3, 3))
    params = convnet.ConvNet(net).init(jax.random.key(0), images)["params"]["a"]
    assert not np.any(params["bias"])
    assert np.std(params["kernel"]) == pytest.approx(0.01, rel=0.032)
    assert abs(np.mean(params["kernel"])) < 4 * 0.01 / np.sqrt(7776)


def test_trace_equals_an_independent_nets(variables, images, applied):
    logits, trace = applied
    independent = jax.jit(reference_net.apply, static_argnums=0)
    maps, outputs = independent(NET, variables["params"], images)
    np.testing.assert_array_equal(trace.images, images)
    assert list(trace.maps) == list(trace.outputs) == ["a", "b", "c", "d", "e"]
    # float32 sums of at most 64 terms, five layers deep.
    for name in maps:
        np.testing.assert_allclose(trace.maps[name], maps[name], rtol=2e-5, atol=1e-5)
        np.testing.assert_allclose(
            trace.outputs[name], outputs[name], rtol=2e-5, atol=1e-5
        )
    np.testing.assert_array_equal(logits, trace.maps["e"])
    np.testing.assert_array_equal(logits, trace.outputs["e"])


def test_switches(applied):
    _, trace = applied
    assert set(trace.switches) == {"a", "b"}
    for name, entries in {"a": 9, "b": 4}.items():
        switches = trace.switches[name]
        assert switches.dtype == jnp.uint8
        assert switches.shape == trace.outputs[name].shape
        assert np.max(switches) == entries - 1  # by hand: 3x3 and 2x2 windows
    # b pools normalised maps: its switches are theirs, not those of the maps.
    maps = np.asarray(reference_net.lrn_by_band(LRN(3, 1.0, 0.1), trace.maps["b"]))
    windows = maps.reshape(3, 4, 2, 3, 2, 8).transpose(0, 1, 3, 5, 2, 4)
    expected = windows.reshape(3, 4, 3, 8, 4).argmax(-1)
    np.testing.assert_array_equal(trace.switches["b"], expected)


def test_bfloat16(variables, images, applied):
    exact, _ = applied
    model = convnet.ConvNet(NET, dtype=jnp.bfloat16)
    logits, trace = jax.jit(model.apply)(variables, images)
    assert logits.dtype == jnp.float32
    np.testing.assert_array_equal(trace.images, images)  # as the net got them
    leaves = jax.tree.leaves((trace.maps, trace.outputs))
    assert {x.dtype for x in leaves} == {jnp.dtype(jnp.bfloat16)}
    assert {x.dtype for x in trace.switches.values()} == {jnp.dtype(jnp.uint8)}
    params = jax.eval_shape(model.init, jax.random.key(0), images)
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
    # Eight bits of mantissa: 0.4 % a rounding, some ten roundings on the way.
    error = np.abs(logits - exact).max() / np.abs(exact).max()
    assert 0 < error < 0.04


def test_dropout_in_training_only(variables, images, applied):
    logits, trace = applied
    train = jax.jit(lambda key: MODEL.apply(variables, images, train=True, rngs=key))
    dropped, seen = train({"dropout": jax.random.key(0)})
    again, _ = train({"dropout": jax.random.key(0)})
    other, _ = train({"dropout": jax.random.key(1)})
    np.testing.assert_array_equal(dropped, again)
    assert np.any(dropped != other)
    assert np.any(dropped != logits)
    # The maps stand before the dropout; of what comes out, a quarter is zero and the
    # rest is scaled by 1 / 0.75, so that its mean stays (flax, inverted dropout).
    np.testing.assert_allclose(seen.maps["d"], trace.maps["d"], rtol=2e-5, atol=1e-5)
    alive = np.asarray(seen.maps["d"]) > 0
    kept = np.asarray(seen.outputs["d"])[alive] > 0
    # Around 100 units: the share dropped is within 4 deviations of 1/4.
    spread = np.sqrt(0.25 * 0.75 / alive.sum())
    assert abs(np.mean(~kept) - 0.25) < 4 * spread
    ratio = (
        np.asarray(seen.outputs["d"])[alive][kept]
        / np.asarray(seen.maps["d"])[alive][kept]
    )
    np.testing.assert_allclose(ratio, 1 / 0.75, rtol=1e-6)


def test_training_needs_a_random_stream(variables, images):
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        jax.eval_shape(lambda v, x: MODEL.apply(v, x, train=True), variables, images)


@pytest.mark.parametrize(
    "shape",
    [(18, 13, 3), (1, 18, 13, 1), (1, 18, 13, 4), (1, 3, 18, 13), (1, 1, 18, 13, 3)],
)
def test_images_of_a_bad_shape(shape):
    with pytest.raises(BadInput, match=rf"{re.escape(str(shape))}: net takes .* 3\]"):
        jax.eval_shape(MODEL.init, jax.random.key(0), jnp.zeros(shape))


def test_dense_layers_refuse_other_sizes(variables):
    # By hand: 23 rows make 22, 11 pooled, then 5 where 4 are wanted.
    with pytest.raises(
        BadInput,
        match="d of net is dense and takes 4x3x4, images of 23x13 give it 5x3x4: "
        r"give images of 18x13, or cut the net with upto\(\)",
    ):
        MODEL.apply(variables, jnp.zeros((1, 23, 13, 3)))


def test_upto_takes_the_same_parameters(variables, images, applied):
    top, trace = jax.jit(convnet.ConvNet(NET.upto("b")).apply)(variables, images)
    # The same operations, perhaps fused in another way.
    np.testing.assert_allclose(top, applied[1].outputs["b"], rtol=1e-5, atol=1e-6)
    assert set(trace.switches) == {"a", "b"}


# Arrays of four axes: a GPU's convolutions have workspaces of bytes, too.
SWITCHES = re.compile(r"u8\[\d+,\d+,\d+,\d+\]")


def compiled(function, *arguments) -> str:
    return jax.jit(function).lower(*arguments).compile().as_text()


def test_logits_alone_compute_no_switches(variables, images):
    text = compiled(lambda v, x: MODEL.apply(v, x)[0], variables, images)
    assert not SWITCHES.search(text)
    # The search is not idle: with the trace returned, they are there.
    assert SWITCHES.search(compiled(MODEL.apply, variables, images))


def test_a_unit_at_exactly_zero_passes_no_gradient():
    # By hand: the paper's biases start at 0, so a black patch gives exactly 0, where
    # 1[f > 0] is 0 (Simonyan et al. 2013, section 4); half of it would be the mean
    # of both slopes.
    net = Spec("one", Input(2, mean=(0.0,)), (Layer("a", (Conv(1, 1), Relu())),))
    params = {"a": {"kernel": jnp.ones((1, 1, 1, 1)), "bias": jnp.zeros(1)}}
    images = jnp.asarray([[[[0.0], [3.0]], [[-3.0], [0.0]]]])
    slope = jax.grad(
        lambda x: convnet.ConvNet(net).apply({"params": params}, x)[0].sum()
    )(images)
    assert slope[0, :, :, 0].tolist() == [[0, 1], [0, 0]]


def test_prepare():
    # By hand: (pixels - mean) * scale, channel by channel.
    given = Input(1, mean=(100.0, 50.0, 0.0), scale=0.5)
    for dtype in (np.uint8, np.float32, np.int32):
        pixels = jnp.asarray([[[[110, 50, 255]]]], dtype)
        found = convnet.prepare(pixels, given)
        assert found.dtype == jnp.float32
        assert found.tolist() == [[[[5, 0, 127.5]]]]
    # One image is as good as a batch. Dark uint8 pixels do not wrap around.
    dark = convnet.prepare(jnp.zeros((1, 1, 3), jnp.uint8), given)
    assert dark.tolist() == [[[-50, -25, 0]]]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((8, 8, 4), np.uint8), r"\(8, 8, 4\): give \[..., 3\]"),
        (np.zeros((8, 8), np.uint8), r"\(8, 8\): give"),
        (np.zeros((3, 8, 8), np.uint8), r"\(3, 8, 8\): give .* channels last"),
        (np.zeros((8, 8, 3), complex), "images of complex128: give pixels"),
        (np.zeros((8, 8, 3), str), "images of <U1: give pixels"),
    ],
)
def test_prepare_refuses(pixels, message):
    with pytest.raises(BadInput, match=message) as error:
        convnet.prepare(pixels, Input(8, mean=(1.0, 2.0, 3.0)))
    assert "\n" not in str(error.value)
