"""Hidden values by name: which there are, what they are called, what is computed.

Expected names follow from the functions written here, expected values from the same
functions, which also return what is asked for.
"""

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh, PartitionSpec

from tests.transforms import third_party_nets
from zf_jax.errors import BadInput
from zf_jax.transforms import capture

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype(np.float32)
IMAGES = np.random.default_rng(1).normal(size=(2, 6, 5, 3)).astype(np.float32)


def conv(x, kernel=KERNEL):
    return third_party_nets.conv(x, kernel)


def names(apply, images=IMAGES, **options):
    return [layer.name for layer in capture.layers(apply, images, **options)]


def operations(function):
    """Of what is computed of a map of four channels."""
    return names(lambda images: function(conv(images)))[1:]


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        norm = nn.BatchNorm(use_running_average=True)
        return nn.relu(x + nn.relu(norm(nn.Conv(4, (3, 3))(x))))


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.max_pool(nn.relu(nn.Conv(4, (3, 3), name="stem")(x)), (2, 2), (2, 2))
        x = nn.remat(Block)(name="block0")(Block(name="block")(x))
        return nn.Dense(5, name="head")(x.mean(axis=(1, 2)))


@pytest.fixture(scope="module")
def linen():
    variables = Net().init(jax.random.key(0), IMAGES)
    # The stack of names of an inner jit begins anew.
    return jax.jit(lambda images: Net().apply(variables, images))


def test_modules_name_their_values(linen):
    block = ["Conv_0/conv", "BatchNorm_0/batch_norm", "relu", "add", "relu_1"]
    assert names(linen) == [
        *("stem/conv", "relu", "max_pool"),
        *(f"block/{name}" for name in block),
        *(f"block0/{name}" for name in block),
        *("mean", "head/dense"),
    ]


def test_table(linen):
    lines = str(capture.layers(linen, IMAGES)).splitlines()
    assert lines[0].split() == ["name", "operation", "shape", "receptive", "field"]
    assert lines[3].split() == [
        "max_pool",
        "max_pool",
        *["2", "x", "3", "x", "2", "x", "4"],
        *["4", "x", "4"],
    ]
    # By hand; the head sees all of 6 x 5 pixels.
    dense = ["head/dense", "dense", *["2", "x", "5"], *["6", "x", "5"]]
    assert lines[-1].split() == dense
    assert len({line.index("2 x") for line in lines[1:]}) == 1


@pytest.mark.parametrize(
    "function",
    [
        *(jax.nn.relu, jax.nn.relu6, jax.nn.silu, jax.nn.gelu, jax.nn.softmax),
        *(jax.nn.leaky_relu, jax.nn.elu, jax.nn.softplus, jax.nn.hard_swish),
    ],
    ids=lambda function: function.__name__,
)
def test_a_nonlinearity_is_one_operation(function):
    expected = {"hard_swish": "hard_silu"}.get(function.__name__, function.__name__)
    assert operations(function) == [expected]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: jnp.maximum(x, 0), ["relu"]),
        (lambda x: x * jax.nn.sigmoid(x), ["silu"]),
        (lambda x: jax.nn.gelu(x, approximate=False), ["gelu"]),
        (lambda x: third_party_nets.max_pool(x), ["max_pool"]),
        (lambda x: nn.avg_pool(x, (2, 2), (2, 2)), ["avg_pool"]),
        (lambda x: x.mean(axis=(1, 2)), ["mean"]),
        (lambda x: x.reshape(len(x), -1), ["flatten"]),
        (lambda x: x / 2 + 1, ["affine"]),
        (lambda x: conv(x, KERNEL[:, :, :1].repeat(4, 2)), ["conv_1"]),
        # A value that something else reads, too, stays.
        (lambda x: (y := x * 2, y + 1), ["mul", "add"]),
        (lambda x: x + jax.nn.relu(x), ["relu", "add"]),
        (lambda x: x.astype(jnp.bfloat16).transpose(0, 2, 1, 3), []),
        (lambda x: jnp.argmax(x, axis=-1)[..., None], []),
        # The parts of a value that has no name of its own.
        (lambda x: x * jnp.tanh(x), ["tanh", "mul"]),
    ],
)
def test_operations(function, expected):
    assert operations(function) == expected


def tagged(images):
    x = checkpoint_name(jax.nn.relu(conv(images)), "stem")
    return {"pooled": x.mean(axis=(1, 2)), "twice": jax.nn.relu(x - 1)}


def test_tags_come_first_and_rename_nothing_else():
    assert names(tagged) == ["conv", "stem", "mean", "sub", "relu_1"]


def test_loops_have_results_alone():
    def apply(images):
        x, _ = lax.scan(lambda x, _: (jax.nn.relu(x) * 2, None), images, length=2)
        return lax.cond(True, jax.nn.relu, jnp.sin, x)

    assert names(apply) == ["scan", "cond"]


def test_values(linen):
    _, found = Net().apply(
        Net().init(jax.random.key(0), IMAGES), IMAGES, capture_intermediates=True
    )
    found = found["intermediates"]
    maps = jax.jit(capture.maps(linen, ["head/dense", "block0/relu_1", "stem/conv"]))
    values = maps(IMAGES)
    np.testing.assert_allclose(values["head/dense"], found["__call__"][0], atol=1e-5)
    for name, module in (("block0/relu_1", "block0"), ("stem/conv", "stem")):
        expected = found[module]["__call__"][0]
        np.testing.assert_allclose(values[name], expected, atol=1e-5)


def test_what_is_not_asked_for_is_not_computed(linen):
    made = jax.make_jaxpr(capture.maps(linen, ["block/relu"]))(IMAGES)
    primitives = [equation.primitive.name for equation in made.eqns]
    assert primitives.count("conv_general_dilated") == 2
    assert primitives.count("custom_jvp_call") == 2
    assert not {"remat2", "checkpoint", "dot_general"} & set(primitives)


def test_derivatives_are_those_of_the_function():
    """relu'(0) = 0, and that of a call stays although a later value is asked for."""

    @jax.custom_jvp
    def doubled(x):
        return jnp.maximum(x, 0) + 0

    doubled.defjvp(lambda primals, tangents: (doubled(*primals), 7 * tangents[0]))

    def apply(images):
        return jax.nn.relu(images), doubled(images).sum(axis=(1, 2))

    images = jnp.zeros((1, 2, 2, 1))
    maps = capture.maps(apply, ["relu", "sum"])
    _, backward = jax.vjp(maps, images)
    (of_relu,) = backward({"relu": jnp.ones((1, 2, 2, 1)), "sum": jnp.zeros((1, 1))})
    (of_sum,) = backward({"relu": jnp.zeros((1, 2, 2, 1)), "sum": jnp.ones((1, 1))})
    assert np.all(np.asarray(of_relu) == 0)
    assert np.all(np.asarray(of_sum) == 7)
    # Within the call, it is the derivative of what the call does: of a bare maximum.
    inner = capture.maps(apply, ["relu_1"])
    (of_inner,) = jax.vjp(inner, images)[1]({"relu_1": jnp.ones((1, 2, 2, 1))})
    assert np.all(np.asarray(of_inner) == 0.5)


def test_under_transforms_of_jax():
    weights = jnp.asarray(KERNEL)

    def total(weights, images):
        apply = lambda x: jax.nn.relu(conv(x, weights)).sum(axis=(1, 2))  # noqa: E731
        return capture.maps(apply, ["relu"])(images)["relu"].sum()

    def expected(weights, images):
        return jax.nn.relu(conv(images, weights)).sum()

    batches = np.stack([IMAGES, 2 * IMAGES])
    for function, reference, images in (
        (jax.jit(total), expected, IMAGES),
        (jax.grad(total), jax.grad(expected), IMAGES),
        (jax.vmap(total, (None, 0)), jax.vmap(expected, (None, 0)), batches),
    ):
        found = function(weights, images)
        np.testing.assert_allclose(found, reference(weights, images), rtol=1e-4)


@pytest.mark.devices
def test_images_spread_over_devices_and_exported(linen):
    maps = capture.maps(linen, ["mean"])
    expected = maps(IMAGES)["mean"]
    mesh, by_device = Mesh(np.array(jax.devices()), ("x",)), PartitionSpec("x")
    sharded = jax.shard_map(maps, mesh=mesh, in_specs=by_device, out_specs=by_device)
    np.testing.assert_allclose(jax.jit(sharded)(IMAGES)["mean"], expected, atol=1e-6)
    (count,) = jax.export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((count, *IMAGES.shape[1:]), jnp.float32)
    exported = jax.export.export(jax.jit(maps))(images)
    np.testing.assert_allclose(exported.call(IMAGES)["mean"], expected, atol=1e-6)


def test_channels_first():
    """A convolution shows where its channels are, whatever the function does then."""

    def apply(images):
        x = images.transpose(0, 3, 1, 2)
        inputs = jax.nn.relu(x - 1)
        x = lax.conv(inputs, KERNEL.transpose(3, 2, 0, 1), (1, 1), "SAME")
        x = third_party_nets.max_pool(jax.nn.relu(x).transpose(0, 2, 3, 1))
        return x.transpose(0, 3, 1, 2).mean(axis=(2, 3))

    chosen = ["relu", "relu_1", "max_pool", "mean"]
    found = capture.maps(apply, chosen, channels="first")(IMAGES)
    maps = jax.nn.relu(conv(jax.nn.relu(IMAGES - 1)))
    expected = {"relu": jax.nn.relu(IMAGES - 1), "relu_1": maps}
    expected["max_pool"] = third_party_nets.max_pool(maps)
    expected["mean"] = expected["max_pool"].mean(axis=(1, 2))
    for name in chosen:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)
    for layer in capture.layers(apply, IMAGES, channels="first"):
        if layer.name in chosen:
            assert layer.shape == expected[layer.name].shape


def test_the_images_axis_is_found_wherever_it_is():
    """A batch of as many images as there are channels, moved by `jax.vmap`."""
    weights = jnp.arange(16.0).reshape(4, 4)
    images = jnp.arange(16.0).reshape(4, 2, 2, 1)

    def one(image):
        return jax.nn.relu(jnp.dot(weights, image.reshape(4)))

    value = capture.maps(jax.vmap(one), ["dense"])(images)["dense"]
    np.testing.assert_allclose(value, images.reshape(4, 4) @ weights.T)


@pytest.mark.slow
@pytest.mark.parametrize("name", third_party_nets.NETS)
def test_what_is_listed_can_be_had(name):
    apply = third_party_nets.NETS[name].make()
    images = jax.ShapeDtypeStruct((2, *third_party_nets.SHAPE), jnp.float32)
    listed = capture.layers(apply, images)
    assert listed
    maps = capture.maps(apply, [layer.name for layer in listed])
    found = jax.eval_shape(maps, images)
    assert {layer.name: layer.shape for layer in listed} == {
        name: value.shape for name, value in found.items()
    }


def test_a_function_of_one_batch_size():
    def apply(images):
        return jax.nn.relu(images.reshape(2, 90))

    assert names(apply) == ["flatten", "relu"]


def test_unknown_names_are_refused(linen):
    with pytest.raises(
        BadInput, match=r"'block/relu_2'.*block/relu_1.*capture\.layers"
    ):
        capture.maps(linen, ["block/relu_2"])(IMAGES)
    with pytest.raises(BadInput, match="give a list"):
        capture.maps(linen, "relu")
    with pytest.raises(BadInput, match="choose 'first' or 'last'"):
        capture.layers(linen, IMAGES, channels="NCHW")


def test_a_value_that_is_no_map_is_refused():
    def apply(images):
        return jax.nn.relu(images.reshape(2, 30, 3))

    with pytest.raises(BadInput, match=r"'relu' has the shape \[2, 30, 3\]"):
        capture.maps(apply, ["relu"])(IMAGES)
