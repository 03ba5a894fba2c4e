"""Incremental sweeps equal full ones: of third-party nets, ours, and random ones."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.transforms import third_party_nets
from tests.transforms.third_party_nets import NETS, conv
from zf_jax import convnet, layers, spec
from zf_jax.probes import model_functions, occlusion, occlusion_engine

# What two devices do is tested by itself.
ONE = jax.devices()[:1]
# 16 positions, the last ones cropped by the border.
OCCLUDER = {"side": 6, "stride": (11, 9), "devices": ONE}


def normal(*shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(values, jnp.float32)


@contextlib.contextmanager
def compiled_quickly():
    """Without most optimisations: small nets take longer to compile than to run."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def quick():
    with compiled_quickly():
        yield


@pytest.fixture
def always(monkeypatch):
    """The incremental sweep even where it saves nothing."""
    monkeypatch.setattr(occlusion, "_LEAST_GAIN", 0.0)


def assert_same(got, want, tolerance=1e-4):
    """To `tolerance` of the largest output, leaf by leaf; whole numbers exactly."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        if not jnp.issubdtype(one.dtype, jnp.floating):
            np.testing.assert_array_equal(one, other)
            continue
        one, other = (np.asarray(leaf, np.float64) for leaf in (one, other))
        assert np.isfinite(other).all()
        assert np.abs(one - other).max() <= tolerance * np.abs(other).max()


def varies(outputs):
    """Whether positions differ in any leaf, so that equality says something."""
    return any((leaf != leaf[:1, :1]).any() for leaf in jax.tree.leaves(outputs))


# Shortcuts and strides; scans and sums of squares; whole numbers and values that do not
# change; padding and mirrored borders. The others are slow.
FAST = ("residual", "across channels", "many outputs", "padded otherwise")


def _marked(names):
    return [
        pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
        for name in names
    ]


@pytest.mark.parametrize("name", _marked(NETS))
def test_a_third_party_net(name, quick, always):
    net = NETS[name]
    model_fn, image = net.make(), normal(*third_party_nets.SHAPE)
    got = occlusion.sweep(model_fn, image, fill=0.3, **OCCLUDER)
    want = occlusion.sweep(model_fn, image, fill=0.3, method="full", **OCCLUDER)
    assert_same(got, want, net.tolerance)
    assert varies(want)


@pytest.mark.parametrize("name", _marked(n for n, net in NETS.items() if net.speed_up))
def test_explain_tells_the_fast_ones(name):
    net = NETS[name]
    example = jax.ShapeDtypeStruct(third_party_nets.SHAPE, jnp.float32)
    found = occlusion.explain(net.make(), example, **OCCLUDER)
    assert found.speed_up >= net.speed_up
    # The first convolution, at least, is computed within a window of an occluder of 6
    # and the filter's own reach, up to 5 pixels more on either side of it.
    first = next(row for row in found.rows if row.window and row.work > 1e4)
    assert max(first.window) <= 16
    assert first.share < 0.25


@pytest.mark.parametrize("name", ["transformer", "products alone"])
def test_explain_tells_the_slow_ones(name):
    example = jax.ShapeDtypeStruct(third_party_nets.SHAPE, jnp.float32)
    found = occlusion.explain(NETS[name].make(), example, **OCCLUDER)
    # All but the patches' embedding is whole: by hand, that is a twelfth of the work
    # of the transformer.
    changed = [row for row in found.rows if row.share > 0]
    assert sum(row.work for row in changed if row.share < 1) < 0.1 * sum(
        row.work for row in changed
    )
    assert found.speed_up < 1.15


def _centred(images):
    """Whole from the first operation on, and then a small convolution."""
    x = images - images.max(axis=(1, 2), keepdims=True)
    return (x @ normal(3, 64)).max(axis=(1, 2))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(third_party_nets.transformer, marks=pytest.mark.slow),
        pytest.param(third_party_nets.products_alone, marks=pytest.mark.slow),
        lambda: _centred,
    ],
    ids=["transformer", "products alone", "whole at once"],
)
def test_where_nothing_is_won_the_sweep_is_full(make, quick, monkeypatch):
    monkeypatch.setattr(occlusion_engine, "incremental", None)
    got = occlusion.sweep(make(), normal(*third_party_nets.SHAPE), **OCCLUDER)
    assert varies(got)


def test_where_much_is_won_it_is_incremental(quick, monkeypatch):
    monkeypatch.setattr(occlusion_engine, "full", None)
    got = occlusion.sweep(
        third_party_nets.plain(), normal(*third_party_nets.SHAPE), **OCCLUDER
    )
    assert varies(got)


# AlexNet has groups, and LRN ahead of the pool; VGG16 is deep: its
# trunk at half the size, with a linear head.
def _vgg16():
    net = spec.VGG16
    head = layers.Layer("layer14", (layers.Flatten(), layers.Dense(10)))
    trunk = [layer for layer in net.layers if isinstance(layer.ops[0], layers.Conv)]
    half = dataclasses.replace(net.input, size=(112, 112))
    return dataclasses.replace(net, input=half, layers=(*trunk, head))


OURS = {
    "tiny": lambda: spec.TINY,
    "zfnet": lambda: spec.ZFNET,
    "alexnet": lambda: spec.ALEXNET,
    "vgg16": _vgg16,
}


def _drawn(variables):
    """Weights that keep values near 1, faster than the model's own begin."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        values = rng.standard_normal(leaf.shape, np.float32)
        return jnp.asarray(values * np.sqrt(2 / max(1, np.prod(leaf.shape[:-1]))))

    return jax.tree.map(draw, variables)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in OURS if name != "tiny"]


@pytest.mark.parametrize("name", ["tiny", *SLOW])
def test_our_own_nets(name):
    net = OURS[name]()
    model, image = convnet.ConvNet(net), normal(*net.input.size, 3)
    variables = _drawn(jax.eval_shape(model.init, jax.random.key(0), image[None]))
    convs = [each.name for each in net.layers if isinstance(each.filter, layers.Conv)]

    def model_fn(images):
        logits, trace = model.apply(variables, images)
        return {
            "logits": logits,
            "label": jnp.argmax(logits, axis=-1),
            "maps": trace.maps[convs[-1]].sum(axis=(1, 2)),
        }

    side = net.input.size[0] // 7
    given = {"side": side, "stride": 3 * side, "devices": ONE}
    # The paper's optimised, as it is used.
    with contextlib.nullcontext() if name == "zfnet" else compiled_quickly():
        got = occlusion.sweep(model_fn, image, **given)
        want = occlusion.sweep(model_fn, image, method="full", **given)
    assert_same(got, want)
    assert varies(want)
    assert occlusion.explain(model_fn, image, **given).speed_up > 1.15


def test_small_values_beside_large_ones(quick, always):
    # exp of up to 30 at one position, near 1 at all others: sums from which the one is
    # taken away, instead of not being there, are off by 1e13 * 6e-8.
    kernel, image = normal(3, 3, 3, 4) / 5, normal(24, 26, 3)
    image = image.at[9:12, 13:16].mul(30 / jnp.abs(image).max())

    def model_fn(images):
        hot = jnp.exp(jnp.minimum(4 * conv(images, kernel), 30))
        where = hot / hot.sum(axis=(1, 2), keepdims=True)
        return (where * images[..., :1]).sum(axis=(1, 2)), jnp.log(hot.sum((1, 2)))

    given = {"side": 8, "stride": 6, "devices": ONE}
    got = occlusion.sweep(model_fn, image, **given)
    assert_same(got, occlusion.sweep(model_fn, image, method="full", **given))


def test_infinite_values_are_covered_or_not(quick, always):
    image = jnp.abs(normal(12, 14, 3)).at[4, 5, 1].set(0)

    def model_fn(images):
        return jnp.log(images).sum(axis=(1, 2))

    given = {"side": 3, "stride": 3, "fill": 2.0, "devices": ONE}
    got = occlusion.sweep(model_fn, image, **given)
    want = occlusion.sweep(model_fn, image, method="full", **given)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    # Under the occluder at (3, 3) alone there is no logarithm of 0.
    assert np.argwhere(np.isfinite(want[..., 1])).tolist() == [[1, 1]]


def test_many_images_fills_and_leaves(quick):
    model_fn, images = third_party_nets.mobile(), normal(2, 23, 30, 3)
    fills = normal(2, 23, 30, 3, seed=1)
    given = {"side": 5, "stride": (9, 12), "fill": fills, "devices": ONE}
    got = occlusion.sweep(model_fn, images, batch_size=2, **given)
    assert_same(got, occlusion.sweep(model_fn, images, method="full", **given))


def _two_filters(maps=8, seed=0):
    one, two = normal(3, 3, 3, maps, seed=seed), normal(3, 3, maps, maps) / 5
    return lambda images: conv(jax.nn.relu(conv(images, one, 2)), two).mean(axis=(1, 2))


@pytest.mark.parametrize("devices", [None, pytest.param(ONE, marks=pytest.mark.slow)])
def test_a_second_image_compiles_nothing(devices, compilations, quick, monkeypatch):
    monkeypatch.setattr(occlusion_engine, "full", None)
    model_fn = _two_filters()
    images = [normal(32, 30, 3, seed=seed) for seed in range(2)]
    fill = normal(3)
    given = {"side": 5, "stride": 8, "fill": fill, "devices": devices}
    with compilations() as first:
        occlusion.sweep(model_fn, images[0], **given)
    with compilations() as second:
        jax.block_until_ready(occlusion.sweep(model_fn, images[1], **given))
    assert first
    assert not second


@pytest.mark.devices
def test_one_device_and_two_give_the_same(quick, monkeypatch):
    monkeypatch.setattr(occlusion_engine, "full", None)
    model_fn, image = _two_filters(), normal(32, 30, 3)
    # 5 rows for two devices: one of them computes a row again.
    given = {"side": 5, "stride": (7, 9)}
    want = occlusion.sweep(model_fn, image, devices=ONE, **given)
    assert want.shape[:2] == (5, 4)
    for devices in (None, jax.devices()[1:]):
        got = occlusion.sweep(model_fn, image, devices=devices, **given)
        assert got.sharding.device_set <= set(devices or jax.devices())
        assert_same(got, want, 1e-6)


@pytest.mark.devices
def test_the_device_chosen_is_the_one_used(quick):
    device = jax.devices()[1]
    got = occlusion.sweep(_two_filters(), normal(32, 30, 3), side=5, devices=[device])
    assert got.devices() == {device}


def _lowered(model_fn, shape, side, stride, chunk):
    program = model_functions.prepare(model_fn, 1, shape, jnp.float32)
    return occlusion_engine.incremental.lower(
        program.apply,
        program.weights,
        jnp.zeros((1, *shape)),
        jnp.zeros((1, 1, 1, 1)),
        grid=occlusion.grid(shape[:2], side, stride),
        chunk=chunk,
        devices=tuple(ONE),
    )


@pytest.mark.parametrize(
    "make",
    [
        _two_filters,
        pytest.param(third_party_nets.squeeze_and_excite, marks=pytest.mark.slow),
    ],
)
def test_memory_does_not_grow_with_the_positions(make, quick, monkeypatch):
    # Positions go by blocks of 128 at the most, as evenly as can be: here by two,
    # so that the blocks of both sweeps are alike.
    monkeypatch.setattr(occlusion_engine, "_BLOCK", 2)
    found = []
    for stride in (2, 1):
        lowered = _lowered(make(), (32, 32, 3), 4, stride, 2)
        found.append(lowered.compile().memory_analysis())
    # 15 positions a side and 29: as many more offsets and results, but no more maps.
    # One map of the smallest net takes 8 kB.
    fewer, more = (each.temp_size_in_bytes for each in found)
    positions = 29**2 - 15**2
    results = found[1].output_size_in_bytes - found[0].output_size_in_bytes
    assert more - fewer < 3 * results + 100 * positions


def test_memory_behind_the_windows_is_bounded(quick, monkeypatch):
    # What is whole is computed for many positions at once, as many as fit the budget:
    # by hand, two maps of 48 x 48 x 12 take 221 kB, and those of 128 positions 28 MB.
    monkeypatch.setattr(occlusion_engine, "_BUDGET", {"cpu": 1 << 20})
    for chunk in (None, 1):
        lowered = _lowered(
            third_party_nets.squeeze_and_excite(), (48, 48, 3), 4, 4, chunk
        )
        assert lowered.compile().memory_analysis().temp_size_in_bytes < 4 << 20


def test_weights_enter_as_arguments_to_loops_and_filters(quick):
    kernel, deep = normal(3, 3, 3, 32), normal(2, 3, 3, 32, 32)

    @jax.jit
    def model_fn(images):
        x = jax.nn.relu(conv(images, kernel, 2))
        x, _ = lax.scan(lambda x, deep: (conv(x, deep), None), conv(x, deep[0]), deep)
        return x.mean(axis=(1, 2))

    text = _lowered(model_fn, (16, 16, 3), 4, 4, 2).as_text()
    # 18,432 weights as text would take more than 8 characters each.
    assert len(text) < 100_000
    assert "tensor<2x3x3x32x32xf32>" in text
