"""Incremental sweeps equal full ones: third_party_nets' nets, ours, and random ones."""

import contextlib
import dataclasses
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from tests.transforms import third_party_nets
from tests.transforms.third_party_nets import STRANGERS, conv
from zf_jax import convnet, layers, spec
from zf_jax.probes import model_functions, occluder_grid, occlusion, occlusion_engine

# What two devices do is tested by itself.
ONE = jax.devices()[:1]
# 16 places, the last ones cropped by the border.
SQUARES = {"side": 6, "stride": (11, 9), "devices": ONE}


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
    """To `tolerance` of the largest reading, leaf by leaf; whole numbers exactly."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        if not jnp.issubdtype(one.dtype, jnp.floating):
            np.testing.assert_array_equal(one, other)
            continue
        one, other = (np.asarray(leaf, np.float64) for leaf in (one, other))
        assert np.isfinite(other).all()
        assert np.abs(one - other).max() <= tolerance * np.abs(other).max()


def varies(readings):
    """Whether places differ in any leaf, so that equality says something."""
    return any((leaf != leaf[:1, :1]).any() for leaf in jax.tree.leaves(readings))


@pytest.mark.parametrize("name", STRANGERS)
def test_a_third_party_nets_net(name, quick, always):
    stranger = STRANGERS[name]
    read, image = stranger.make(), normal(*third_party_nets.SHAPE)
    got = occlusion.sweep(read, image, fill=0.3, **SQUARES)
    want = occlusion.sweep(read, image, fill=0.3, method="full", **SQUARES)
    assert_same(got, want, stranger.tolerance)
    assert varies(want)


@pytest.mark.parametrize("name", [n for n, s in STRANGERS.items() if s.speed_up])
def test_explain_tells_the_fast_ones(name):
    stranger = STRANGERS[name]
    example = jax.ShapeDtypeStruct(third_party_nets.SHAPE, jnp.float32)
    found = occlusion.explain(stranger.make(), example, **SQUARES)
    assert found.speed_up >= stranger.speed_up
    # The first filters, at least, are computed within a window of a square of 6 and
    # the filter's own reach, up to 5 pixels more on either side of it.
    first = next(row for row in found.rows if row.window and row.work > 1e4)
    assert max(first.window) <= 16
    assert first.share < 0.25


@pytest.mark.parametrize("name", ["transformer", "products alone"])
def test_explain_tells_the_slow_ones(name):
    example = jax.ShapeDtypeStruct(third_party_nets.SHAPE, jnp.float32)
    found = occlusion.explain(STRANGERS[name].make(), example, **SQUARES)
    # All but the patches' embedding is whole: by hand, that is a twelfth of the work
    # of the transformer.
    changed = [row for row in found.rows if row.share > 0]
    assert sum(row.work for row in changed if row.share < 1) < 0.1 * sum(
        row.work for row in changed
    )
    assert found.speed_up < 1.15


def _centred(images):
    """Whole from the first operation on, and then small filters."""
    x = images - images.max(axis=(1, 2), keepdims=True)
    return (x @ normal(3, 64)).max(axis=(1, 2))


@pytest.mark.parametrize(
    "make",
    [third_party_nets.transformer, third_party_nets.products_alone, lambda: _centred],
    ids=["transformer", "products alone", "whole at once"],
)
def test_where_nothing_is_won_the_sweep_is_full(make, quick, monkeypatch):
    monkeypatch.setattr(occlusion_engine, "incremental", None)
    got = occlusion.sweep(make(), normal(*third_party_nets.SHAPE), **SQUARES)
    assert varies(got)


def test_where_much_is_won_it_is_incremental(quick, monkeypatch):
    monkeypatch.setattr(occlusion_engine, "full", None)
    got = occlusion.sweep(
        third_party_nets.plain(), normal(*third_party_nets.SHAPE), **SQUARES
    )
    assert varies(got)


# AlexNet has groups, and contrast normalisation ahead of the pool; VGG16 is deep: its
# trunk at half the size, with a linear head.
def _vgg16():
    net = spec.VGG16
    head = layers.Layer("layer14", (layers.Flatten(), layers.Dense(10)))
    trunk = [layer for layer in net.layers if isinstance(layer.ops[0], layers.Conv)]
    half = dataclasses.replace(net.input, size=(112, 112))
    return dataclasses.replace(net, input=half, layers=(*trunk, head))


OURS = {
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


@pytest.mark.parametrize("name", OURS)
def test_our_own_nets(name):
    net = OURS[name]()
    model, image = convnet.ConvNet(net), normal(*net.input.size, 3)
    variables = _drawn(jax.eval_shape(model.init, jax.random.key(0), image[None]))
    deepest = [layer.name for layer in net.layers][-2 if name == "vgg16" else 4]

    def read(images):
        logits, trace = model.apply(variables, images)
        return {
            "logits": logits,
            "label": jnp.argmax(logits, axis=-1),
            "maps": trace.maps[deepest].sum(axis=(1, 2)),
        }

    given = {"side": 32, "stride": 96, "devices": ONE}
    # The paper's optimised, as it is used.
    with contextlib.nullcontext() if name == "zfnet" else compiled_quickly():
        got = occlusion.sweep(read, image, **given)
        want = occlusion.sweep(read, image, method="full", **given)
    assert_same(got, want)
    assert varies(want)
    assert occlusion.explain(read, image, **given).speed_up > 1.15


def test_small_values_beside_large_ones(quick, always):
    # exp of up to 30 at one place, near 1 at all others: sums from which the one is
    # taken away, instead of not being there, are off by 1e13 * 6e-8.
    kernel, image = normal(3, 3, 3, 4) / 5, normal(24, 26, 3)
    image = image.at[9:12, 13:16].mul(30 / jnp.abs(image).max())

    def read(images):
        hot = jnp.exp(jnp.minimum(4 * conv(images, kernel), 30))
        where = hot / hot.sum(axis=(1, 2), keepdims=True)
        return (where * images[..., :1]).sum(axis=(1, 2)), jnp.log(hot.sum((1, 2)))

    given = {"side": 8, "stride": 6, "devices": ONE}
    got = occlusion.sweep(read, image, **given)
    assert_same(got, occlusion.sweep(read, image, method="full", **given))


def test_infinite_values_are_covered_or_not(quick, always):
    image = jnp.abs(normal(12, 14, 3)).at[4, 5, 1].set(0)

    def read(images):
        return jnp.log(images).sum(axis=(1, 2))

    given = {"side": 3, "stride": 3, "fill": 2.0, "devices": ONE}
    got = occlusion.sweep(read, image, **given)
    want = occlusion.sweep(read, image, method="full", **given)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    # Under the square at (3, 3) alone there is no logarithm of 0.
    assert np.argwhere(np.isfinite(want[..., 1])).tolist() == [[1, 1]]


# Random nets.
OPERATIONS = ("conv", "conv", "pool", "lrn", "tanh", "pad", "slice", "scale")


@st.composite
def nets(draw):
    """An image's shape and a sequence of operations that it can go through."""
    shape = draw(st.tuples(st.integers(7, 24), st.integers(7, 24), st.just(2)))
    sizes, maps, steps = list(shape[:2]), 2, []
    for name in draw(st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=4)):
        options = {}
        if name in ("conv", "pool"):
            size = draw(_pair(1, 4))
            stride, dilation = draw(_pair(1, 3)), draw(_pair(1, 2))
            pads = tuple(draw(_pair(0, s - 1)) for s in size)
            reach = [(s - 1) * d + 1 for s, d in zip(size, dilation, strict=True)]
            after = [
                (n + sum(p) - r) // s + 1
                for n, p, r, s in zip(sizes, pads, reach, stride, strict=True)
            ]
            options = {"size": size, "stride": stride, "pads": pads}
            options |= {"dilation": dilation}
            if name == "conv":
                # 16 channels and more take Winograd's form on a CPU.
                options["maps"] = draw(st.sampled_from([4, 16]))
                options["groups"] = draw(st.sampled_from([1, 2]))
                options["before"] = maps
            else:
                options["kind"] = draw(st.sampled_from(["max", "mean", "min"]))
        elif name == "pad":
            pads = tuple(draw(_pair(0, 3)) for _ in range(2))
            options = {"pads": pads, "value": draw(st.sampled_from([0.0, -2.0]))}
            after = [n + sum(p) for n, p in zip(sizes, pads, strict=True)]
        elif name == "slice":
            begin, step = draw(_pair(0, 3)), draw(_pair(1, 2))
            options = {"begin": begin, "step": step}
            after = [
                -(-(n - b) // t) for n, b, t in zip(sizes, begin, step, strict=True)
            ]
        else:
            after = sizes
        # What leaves nothing of the map is left out.
        if min(after) >= 1 and (name != "pool" or _all_see_something(options, sizes)):
            sizes, maps = after, options.get("maps", maps)
            steps.append((name, options))
    return shape, steps


def _pair(least, most):
    return st.tuples(st.integers(least, most), st.integers(least, most))


def _all_see_something(options, sizes):
    """A dilated window may see padding alone, whose maximum is not finite."""
    ones = np.ones((1, *sizes, 1), np.float32)
    return np.isfinite(_pool(ones, **options | {"kind": "max"})).all()


def _pool(x, kind, size, stride, pads, dilation):
    start, function = {
        "max": (-jnp.inf, lax.max),
        "min": (jnp.inf, lax.min),
        "mean": (0.0, lax.add),
    }[kind]
    return lax.reduce_window(
        x,
        start,
        function,
        (1, *size, 1),
        (1, *stride, 1),
        ((0, 0), *pads, (0, 0)),
        window_dilation=(1, *dilation, 1),
    )


def _make_net(steps, seed):
    rng = np.random.default_rng(seed)
    kernels = {
        i: rng.normal(size=(*o["size"], o["before"] // o["groups"], o["maps"])) / 3
        for i, (name, o) in enumerate(steps)
        if name == "conv"
    }

    def read(images):
        x = images
        for i, (name, options) in enumerate(steps):
            if name == "conv":
                x = lax.conv_general_dilated(
                    x,
                    jnp.asarray(kernels[i], jnp.float32),
                    options["stride"],
                    options["pads"],
                    rhs_dilation=options["dilation"],
                    feature_group_count=options["groups"],
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )
            elif name == "pool":
                x = _pool(x, **options)
            elif name == "lrn":
                power = lax.reduce_window(
                    x**2, 0.0, lax.add, (1, 1, 1, 3), (1, 1, 1, 1), "SAME"
                )
                x = x / (1 + power) ** 0.75
            elif name == "tanh":
                x = jnp.tanh(x)
            elif name == "pad":
                pads = ((0, 0), *options["pads"], (0, 0))
                x = jnp.pad(x, pads, constant_values=options["value"])
            elif name == "slice":
                (top, left), (down, across) = options["begin"], options["step"]
                x = x[:, top::down, left::across]
            else:
                # A factor a place, the same in all maps.
                x = x * jnp.linspace(1, 2, x.shape[1])[:, None, None][None]
        return x, x.sum(axis=(1, 2)), x[:, -1:, :1].max(axis=-1)

    return read


@st.composite
def grids(draw, shape):
    """Squares of every size up to the image's, at every stride."""
    side = [draw(st.one_of(st.just(n), st.integers(1, n))) for n in shape]
    # Few places an axis: they share what is compiled.
    stride = [
        draw(st.integers(max(1, (n - s) // 4), max(1, n - s)))
        for n, s in zip(shape, side, strict=True)
    ]
    return occlusion.grid(tuple(shape), tuple(side), tuple(stride))


def _fill(draw, shape):
    kind = draw(st.sampled_from(["number", "colour", "image"]))
    size = {"number": (1, 1, 1, 1), "colour": (1, 1, 1, 2), "image": (1, *shape)}[kind]
    return normal(*size, seed=7)


def _occluded(image, fill, places: occluder_grid.Grid):
    """All occluded images, cut and filled by NumPy."""
    fill, found = np.broadcast_to(fill[0], image.shape), []
    for row in places.rows:
        for column in places.columns:
            copy = np.array(image)
            at = (
                slice(row, row + places.side[0]),
                slice(column, column + places.side[1]),
            )
            copy[at] = fill[at]
            found.append(copy)
    return np.stack(found)


def assert_incremental(read, image, fill, places, chunk):
    """The incremental sweep gives what the function gives of the occluded images."""
    program = model_functions.prepare(read, 1, image.shape, image.dtype)
    got, clean = occlusion_engine.incremental(
        program.apply,
        program.weights,
        image[None],
        fill,
        grid=places,
        chunk=chunk,
        devices=tuple(ONE),
    )
    images = _occluded(image, fill, places)
    # The clean image is the last.
    want = jax.jit(read)(np.concatenate([images, image[None]]))
    assert_same(
        [leaf.reshape(-1, *leaf.shape[3:]) for leaf in got],
        [leaf[:-1] for leaf in want],
    )
    assert_same(list(clean), [leaf[-1:] for leaf in want])


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.data(), nets(), st.integers(0, 3), st.sampled_from([None, 1, 3]))
def test_random_nets(data, net, seed, chunk):
    shape, steps = net
    places, fill = data.draw(grids(shape[:2])), _fill(data.draw, shape)
    with compiled_quickly():
        assert_incremental(_make_net(steps, seed), normal(*shape), fill, places, chunk)


def test_many_images_fills_and_leaves(quick):
    read, images = third_party_nets.mobile(), normal(2, 23, 30, 3)
    fills = normal(2, 23, 30, 3, seed=1)
    given = {"side": 5, "stride": (9, 12), "fill": fills, "devices": ONE}
    got = occlusion.sweep(read, images, batch_size=2, **given)
    assert_same(got, occlusion.sweep(read, images, method="full", **given))


# Promises.


def _two_filters(maps=8, seed=0):
    one, two = normal(3, 3, 3, maps, seed=seed), normal(3, 3, maps, maps) / 5
    return lambda images: conv(jax.nn.relu(conv(images, one, 2)), two).mean(axis=(1, 2))


@pytest.mark.parametrize("devices", [None, ONE])
def test_a_second_image_compiles_nothing(devices, compilations, quick, monkeypatch):
    monkeypatch.setattr(occlusion_engine, "full", None)
    read = _two_filters()
    images = [normal(32, 30, 3, seed=seed) for seed in range(2)]
    fill = normal(3)
    given = {"side": 5, "stride": 8, "fill": fill, "devices": devices}
    with compilations() as first:
        occlusion.sweep(read, images[0], **given)
    with compilations() as second:
        jax.block_until_ready(occlusion.sweep(read, images[1], **given))
    assert first
    assert not second


@pytest.mark.devices
def test_one_device_and_two_give_the_same(quick, monkeypatch):
    monkeypatch.setattr(occlusion_engine, "full", None)
    read, image = _two_filters(), normal(32, 30, 3)
    # 5 rows for two devices: one of them computes a row again.
    given = {"side": 5, "stride": (7, 9)}
    want = occlusion.sweep(read, image, devices=ONE, **given)
    assert want.shape[:2] == (5, 4)
    for devices in (None, jax.devices()[1:]):
        got = occlusion.sweep(read, image, devices=devices, **given)
        assert got.sharding.device_set <= set(devices or jax.devices())
        assert_same(got, want, 1e-6)


@pytest.mark.devices
def test_the_device_chosen_is_the_one_used(quick):
    device = jax.devices()[1]
    got = occlusion.sweep(_two_filters(), normal(32, 30, 3), side=5, devices=[device])
    assert got.devices() == {device}


def _lowered(read, shape, side, stride, chunk):
    program = model_functions.prepare(read, 1, shape, jnp.float32)
    return occlusion_engine.incremental.lower(
        program.apply,
        program.weights,
        jnp.zeros((1, *shape)),
        jnp.zeros((1, 1, 1, 1)),
        grid=occlusion.grid(shape[:2], side, stride),
        chunk=chunk,
        devices=tuple(ONE),
    )


@pytest.mark.parametrize("make", [_two_filters, third_party_nets.squeeze_and_excite])
def test_memory_does_not_grow_with_the_places(make, quick, monkeypatch):
    # Places go by blocks of 128 at the most, as evenly as can be: here by two, so that
    # the blocks of both sweeps are alike.
    monkeypatch.setattr(occlusion_engine, "_BLOCK", 2)
    found = []
    for stride in (2, 1):
        lowered = _lowered(make(), (32, 32, 3), 4, stride, 2)
        found.append(lowered.compile().memory_analysis())
    # 15 places a side and 29: as many numbers more, and results, but no more maps. One
    # map of the smallest net takes 8 kB.
    fewer, more = (each.temp_size_in_bytes for each in found)
    places = 29**2 - 15**2
    results = found[1].output_size_in_bytes - found[0].output_size_in_bytes
    assert more - fewer < 3 * results + 100 * places


def test_memory_behind_the_windows_is_bounded(quick, monkeypatch):
    # What is whole is computed for many places at once, as many as fit the budget: by
    # hand, a place's two maps of 48 x 48 x 12 take 221 kB, and 128 of them 28 MB.
    monkeypatch.setattr(occlusion_engine, "_BUDGET", {"cpu": 1 << 20})
    for chunk in (None, 1):
        lowered = _lowered(
            third_party_nets.squeeze_and_excite(), (48, 48, 3), 4, 4, chunk
        )
        assert lowered.compile().memory_analysis().temp_size_in_bytes < 4 << 20


def test_weights_enter_as_arguments_to_loops_and_filters(quick):
    kernel, deep = normal(3, 3, 3, 32), normal(2, 3, 3, 32, 32)

    @jax.jit
    def read(images):
        x = jax.nn.relu(conv(images, kernel, 2))
        x, _ = lax.scan(lambda x, deep: (conv(x, deep), None), conv(x, deep[0]), deep)
        return x.mean(axis=(1, 2))

    text = _lowered(read, (16, 16, 3), 4, 4, 2).as_text()
    # 18,432 weights as text would take more than 8 characters each.
    assert len(text) < 100_000
    assert "tensor<2x3x3x32x32xf32>" in text


def test_weights_go_when_the_read_goes(quick, monkeypatch):
    monkeypatch.setattr(occlusion_engine, "full", None)

    def make():
        kernel = normal(3, 3, 3, 16)
        return lambda images: conv(images, kernel, 2), weakref.ref(kernel)

    read, gone = make()
    occlusion.sweep(read, normal(32, 30, 3), side=5, devices=ONE)
    assert gone() is not None
    del read
    gc.collect()
    assert gone() is None
