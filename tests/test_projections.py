"""deconvnet.project: any function's units, against reconstruct, by hand, composed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh, PartitionSpec

from tests import test_deconvnet as nets
from zf_jax import convnet, deconvnet, projections
from zf_jax.errors import BadInput
from zf_jax.probes import projection, topk

FILTERS = {
    "first": np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype(np.float32),
    "second": np.random.default_rng(1).normal(size=(3, 3, 4, 4)).astype(np.float32),
    "dense": np.random.default_rng(2).normal(size=(4, 5)).astype(np.float32),
}
IMAGES = jnp.asarray(np.random.default_rng(3).normal(size=(3, 6, 5, 2)), jnp.float32)


def conv(x, filters, order="NHWC"):
    dimensions = (order, "HWIO", order)
    return jax.lax.conv_general_dilated(
        x, filters, (1, 1), "SAME", dimension_numbers=dimensions
    )


def residual(x, filters=FILTERS, order="NHWC"):
    """A residual net with a function for a ReLU, called twice on one value."""
    stem = checkpoint_name(jax.nn.relu(conv(x, filters["first"], order)), "stem")
    inner = jax.nn.relu(conv(stem, filters["second"], order))
    block = conv(inner, filters["second"], order)
    block = checkpoint_name(jax.nn.relu(stem + block), "block")
    rows, columns = order.index("H"), order.index("W")
    pooled = checkpoint_name(block.mean((rows, columns)), "pooled")
    return {"logits": checkpoint_name(pooled @ filters["dense"], "logits")}


def by_hand(x, channel, position, rule):
    """The projection of a unit of `block`: each step's transpose, and the rule."""

    def rectify(signal, maps):
        if rule != "gradient":
            signal = jnp.maximum(signal, 0)
        return signal if rule == "deconvnet" else jnp.where(maps > 0, signal, 0)

    def down(signal, filters, shape):
        zeros = jnp.zeros(shape)
        return jax.linear_transpose(lambda x: conv(x, filters), zeros)(signal)[0]

    first, second = FILTERS["first"], FILTERS["second"]
    stem = jax.nn.relu(conv(x, first))
    inner = jax.nn.relu(conv(stem, second))
    block = jax.nn.relu(stem + conv(inner, second))
    seed = deconvnet.isolate(block, channel=channel, position=position)
    top = rectify(seed, block)
    through = down(rectify(down(top, second, inner.shape), inner), second, stem.shape)
    return down(rectify(top + through, stem), first, x.shape)


@pytest.mark.parametrize("rule", deconvnet.RULES)
def test_a_residual_net_by_hand(rule):
    # One function is both of the ReLUs: hooks of modules would miss them.
    for position in (None, (2, 3)):
        found = deconvnet.project(
            residual, IMAGES, layer="block", channel=1, position=position, rule=rule
        )
        expected = by_hand(IMAGES, 1, position, rule)
        assert np.any(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rule", deconvnet.RULES)
def test_spec_nets_equal_reconstruct(rule):
    # LRN is the identity in both, but for the rule "gradient".
    net, params, trace = nets.start("topped")
    model = convnet.ConvNet(net)
    for layer in ("b", "e"):
        maps = trace.maps[layer]
        channel = np.asarray(maps).reshape(2, -1, maps.shape[-1]).max(1).argmax(1)
        seed = deconvnet.isolate(maps, channel=channel)
        found = deconvnet.project(
            functools.partial(model.apply, {"params": params}),
            trace.images,
            layer=layer,
            channel=channel,
            rule=rule,
        )
        expected = deconvnet.reconstruct(
            net, params, seed, trace, layer=layer, rule=rule
        )
        assert np.any(expected), layer
        assert nets.relative(found, expected) < 1e-6, layer


def test_several_units_of_each_image():
    channels = np.array([[0, 1, 2], [3, 2, 1], [1, 1, 0]])
    positions = np.array([[[0, 0], [1, 2], [5, 4]]] * 3)
    project = functools.partial(deconvnet.project, residual, IMAGES, layer="block")
    for position in (None, (2, 2), positions[:, 0], positions):
        found = project(channel=channels, position=position)
        assert found.shape == (3, 3, *IMAGES.shape[1:])
        for unit in range(3):
            at = position
            if np.ndim(position) == 3:
                at = position[:, unit]
            one = project(channel=channels[:, unit], position=at)
            np.testing.assert_allclose(found[:, unit], one, rtol=1e-4, atol=1e-5)


def test_many_units_go_a_few_at_a_time(monkeypatch):
    channels = np.tile(np.arange(4), (3, 2))
    project = functools.partial(deconvnet.project, residual, IMAGES, layer="stem")
    together = project(channel=channels)
    monkeypatch.setattr(projections, "_BATCH", 9)
    found = project(channel=channels)
    np.testing.assert_allclose(found, together, rtol=1e-5, atol=1e-6)


def test_vectors_have_no_position():
    found = deconvnet.project(residual, IMAGES, layer="pooled", channel=2)
    assert found.shape == IMAGES.shape
    with pytest.raises(BadInput, match="position: a dense layer has none"):
        deconvnet.project(residual, IMAGES, layer="pooled", channel=2, position=(0, 0))


def test_channels_first():
    apply = functools.partial(residual, order="NCHW")
    images = jnp.moveaxis(IMAGES, 3, 1)
    options = {"layer": "block", "channel": 3, "rule": "guided"}
    found = deconvnet.project(apply, images, channels="first", **options)
    expected = deconvnet.project(residual, IMAGES, **options)
    np.testing.assert_allclose(
        jnp.moveaxis(found, 1, 3), expected, rtol=1e-4, atol=1e-5
    )


def test_it_composes():
    options = {"layer": "block", "rule": "guided"}
    project = functools.partial(deconvnet.project, residual, **options)
    expected = project(IMAGES, channel=1)
    jitted = jax.jit(lambda x, channel: project(x, channel=channel))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    close(jitted(IMAGES, jnp.int32(1)), expected)
    # For each channel; for each image.
    by_channel = jax.jit(jax.vmap(lambda channel: project(IMAGES, channel=channel)))
    close(by_channel(jnp.arange(4))[1], expected)
    by_image = jax.vmap(lambda image: project(image[None], channel=1)[0])(IMAGES)
    close(by_image, expected)
    # The projection is homogeneous in the images, the net having no biases.
    scale = jax.grad(lambda s: project(s * IMAGES, channel=1).sum())(1.0)
    close(scale, expected.sum(), rtol=1e-3)
    exported = jax.export.export(jax.jit(lambda x: project(x, channel=1)))(IMAGES)
    close(jax.export.deserialize(exported.serialize()).call(IMAGES), expected)


@pytest.mark.devices
def test_it_composes_with_shard_map():
    project = functools.partial(
        deconvnet.project, residual, layer="block", channel=1, rule="guided"
    )
    by_device = PartitionSpec("x")
    mesh = Mesh(np.array(jax.devices()), ("x",))
    sharded = jax.shard_map(project, mesh=mesh, in_specs=by_device, out_specs=by_device)
    expected = project(IMAGES[:2])
    np.testing.assert_allclose(
        jax.jit(sharded)(IMAGES[:2]), expected, rtol=1e-4, atol=1e-5
    )


def test_other_weights_compile_nothing(compilations):
    options = {"layer": "block", "channel": 1}
    first = deconvnet.project(residual, IMAGES, **options)
    doubled = {name: 2 * weights for name, weights in FILTERS.items()}
    with compilations() as programs:
        other = deconvnet.project(lambda x: residual(x, doubled), IMAGES, **options)
    assert not programs
    assert np.abs(other - first).max() > 0.1


def test_below_the_first_rectifier_the_rules_agree():
    def apply(x):
        return jax.nn.relu(checkpoint_name(conv(x, FILTERS["first"]), "a"))

    found = [
        deconvnet.project(apply, IMAGES, layer="a", channel=0, rule=rule)
        for rule in deconvnet.RULES
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def swish(x):
    return checkpoint_name(jax.nn.silu(conv(x, FILTERS["first"])), "a")


@pytest.mark.parametrize(
    ("apply", "change", "message"),
    [
        (residual, {"layer": "blok"}, "'blok'.*block"),
        (residual, {"channel": 4}, "channel 4: the maps have 0 to 3"),
        (residual, {"channel": [[0, 1], [0, 1], [0, 4]]}, "channel 4: the maps have"),
        (residual, {"channel": [0, 1]}, r"channel of shape \(2,\): give one, \[N\]"),
        (residual, {"position": (6, 0)}, "position 6: the maps have 0 to 5"),
        (residual, {"position": [1, 2, 3]}, r"position of shape \(3,\): give"),
        (residual, {"rule": "saliency"}, "rule 'saliency': there are"),
        (residual, {"images": IMAGES[0]}, r"images of shape \(6, 5, 2\): give \[N"),
        (residual, {"images": IMAGES.astype(int)}, "int32 images of shape"),
        (swish, {"layer": "a"}, "other nonlinearities: silu"),
        (
            lambda x: checkpoint_name(conv(x, FILTERS["first"]), "a"),
            {"layer": "a"},
            "no rectifier was found",
        ),
    ],
)
def test_bad_requests(apply, change, message):
    options = {"images": IMAGES, "layer": "block", "channel": 1} | change
    with pytest.raises(BadInput, match=message):
        deconvnet.project(apply, options.pop("images"), **options)


@pytest.mark.parametrize(
    "bounded",
    [
        jax.nn.relu6,
        lambda x: jnp.clip(x, 0, 6),
        lambda x: jnp.maximum(jnp.minimum(x, 6), 0),
    ],
)
def test_a_seed_passes_the_upper_bound_of_its_own_activation(bounded):
    # 3 units of 1 are below the bound at the first channel, above it at the second.
    weights = jnp.array([[1.0, 3.0]] * 3)

    def net(images):
        return checkpoint_name(bounded(bounded(images) @ weights), "a")

    images = np.ones((1, 2, 2, 3), np.float32)
    top = topk.TopK(
        np.array([[3.0], [6.0]]), *np.zeros((1, 2, 1), int), np.zeros((2, 1, 2), int)
    )
    for rule, passed in (("deconvnet", 18), ("guided", 18), ("gradient", 0)):
        given = {"layer": "a", "rule": rule}
        _, crops = projection.project(net, list(images), top, **given)
        for channel, expected in enumerate((3, passed)):
            unit = {"channel": channel, "position": (0, 0)}
            (pixels,) = deconvnet.project(net, images, **unit, **given)
            np.testing.assert_array_equal(pixels[0, 0], np.full(3, expected))
            np.testing.assert_array_equal(crops[channel, 0, 0, 0], pixels[0, 0])
