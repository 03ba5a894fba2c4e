"""The gallery: the strongest images against a sort in NumPy, projections cut right."""

import collections
import concurrent.futures
import dataclasses
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zf_jax import convnet, deconvnet, geometry
from zf_jax.errors import BadInput
from zf_jax.layers import LRN, Conv, Dense, Flatten, Layer, Pool, Relu
from zf_jax.probes import compiled_passes, controls, projection, topk, unit_projector
from zf_jax.spec import Input, Spec

NET = Spec(
    "toy",
    Input((17, 14), mean=(0.0, 0.0, 0.0)),
    (
        Layer("layer1", (Conv(4, 3, 2, 1), Relu(), Pool(3, 2, ((0, 1), (0, 1))))),
        Layer("layer2", (Conv(5, (3, 2)), Relu(), LRN())),
        Layer("layer3", (Flatten(), Dense(6), Relu())),
        Layer("layer4", (Dense(3),)),
    ),
)


def pictures(count, seed=0):
    shape = (count, *NET.input.size, 3)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def params():
    images = jnp.zeros((1, *NET.input.size, 3))
    model = convnet.ConvNet(NET, kernel_init=jax.nn.initializers.he_normal())
    return model.init(jax.random.key(0), images)["params"]


@pytest.fixture(scope="module")
def read_maps(params):
    def read(images):
        return convnet.ConvNet(NET).apply({"params": params}, images)[1].maps

    return read


def oracle(maps, k):
    """Sorts the images of every map; ties to the lower image, then position."""
    maps = np.asarray(maps)
    count, *places, channels = maps.shape
    flat = maps.reshape(count, -1, channels)
    values = np.full((channels, k), -np.inf, np.float32)
    images = np.full((channels, k), -1)
    positions = np.zeros((channels, k, 2), int)
    for c in range(channels):
        peaks = flat[:, :, c].max(axis=1)
        order = sorted(range(count), key=lambda n: (-peaks[n], n))[:k]
        for rank, n in enumerate(order):
            at = np.unravel_index(flat[n, :, c].argmax(), places or (1, 1))
            values[c, rank], images[c, rank] = peaks[n], n
            positions[c, rank] = at
    return topk.TopK(values, images, positions)


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def in_batches(images, size):
    return (images[i : i + size] for i in range(0, len(images), size))


@pytest.mark.parametrize("k", [1, 4, 9])
def test_strongest_equals_a_sort(read_maps, k):
    images = pictures(11)
    maps = jax.jit(read_maps)(images)
    best = topk.scan(read_maps, [images], k=k)
    assert set(best) == {"layer1", "layer2", "layer3", "layer4"}
    for layer, found in best.items():
        want = oracle(maps[layer], k)
        np.testing.assert_array_equal(found.images, want.images)
        np.testing.assert_array_equal(found.positions, want.positions)
        # Compiled twice in float32: equal but for roundings.
        np.testing.assert_allclose(found.values, want.values, rtol=1e-5, atol=1e-6)
        assert found.values.dtype == jnp.float32
        assert found.images.dtype == found.positions.dtype == jnp.int32


def plain(images):
    """Maps that need no rounding: any two ways to compute them agree bit for bit."""
    return {"maps": images, "dense": images[:, 0, 0]}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 12, 13])
def test_any_split_into_batches_gives_the_same(size):
    # 13 images: the last batch is short but for sizes 1 and 13; values from 0 to 5, so
    # that many are equal.
    images = np.random.default_rng(3).integers(0, 6, (13, 4, 5, 7)).astype(np.float32)
    best = topk.scan(plain, in_batches(images, size), k=4)
    assert_same(best["maps"], oracle(images, 4))
    assert_same(best["dense"], oracle(images[:, 0, 0], 4))


def test_a_buffer_that_is_filled_again_for_every_batch():
    images = np.random.default_rng(3).integers(0, 6, (12, 4, 5, 7)).astype(np.float32)
    buffer = np.empty((3, *images.shape[1:]), np.float32)

    def batches():
        for first in range(0, len(images), len(buffer)):
            buffer[:] = images[first : first + len(buffer)]
            yield buffer

    assert_same(topk.scan(plain, batches(), k=4)["maps"], oracle(images, 4))


def test_negative_values_and_the_filled_up_batch():
    # What fills up the last batch is zero, more than any of these; it must not win.
    images = -1 - np.random.default_rng(4).random((5, 2, 2, 3)).astype(np.float32)
    best = topk.scan(plain, in_batches(images, 3), k=5)
    assert_same(best["maps"], oracle(images, 5))


@pytest.mark.devices
def test_devices_give_the_same_bit_for_bit(read_maps):
    images, devices = pictures(22), jax.devices()
    want = topk.scan(read_maps, in_batches(images, 8), devices=devices)
    got = topk.scan(read_maps, in_batches(images, 8), devices=devices[:1])
    for layer in want:
        assert_same(got[layer], want[layer])


def test_the_order_of_the_images_gives_the_same(read_maps):
    images = pictures(20)
    order = np.random.default_rng(1).permutation(20)
    want = topk.scan(read_maps, in_batches(images, 8), k=4)
    got = topk.scan(read_maps, in_batches(images[order], 8), k=4)
    for layer in want:
        np.testing.assert_array_equal(got[layer].values, want[layer].values)
        # Where several images are silent, the lower number is another image's.
        unique = np.asarray(want[layer].values) > 0
        back = order[np.asarray(got[layer].images)]
        np.testing.assert_array_equal(
            back[unique], np.asarray(want[layer].images)[unique]
        )
        assert unique.mean() > 0.5


def test_a_pass_goes_on_where_it_was_interrupted(read_maps):
    images, kept = pictures(19), None
    for each in topk.scan_states(read_maps, in_batches(images, 4), k=3):
        kept = jax.tree.map(np.asarray, each)
        if kept.seen == 12:
            break
    rest = topk.scan_states(read_maps, in_batches(images[12:], 4), k=3, start=kept)
    *_, last = rest
    assert last.seen == 19
    want = topk.scan(read_maps, in_batches(images, 4), k=3)
    for layer in want:
        assert_same(last.best[layer], want[layer])


def test_a_pass_of_something_else_is_not_gone_on_from(read_maps):
    images = pictures(4)
    (kept,) = topk.scan_states(read_maps, [images], k=3)
    with pytest.raises(BadInput, match=r"start: .*\(4, 3\).*\(4, 2\)"):
        next(topk.scan_states(read_maps, [images], k=2, start=kept))


def test_fewer_images_than_k():
    images = np.arange(1.0, 4.0, dtype=np.float32).reshape(3, 1, 1, 1)
    best = topk.scan(plain, in_batches(images, 2), k=5)["maps"]
    np.testing.assert_array_equal(best.values, [[3, 2, 1, -np.inf, -np.inf]])
    np.testing.assert_array_equal(best.images, [[2, 1, 0, -1, -1]])
    np.testing.assert_array_equal(best.positions, np.zeros((1, 5, 2)))


def test_ties_go_to_the_lower_image():
    images = np.ones((6, 2, 3, 2), np.float32)
    best = topk.scan(plain, in_batches(images, 4), k=3)["maps"]
    np.testing.assert_array_equal(best.images, [[0, 1, 2], [0, 1, 2]])
    # ... and within an image to the first position, row by row.
    np.testing.assert_array_equal(best.positions, np.zeros((2, 3, 2)))


def test_uint8_batches_compile_once(compilations):
    images = np.random.default_rng(5).integers(0, 255, (9, 3, 3, 2), np.uint8)

    def read(images):
        return {"maps": images.astype(jnp.float32) / 2}

    topk.scan(read, in_batches(images[:4], 4), k=2)
    with compilations() as found:
        best = topk.scan(read, in_batches(images, 4), k=2)
    assert not found
    assert_same(best["maps"], oracle(images.astype(np.float32) / 2, 2))


K, CHANNELS = 3, 2
of_batch = jax.jit(topk.of_batch)
merge = jax.jit(topk.merge, static_argnums=2)
# Few values and few images: ties between images, and between positions, abound.
VALUES = st.integers(-1, 2).map(float)


@st.composite
def some_strongest(draw, first):
    """The strongest of a few images, numbered from `first` on."""
    count = draw(st.integers(0, 4))
    shape = (count, 2, 2, CHANNELS)
    values = draw(
        st.lists(VALUES, min_size=count * 8, max_size=count * 8).map(np.array)
    )
    best = topk.empty(CHANNELS, K)
    if count:
        found = of_batch(
            jnp.asarray(values.reshape(shape), jnp.float32),
            first + jnp.arange(count),
        )
        best = merge(best, found, K)
    return best


@settings(max_examples=25, deadline=None, derandomize=True)
@given(some_strongest(0), some_strongest(4), some_strongest(8))
def test_merge_is_a_commutative_monoid(a, b, c):
    assert_same(merge(a, topk.empty(CHANNELS, K), K), a)
    assert_same(merge(topk.empty(CHANNELS, K), a, K), a)
    assert_same(merge(a, b, K), merge(b, a, K))
    assert_same(
        merge(merge(a, b, K), c, K),
        merge(a, merge(b, c, K), K),
    )


@pytest.mark.parametrize("k", [0, -1])
def test_strongest_refuses_no_k(k):
    with pytest.raises(BadInput, match=f"k {k}"):
        topk.scan(plain, [np.zeros((1, 2, 2, 1), np.float32)], k=k)


def test_strongest_refuses_no_batches():
    with pytest.raises(BadInput, match="batches"):
        topk.scan(plain, [], k=3)


@pytest.fixture(scope="module")
def found(read_maps):
    images = pictures(7, seed=1)
    return images, topk.scan(read_maps, [images], k=3)


def full_frame(params, layer, image, channel, position, rule):
    """One projection in the image's own frame, not cut."""
    _, trace = convnet.ConvNet(NET).apply({"params": params}, image[None])
    maps = trace.maps[layer]
    position = position if maps.ndim == 4 else None
    seed = deconvnet.isolate(maps, channel=channel, position=position)
    pixels = deconvnet.reconstruct(NET, params, seed, trace, layer=layer, rule=rule)
    return np.asarray(pixels[0])


def window(layer, position):
    """The frame of the receptive field, moved inside: by geometry and by hand."""
    field, cut = geometry.fields(NET)[layer], []
    for axis in (0, 1):
        length = NET.input.size[axis]
        size = min(field.size[axis], length)
        first = field.start[axis] + int(position[axis]) * field.step[axis]
        first = min(max(first, 0), length - size)
        cut.append(slice(first, first + size))
    return tuple(cut)


@pytest.mark.parametrize("layer", ["layer1", "layer2", "layer3", "layer4"])
def test_project_equals_reconstruct_cropped(params, found, layer):
    images, best = found
    rule = "guided" if layer == "layer2" else "deconvnet"
    patches, projections = projection.project(
        NET, params, images, best, layer=layer, rule=rule, batch_size=4
    )
    values, indices, positions = map(np.asarray, best[layer])
    assert patches.shape == projections.shape
    assert patches.shape[:2] == values.shape
    for m, k in np.ndindex(*values.shape):
        image, position = images[indices[m, k]], positions[m, k]
        cut = window(layer, position)
        np.testing.assert_array_equal(patches[m, k], image[cut])
        whole = full_frame(params, layer, image, m, position, rule)
        # The same sums in float32, compiled for another batch.
        np.testing.assert_allclose(
            projections[m, k], whole[cut], rtol=1e-4, atol=1e-5 * np.abs(whole).max()
        )
        # Nothing of the projection was cut off.
        outside = whole.copy()
        outside[cut] = 0
        assert not outside.any()


def test_project_shows_something(params, found):
    images, best = found
    _, projections = projection.project(NET, params, images, best, layer="layer2")
    active = np.asarray(best["layer2"].values) > 0
    assert active.any()
    assert (np.abs(projections).max(axis=(2, 3, 4)) > 0)[active].all()


def test_project_chosen_maps(params, found):
    images, best = found
    every = projection.project(NET, params, images, best, layer="layer2")
    some = projection.project(
        NET, params, images, best, layer="layer2", channels=[3, 0]
    )
    one = projection.project(
        NET, params, images, best["layer2"], layer="layer2", channels=[3]
    )
    for all_, two, single in zip(every, some, one, strict=True):
        np.testing.assert_allclose(two, all_[[3, 0]], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(single, all_[[3]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_project_does_not_depend_on_batch_size(params, found, batch_size):
    images, best = found
    want = projection.project(NET, params, images, best, layer="layer1")
    got = projection.project(
        NET, params, images, best, layer="layer1", batch_size=batch_size
    )
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_project_is_zero_where_there_is_no_image(params, read_maps):
    images = pictures(2, seed=2)
    best = topk.scan(read_maps, [images], k=4)
    parts = projection.project(NET, params, images, best, layer="layer1")
    for part in parts:
        assert not part[:, 2:].any()
        assert part[:, :2].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "layer9"}, "layer9.*layer1, layer2"),
        ({"channels": [0, 5]}, "channel 5.*0 to 4"),
        ({"channels": [-1]}, "channel -1"),
        ({"rule": "sideways"}, "rule 'sideways'"),
    ],
)
def test_project_refuses(params, found, change, message):
    images, best = found
    given = {"layer": "layer2"} | change
    with pytest.raises(BadInput, match=message):
        projection.project(NET, params, images, best["layer2"], **given)


def test_project_refuses_where_nothing_was_seen(params):
    with pytest.raises(BadInput, match="layer2: no image"):
        projection.project(NET, params, [], topk.empty(5, 3), layer="layer2")


# Asymmetric padding, groups, overlapping pools, contrast normalisation, large images.
TRUNK = Spec(
    "trunk",
    Input((48, 40), mean=(0.0, 0.0, 0.0)),
    (
        Layer("a", (Conv(6, 3, 1, 1), Relu(), Pool(2, 2))),
        Layer(
            "b",
            (
                Conv(8, (3, 2), 1, ((1, 0), (0, 1)), 2),
                Relu(),
                Pool(3, 2, ((0, 1), (1, 1))),
                LRN(alpha=0.1),
            ),
        ),
        Layer("c", (Conv(5, 3, 1, 1), Relu())),
    ),
)
SIZES = [(48, 40), (30, 77), (9, 50)]


@pytest.fixture(scope="module")
def trunk():
    """Parameters, and an image of each size."""
    model = convnet.ConvNet(TRUNK, kernel_init=jax.nn.initializers.he_normal())
    image = jnp.zeros((1, *TRUNK.input.size, 3))
    params = jax.jit(model.init)(jax.random.key(3), image)
    rng = np.random.default_rng(6)
    return params["params"], [
        rng.normal(size=(*size, 3)).astype(np.float32) for size in SIZES
    ]


def everywhere(net, layer):
    """A `Strongest` of corners, borders and middles of every image, for all maps."""
    where = []
    for index, size in enumerate(SIZES):
        *places, maps = geometry.shapes(net, size)[layer].maps
        rows, columns = (sorted({0, n // 2, n - 1}) for n in places)
        where += [(index, row, column) for row in rows for column in columns]
    where = np.array(where)
    values = np.ones((maps, len(where)), np.float32)
    images = np.broadcast_to(where[:, 0], values.shape)
    positions = np.broadcast_to(where[:, 1:], (*values.shape, 2))
    return topk.TopK(values, images, positions)


def framed(pixels, field, position, size):
    """What `project` shows of [H, W, C]: by the field's corner, moved inside.

    What lies outside of a smaller image is zero.
    """
    shown = np.zeros((*size, pixels.shape[-1]), np.float32)
    cut = []
    for axis in (0, 1):
        first = field.start[axis] + int(position[axis]) * field.step[axis]
        first = min(max(first, 0), max(pixels.shape[axis] - size[axis], 0))
        cut.append(slice(first, first + size[axis]))
    seen = pixels[tuple(cut)]
    shown[: seen.shape[0], : seen.shape[1]] = seen
    return shown


@pytest.mark.parametrize(
    ("layer", "rule", "size"),
    [
        ("a", "deconvnet", (48, 40)),
        ("b", "gradient", (48, 40)),
        ("c", "deconvnet", (48, 40)),
        ("c", "guided", (48, 40)),
        # What a unit sees is more than an image of the net's own size: such would be
        # run whole, those of other sizes by the cone.
        ("c", "deconvnet", (16, 14)),
    ],
)
def test_cones_of_photographs_equal_reconstruct_cropped(trunk, layer, rule, size):
    params, images = trunk
    net = dataclasses.replace(TRUNK, input=dataclasses.replace(TRUNK.input, size=size))
    best = everywhere(net, layer)
    patches, projections = projection.project(
        net, params, images, best, layer=layer, rule=rule
    )
    field = geometry.fields(net)[layer]
    size = tuple(map(min, field.size, size))
    assert patches.shape == projections.shape == (*best.values.shape, *size, 3)
    up, active = jax.jit(convnet.ConvNet(net).apply), 0
    for index, image in enumerate(images):
        # All maps at all places of this image.
        at = np.argwhere(best.images == index)
        positions = best.positions[tuple(at.T)]
        many = np.repeat(image[None], len(at), axis=0)
        _, trace = up({"params": params}, many)
        seed = jnp.zeros_like(trace.maps[layer])
        places = np.arange(len(at)), *positions.T, at[:, 0]
        seed = seed.at[places].set(best.values[tuple(at.T)])
        whole = deconvnet.reconstruct(net, params, seed, trace, layer=layer, rule=rule)
        for (m, k), position, pixels in zip(
            at, positions, np.asarray(whole), strict=True
        ):
            np.testing.assert_array_equal(
                patches[m, k], framed(image, field, position, size)
            )
            want = framed(pixels, field, position, size)
            error = np.linalg.norm(projections[m, k] - want)
            assert error <= 1e-5 * np.linalg.norm(want)
            if size == field.size:
                # Nothing was cut off.
                assert np.count_nonzero(want) == np.count_nonzero(pixels)
            active += np.any(want)
    # Half of the units are silent, more or less.
    assert active > best.values.size / 4


def test_own_values(trunk):
    params, images = trunk
    best = everywhere(TRUNK, "c")
    given = TRUNK, params, images, best
    _, of_best = projection.project(*given, layer="c", batch_size=4)
    _, own = projection.project(*given, layer="c", batch_size=4, own_values=True)
    up = convnet.ConvNet(TRUNK)
    for m, k in np.ndindex(*best.images.shape):
        _, trace = up.apply({"params": params}, images[best.images[m, k]][None])
        value = np.asarray(trace.maps["c"])[0, *best.positions[m, k], m]
        # The values of `best` are 1, and the rule is positively homogeneous.
        want = value * of_best[m, k]
        np.testing.assert_allclose(own[m, k], want, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("layer", ["a", "b", "c"])
@pytest.mark.parametrize("rule", ["deconvnet", "guided", "gradient"])
def test_units_that_share_an_image(trunk, layer, rule, monkeypatch):
    params, images = trunk
    best = everywhere(TRUNK, layer)
    own = best.images[0] == 0
    best = jax.tree.map(lambda part: part[:, own], best)

    def project(shared):
        monkeypatch.setattr(projection.Projector, "_is_shared", lambda *_: shared)
        return projection.project(
            TRUNK, params, images, best, layer=layer, rule=rule, batch_size=3
        )

    patches, want = project(False)
    same, found = project(True)
    np.testing.assert_array_equal(same, patches)
    largest = np.abs(want).max(axis=(2, 3, 4), keepdims=True)
    assert (np.abs(found - want) <= 1e-5 * largest).all()
    assert (largest > 0).mean() > 0.2


def counted(monkeypatch):
    """How often images are run up as a whole, and how often cones are."""
    counts, up = collections.Counter(), compiled_passes.forward

    def counting(net, kernels, params, images, *rest, **settings):
        counts["whole" if len(images) == 1 else "cones"] += 1
        return up(net, kernels, params, images, *rest, **settings)

    monkeypatch.setattr(compiled_passes, "forward", counting)
    return counts


@pytest.mark.parametrize("full", [False, True])
def test_an_image_is_kept_for_later(trunk, monkeypatch, full):
    params, images = trunk
    if full:
        monkeypatch.setattr(unit_projector.ForwardCache, "is_full", lambda _: True)
    best = {layer: everywhere(TRUNK, layer) for layer in ("b", "c")}
    maps = {"b": [4, 0], "c": [0, 1, 3, 4]}
    calls = [("b", [0, 4]), ("c", [3, 0]), ("c", [1, 4])]

    def project_alone(layer, some):
        return projection.project(
            TRUNK, params, images, best, layer=layer, channels=some
        )

    wanted = [project_alone(*call) for call in calls]
    counts = counted(monkeypatch)
    projector = projection.Projector(TRUNK, params, images, best, maps, batch_size=2)
    for call, want in zip(calls, wanted, strict=True):
        for one, other in zip(projector.project(*call), want, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6 * np.abs(other).max())
    # Without room an image is run up for every call, where that is worth it.
    assert counts["whole"] == (2 if full else 1)
    assert not projector._cache._kept


def test_no_batch_of_traces_too_large_is_shared(trunk, monkeypatch):
    params, images = trunk
    counts, best = counted(monkeypatch), everywhere(TRUNK, "c")
    bytes_ = unit_projector.ForwardCache(TRUNK, params, "gradient").bytes
    # Of all maps, float32.
    entries = [math.prod(s.maps) for s in geometry.shapes(TRUNK).values()]
    assert 4 * sum(entries) < bytes_ < 5 * sum(entries)
    for most in (2 * bytes_ - 1, 2 * bytes_):
        monkeypatch.setattr(unit_projector, "MOST_KEPT", most)
        settings = {"layer": "c", "rule": "gradient", "batch_size": 2}
        projection.project(TRUNK, params, images, best, **settings)
    assert counts["whole"] == 1


def test_how_many_units_go_together(params, monkeypatch):
    def together():
        return unit_projector.UnitProjector(
            NET, params, "layer2", rule="deconvnet"
        ).batch_size

    def set_bytes(units):
        monkeypatch.setattr(unit_projector, "_BYTES_CPU", int(units * unit))

    net = unit_projector.cheaper_crop(NET, "layer2").net
    shapes = geometry.shapes(net).values()
    unit = 4 * sum(2 * math.prod(s.maps) + math.prod(s.output) for s in shapes)
    # What the cache is thought to hold, 8 at least and 16 at the most.
    for units, expected in ((1, 8), (12.5, 12), (100, 16)):
        set_bytes(units)
        assert together() == expected
    monkeypatch.setattr(unit_projector, "_BUDGET", 3 * unit)
    assert together() == 3


def test_an_image_is_run_up_once_from_any_thread():
    runs = []

    def run(image):
        time.sleep(0.05)
        runs.append(image)
        return image

    climb = unit_projector.CachedForward(run, "image")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = [pool.submit(climb.trace) for _ in range(8)]
    assert [each.result() for each in found] == ["image"] * 8
    assert runs == ["image"]


def test_a_later_batch_that_is_larger_is_refused(read_maps):
    with pytest.raises(BadInput, match="batch 1 has 5 images, the first has 4"):
        topk.scan(read_maps, [pictures(4), pictures(5)])


def test_pages_compile_once(trunk, compilations):
    params, images = trunk
    best = {"c": everywhere(TRUNK, "c")}
    projector = projection.Projector(TRUNK, params, images, best, {"c": None})
    projector.project("c", [0, 1])
    with compilations() as found:
        # Other maps, and a last batch that is not full.
        projector.project("c", [4])
        projection.project(TRUNK, params, images, best, layer="c", channels=[2, 3, 4])
    assert found == []


def test_own_and_other_sizes_together(trunk):
    # Images of the net's own size are run whole, others by the larger cone.
    params, _ = trunk
    given = dataclasses.replace(TRUNK.input, size=(16, 14))
    net = dataclasses.replace(TRUNK, name="small", input=given)
    rng = np.random.default_rng(4)
    sizes = [(16, 14), (22, 20), (16, 14)]
    images = [rng.normal(size=(*size, 3)).astype(np.float32) for size in sizes]
    shape = 5, 3
    best = topk.TopK(
        np.ones(shape, np.float32),
        np.broadcast_to(np.arange(3), shape),
        np.ones((*shape, 2), int),
    )
    together = projection.project(net, params, images, best, layer="c", batch_size=1)
    for k in range(3):
        alone = jax.tree.map(lambda part, k=k: part[:, k : k + 1], best)
        alone = projection.project(net, params, images, alone, layer="c", batch_size=1)
        for all_of_them, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(all_of_them[:, k], one[:, 0], atol=1e-5)


def test_kernels_are_made_ready_for_each_size():
    # Maps enough for products: whole, they are turned; a cone's top is a single entry.
    net = Spec(
        "wide",
        Input(8, mean=(0.0,) * 3),
        tuple(Layer(name, (Conv(16, 3, 1, 1), Relu())) for name in "abc"),
    )
    rng = np.random.default_rng(6)
    images = [rng.normal(size=(n, n, 3)).astype(np.float32) for n in (8, 12, 8)]
    model = convnet.ConvNet(net, kernel_init=jax.nn.initializers.he_normal())
    params = model.init(jax.random.key(0), images[0][None])["params"]
    shape = 16, 3
    best = topk.TopK(
        np.ones(shape, np.float32),
        np.broadcast_to(np.arange(3), shape),
        np.full((*shape, 2), 4),
    )
    given = {"layer": "c", "batch_size": 1, "own_values": True}
    _, together = projection.project(net, params, images, best, **given)
    assert together[[0, 15]].any()
    for k, image in enumerate(images):
        _, trace = model.apply({"params": params}, image[None])
        for channel in (0, 15):
            seed = deconvnet.isolate(trace.maps["c"], channel=channel, position=(4, 4))
            want = deconvnet.reconstruct(net, params, seed, trace, layer="c")
            # Of 12 pixels the unit sees 7, from the second on.
            want = np.asarray(want)[0, 1:8, 1:8]
            scale = max(np.abs(want).max(), 1e-3)
            np.testing.assert_allclose(together[channel, k], want, atol=1e-5 * scale)


def test_dense_layers_share_an_image(params, found):
    images, best = found
    maps = {"layer2": None, "layer3": None, "layer4": [2, 0]}
    projector = projection.Projector(NET, params, images, best, maps, rule="guided")
    for layer, each in maps.items():
        given = {"layer": layer, "channels": each, "rule": "guided", "batch_size": 1}
        want = projection.project(NET, params, images, best, **given)
        for one, other in zip(projector.project(layer, each), want, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())


def test_best_as_a_tuple(params, found):
    images, best = found
    want = projection.project(NET, params, images, best, layer="layer2")
    got = projection.project(NET, params, images, tuple(best["layer2"]), layer="layer2")
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_projector_refuses(params, found):
    images, best = found
    projector = projection.Projector(NET, params, images, best, {"layer2": [1]})
    with pytest.raises(BadInput, match="layer1: this Projector has layer2"):
        projector.project("layer1")
    some = {"layer2": best["layer2"]}
    with pytest.raises(BadInput, match="layer1: `best` has layer2"):
        projection.Projector(NET, params, images, some, {"layer1": None})
    with pytest.raises(BadInput, match="layer9"):
        projection.Projector(NET, params, images, best, {"layer9": None})
    with pytest.raises(BadInput, match="layer2: this Projector has "):
        projection.Projector(NET, params, images, best, {}).project("layer2")
    large = [np.zeros((18, 15, 3), np.float32)] * len(images)
    with pytest.raises(BadInput, match=r"18x15: layer3 of toy is dense .* of 17x14"):
        projection.project(NET, params, large, best, layer="layer3")


def test_what_is_shared(trunk, monkeypatch):
    params, images = trunk
    costs = unit_projector.unit_cost(TRUNK, "c", "deconvnet")
    enough = unit_projector.forward_cost(TRUNK, "deconvnet") // costs + 1
    best = everywhere(TRUNK, "c")
    own = np.flatnonzero(best.images[0] == 0)

    def shared(maps, units, control=None):
        some = jax.tree.map(lambda part: part[:, own[:units]], best)
        counts = counted(monkeypatch)
        projection.Projector(
            TRUNK,
            params,
            images,
            {"c": some},
            {"c": maps},
            batch_size=2,
            control=control,
        ).project("c", maps)
        return counts["whole"] > 0

    assert enough <= len(own)
    assert shared([0], enough)
    assert not shared([0], enough - 1)
    # A control looks at more of a trace than is kept.
    assert not shared([0], enough, controls.centre_switches())


def deep(name):
    """3 x 3 filters of enough maps to go down as matrix products."""
    pool = Pool(2, 2)
    layers = [(32, pool), (32, None), (48, pool), (48, None), (64, None), (32, None)]
    return Spec(
        name,
        Input((40, 44), mean=(0.0, 0.0, 0.0)),
        tuple(
            Layer(f"l{i}", (Conv(maps, 3, 1, 1), Relu(), *([tail] if tail else [])))
            for i, (maps, tail) in enumerate(layers, start=1)
        ),
    )


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_products_down_a_deep_net(rule):
    net = deep(f"deep {rule}")
    model = convnet.ConvNet(net, kernel_init=jax.nn.initializers.he_normal())
    images = np.random.default_rng(2).normal(size=(5, 40, 44, 3)).astype(np.float32)
    params = model.init(jax.random.key(1), images[:1])["params"]
    up = jax.jit(lambda x: model.apply({"params": params}, x)[1])
    trace = up(images)
    best = topk.scan(lambda x: up(x).maps, [images], k=2)
    of = {"layer": "l6", "rule": rule}
    _, projections = projection.project(net, params, images, best, **of)
    values, indices, positions = map(np.asarray, best["l6"])
    field = geometry.fields(net)["l6"]
    size = tuple(map(min, field.size, net.input.size))
    for m, k in np.ndindex(*values.shape):
        seen = jax.tree.map(lambda each, i=indices[m, k]: each[i][None], trace)
        maps = seen.maps["l6"]
        seed = deconvnet.isolate(maps, channel=m, position=positions[m, k])
        whole = deconvnet.reconstruct(net, params, seed, seen, **of)
        want = framed(np.asarray(whole)[0], field, positions[m, k], size)
        assert np.abs(projections[m, k] - want).max() <= 1e-5 * np.abs(want).max()
    assert (values > 0).mean() > 0.9
