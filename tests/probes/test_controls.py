"""Controls: what each takes away, against whole images whose trace was changed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import parameters
from zf_jax import convnet, deconvnet, xla
from zf_jax.errors import BadInput
from zf_jax.layers import LRN, Conv, Dense, Flatten, Layer, Pool, Relu
from zf_jax.probes import controls, projection, topk
from zf_jax.spec import Input, Spec

# Pools of odd and even windows, padded on either side; crops smaller than the image.
NET = Spec(
    "toy",
    Input((40, 36), mean=(0.0, 0.0, 0.0)),
    (
        Layer("layer1", (Conv(5, 3, 1, 1), Relu(), Pool(3, 2, ((1, 0), (0, 1))))),
        Layer("layer2", (Conv(6, 3, padding=1), Relu(), Pool((2, 3), 2, 1), LRN())),
        Layer("layer3", (Conv(7, 3, padding=1), Relu(), Pool(3, 2))),
        Layer("layer4", (Flatten(), Dense(8), Relu())),
    ),
)
# Padding of the pools, whose stride is 2, above and on the left.
BEFORE = {"layer1": (1, 0), "layer2": (1, 1)}
KEY = jax.random.key(3)
PARAMS = parameters.he_normal(NET)


def apply(images):
    return convnet.ConvNet(NET).apply({"params": PARAMS}, images)[0]


@pytest.fixture(scope="module")
def images():
    shape = (6, *NET.input.size, 3)
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def seen(images):
    """The trace of all images, and the three strongest images of every channel."""
    _, trace = xla.jit(convnet.ConvNet(NET).apply)({"params": PARAMS}, images)

    def maps(batch):
        return convnet.ConvNet(NET).apply({"params": PARAMS}, batch)[1].maps

    return trace, topk.scan(maps, [images], k=3)


@pytest.fixture(scope="module")
def project(images, seen):
    """Controlled projections of a layer's strongest units."""
    _, best = seen
    return functools.partial(projection.project, apply, images, best)


def units(best, step=1):
    """(channel, rank, image, position, value) of active units."""
    for channel, rank in list(np.ndindex(*best.values.shape))[::step]:
        value = float(best.values[channel, rank])
        if value > 0:
            at = tuple(np.asarray(best.positions[channel, rank]).tolist())
            yield channel, rank, int(best.images[channel, rank]), at, value


def one_image(trace, number):
    return jax.tree.map(lambda part: part[number : number + 1], trace)


@functools.partial(xla.jit, static_argnames=("layer", "rule"))
def reconstruct(trace, channel, position, value, *, layer, rule):
    """Of one unit of a whole image, [H, W, 3]."""
    maps = trace.maps[layer]
    at = (0, *position, channel) if maps.ndim == 4 else (0, channel)
    seed = jnp.zeros_like(maps).at[at].set(value)
    given = {"layer": layer, "rule": rule}
    return deconvnet.reconstruct(NET, PARAMS, seed, trace, **given)[0]


def is_cut(projection, patch, image, pixels):
    """Whether a projection is all of the whole image's, where its patch lies."""
    size = patch.shape[:2]
    views = np.lib.stride_tricks.sliding_window_view(image, patch.shape)[:, :, 0]
    ((row, column),) = np.argwhere((views == patch).all(axis=(2, 3, 4)))
    want = np.asarray(pixels)[row : row + size[0], column : column + size[1]]
    scale = np.abs(pixels).max()
    complete = np.count_nonzero(want) == np.count_nonzero(pixels)
    return complete and np.allclose(projection, want, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("layer", "rule"),
    [
        ("layer3", "guided"),
        pytest.param("layer2", "gradient", marks=pytest.mark.slow),
        pytest.param("layer4", "deconvnet", marks=pytest.mark.slow),
    ],
)
def test_wrong_unit_is_another_active_one(images, seen, project, layer, rule):
    trace, best = seen
    patches, found = project(layer=layer, rule=rule, control=controls.wrong_unit(KEY))
    taken = set()
    for channel, rank, n, at, value in units(best[layer], step=3):
        alone = one_image(trace, n)
        column = np.asarray(alone.maps[layer])[0, *at[: alone.maps[layer].ndim - 2]]
        active = {*np.flatnonzero(column > 0).tolist()} - {channel}
        given = found[channel, rank], patches[channel, rank], images[n]
        same = {
            other
            for other in active
            if is_cut(
                *given,
                reconstruct(alone, other, at, value, layer=layer, rule=rule),
            )
        }
        assert len(same) == 1 or not active
        taken |= same
    assert len(taken) > 1


def test_wrong_unit_of_a_silent_position_is_any_other(images):
    # One channel is active; at the position of the other none else is.
    best = topk.TopK(np.ones((2, 1)), np.zeros((2, 1), int), np.zeros((2, 1, 2), int))

    def two(images):
        x = images.mean(axis=3, keepdims=True) ** 2
        return jax.nn.relu(jnp.concatenate([3 * x, -x], 3))

    _, found = projection.project(
        two, images, best, layer="relu", control=controls.wrong_unit(KEY)
    )
    pixel = images[0, 0, 0].mean()
    # The square's derivative at the pixel; weights -1 and 3, the seeds' values 1.
    slope = 2 * pixel / 3
    np.testing.assert_allclose(found[0, 0], np.full((1, 1, 3), -slope), rtol=1e-5)
    np.testing.assert_allclose(found[1, 0], np.full((1, 1, 3), 3 * slope), rtol=1e-5)


def test_wrong_unit_needs_another():
    best = topk.TopK(np.ones((1, 1)), np.zeros((1, 1), int), np.zeros((1, 1, 2), int))
    images = np.ones((1, 6, 6, 3), np.float32)
    with pytest.raises(BadInput, match="one channel"):
        projection.project(
            lambda images: jax.nn.relu(images[..., :1]),
            images,
            best,
            layer="relu",
            control=controls.wrong_unit(KEY),
        )


def centred(trace):
    """Switches of the windows' centres, by hand."""
    switches = {name: np.array(each) for name, each in trace.switches.items()}
    # A window of 3 x 3 has its middle at (1, 1), the entry 4; valid wherever the
    # padding is one.
    switches["layer1"][:] = switches["layer3"][:] = 4
    # 2 x 3 with one row and column of padding: the upper middle, (0, 1), is padding in
    # the first row alone, where the lower one, (1, 1), is nearest.
    switches["layer2"][:] = 1
    switches["layer2"][:, 0] = 4
    return trace._replace(switches=switches)


@pytest.mark.parametrize(
    ("layer", "rule"),
    [
        ("layer3", "guided"),
        pytest.param("layer2", "deconvnet", marks=pytest.mark.slow),
        pytest.param("layer4", "guided", marks=pytest.mark.slow),
    ],
)
def test_centre_switches(images, seen, project, layer, rule):
    trace, best = seen
    control = controls.centre_switches()
    patches, found = project(layer=layer, rule=rule, control=control)
    for channel, rank, n, at, value in units(best[layer]):
        alone = centred(one_image(trace, n))
        pixels = reconstruct(alone, channel, at, value, layer=layer, rule=rule)
        assert is_cut(found[channel, rank], patches[channel, rank], images[n], pixels)
        assert pixels.any()


def crop_of(images, layer):
    """What a unit of a layer sees."""
    best = {layer: topk.empty(8, 1)}
    projector = projection.Projector(apply, images, best, {layer: None})
    return projector._shape_of(0).passes(layer).crop


def drawn(crop, key, position, channel):
    """The pools' parts for a unit, and the switches that are drawn for it."""
    offsets = crop.offsets[crop.index(np.array([position]))[0]]
    saved = {each.key: jnp.zeros(each.part.shape) for each in crop.saved}
    seed = jnp.zeros(crop.channels).at[channel].set(2.0)
    control = controls.random_switches(key)
    switches, same = control(crop, saved, seed, offsets, channel, seed)
    np.testing.assert_array_equal(same, seed)
    pools = sorted(crop.pools(offsets), key=lambda pool: pool.key)
    return pools, [np.asarray(switches[pool.key]) for pool in pools]


def test_random_switches_are_uniform_and_inside(images):
    crop, first, rest = crop_of(images, "layer4"), [], []
    for channel in range(7):
        _, (switches, *_) = drawn(crop, KEY, (0, 0), channel)
        assert switches.dtype == np.uint8
        # The right column of the last windows is padding.
        first.append(switches[:, 0, :-1].ravel())
        rest.append(switches[:, 1:, :-1].ravel())
        assert not np.isin(switches[:, :, -1], (2, 5, 8)).any()
    # Padding of one row above: windows of the first row have six entries, 3 to 8.
    first, rest = map(np.concatenate, (first, rest))
    assert set(np.unique(first)) == set(range(3, 9))
    shares = np.bincount(first, minlength=9)[3:] / first.size
    np.testing.assert_allclose(shares, 1 / 6, atol=0.05)
    shares = np.bincount(rest, minlength=9) / rest.size
    np.testing.assert_allclose(shares, 1 / 9, atol=0.02)


def test_random_switches_by_key_and_channel(images):
    crop = crop_of(images, "layer3")
    _, one = drawn(crop, KEY, (3, 4), 0)
    _, again = drawn(crop, KEY, (3, 4), 0)
    _, other = drawn(crop, jax.random.key(4), (3, 4), 0)
    _, of_channel = drawn(crop, KEY, (3, 4), 1)
    assert len(one) == 2
    for each, same, different, another in zip(
        one, again, other, of_channel, strict=True
    ):
        np.testing.assert_array_equal(each, same)
        assert np.any(each != different)
        assert np.any(each != another)


def test_random_switches_on_the_whole_image(images, seen, project):
    trace, best = seen
    control = controls.random_switches(KEY)
    patches, found = project(layer="layer3", control=control)
    crop = crop_of(images, "layer3")
    shown = 0
    for channel, rank, n, at, value in units(best["layer3"], step=2):
        alone = one_image(trace, n)
        pools, parts = drawn(crop, KEY, at, channel)
        switches = {name: np.array(each) for name, each in alone.switches.items()}
        for name, pool, part in zip(("layer1", "layer2"), pools, parts, strict=True):
            rows, columns = (
                (np.asarray(pool.starts[axis]) + BEFORE[name][axis - 1]) // 2
                for axis in (1, 2)
            )
            for i, j in np.ndindex(len(rows), len(columns)):
                whole = switches[name].shape[1:3]
                if 0 <= rows[i] < whole[0] and 0 <= columns[j] < whole[1]:
                    switches[name][0, rows[i], columns[j]] = part[0, i, j]
        alone = alone._replace(switches=switches)
        pixels = reconstruct(
            alone, channel, at, value, layer="layer3", rule="deconvnet"
        )
        assert is_cut(found[channel, rank], patches[channel, rank], images[n], pixels)
        shown += bool(pixels.any())
    assert shown > 3


def test_first_layer_has_no_switches(project):
    _, true = project(layer="layer1")
    for control in (controls.centre_switches(), controls.random_switches(KEY)):
        _, same = project(layer="layer1", control=control)
        np.testing.assert_allclose(same, true, atol=1e-6)


@pytest.mark.parametrize("make", [controls.wrong_unit, controls.random_switches])
def test_however_units_are_batched(project, make):
    one, other = (
        project(layer="layer3", control=make(KEY), batch_size=size)[1]
        for size in (4, 7)
    )
    np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(one).max())


def test_another_key_compiles_nothing(project, compilations):
    def controlled(key):
        project(layer="layer2", control=controls.random_switches(key))

    controlled(KEY)
    other = jax.random.key(9)
    with compilations() as found:
        controlled(other)
    assert found == []
