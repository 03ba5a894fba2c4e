"""Controls: what each takes away and leaves, and windowed ones against whole images."""

import jax
import numpy as np
import pytest

from tests import parameters
from zf_jax import convnet, deconvnet, geometry, xla
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
        Layer("layer5", (Dense(4),)),
    ),
)
LAYERS = [layer.name for layer in NET.layers]
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def images():
    shape = (6, *NET.input.size, 3)
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def params():
    return parameters.he_normal(NET)


@pytest.fixture(scope="module")
def seen(params, images):
    """The trace of all images, and the three strongest images of every channel."""

    def read_maps(batch):
        return convnet.ConvNet(NET).apply({"params": params}, batch)[1].maps

    _, trace = xla.jit(convnet.ConvNet(NET).apply)({"params": params}, images)
    return trace, topk.scan(read_maps, [images], k=3)


def every(params, layer):
    """Every control; of the cascade, both ends."""
    return {
        "own layer": controls.random_weights(
            NET, params, KEY, layer=layer, lowest=layer
        ),
        "all layers": controls.random_weights(NET, params, KEY, layer=layer),
        "wrong unit": controls.wrong_unit(KEY),
        "centre": controls.centre_switches(),
        "random": controls.random_switches(KEY),
    }


def one_image(trace, n):
    """The trace of image n alone."""
    return jax.tree.map(lambda part: part[n : n + 1], trace)


def whole(params, trace, best, control, layer, channel, rank, rule):
    """The unit's controlled projection from the whole image: [H, W, 3]."""
    n = int(best.images[channel, rank])
    alone = one_image(trace, n)
    maps = alone.maps[layer]
    at = best.positions[channel, rank] if maps.ndim == 4 else None
    seed = deconvnet.isolate(maps, channel=channel, position=at)
    net = NET.upto(layer)
    given, seed, alone = control(net, params, seed, alone, layer=layer, valid=None)
    return deconvnet.reconstruct(net, given, seed, alone, layer=layer, rule=rule)[0]


@pytest.mark.parametrize(
    ("layer", "rule", "name"),
    [
        ("layer3", "guided", "own layer"),
        ("layer3", "deconvnet", "all layers"),
        ("layer3", "deconvnet", "wrong unit"),
        ("layer3", "deconvnet", "centre"),
        *(
            pytest.param(layer, "deconvnet", name, marks=pytest.mark.slow)
            for layer in ("layer1", "layer5")
            for name in ("own layer", "all layers", "wrong unit", "centre")
        ),
    ],
)
def test_windowed_equals_whole(params, images, seen, layer, rule, name):
    # Random switches are drawn by the window, so they differ: see below.
    trace, best = seen
    control = every(params, layer)[name]
    _, projections = projection.project(
        NET, params, images, best, layer=layer, rule=rule, control=control
    )
    shown = 0
    for channel, rank in np.ndindex(projections.shape[:2]):
        if best[layer].values[channel, rank] <= 0:
            continue
        want = whole(params, trace, best[layer], control, layer, channel, rank, rule)
        field = geometry.patch(
            NET, layer, best[layer].positions[channel, rank].tolist()
        )
        size = projections.shape[2:4]
        corner = [
            min(max(low if low else high - n, 0), whole_size - n)
            for (low, high), n, whole_size in zip(
                field, size, NET.input.size, strict=True
            )
        ]
        want = np.asarray(want)
        cut = want[corner[0] :, corner[1] :][: size[0], : size[1]]
        got = projections[channel, rank]
        np.testing.assert_allclose(got, cut, atol=1e-5 * np.abs(want).max() + 1e-30)
        # Outside of the window there is nothing.
        assert np.abs(got).sum() == pytest.approx(np.abs(want).sum(), rel=1e-4)
        shown += 1
    assert shown > 5


@pytest.mark.parametrize(
    "layer", ["layer1", pytest.param("layer4", marks=pytest.mark.slow)]
)
def test_no_control_is_silent_or_the_truth(params, images, seen, layer):
    _, best = seen
    live = np.flatnonzero(best[layer].values[:, 0] > 0)
    which = {"layer": layer, "channels": live}
    patches, true = projection.project(NET, params, images, best, **which)
    for name, control in every(params, layer).items():
        same, other = projection.project(
            NET, params, images, best, **which, control=control
        )
        np.testing.assert_array_equal(same, patches)
        assert np.isfinite(other).all()
        # The first layer has no switches below it.
        changed = layer != "layer1" or name not in ("centre", "random")
        assert np.array_equal(other, true) != changed
        strongest = np.abs(other[:, 0]).max(axis=(1, 2, 3))
        assert (strongest > 0).mean() > 0.5


def test_random_weights_cascade(params):
    # From the unit's layer downwards: what is above or below the steps is kept, and a
    # layer once drawn stays as it was drawn.
    steps = controls.cascade(NET, "layer4")
    assert steps == ["layer4", "layer3", "layer2", "layer1"]
    before = None
    for count, lowest in enumerate(steps, start=1):
        control = controls.random_weights(
            NET, params, KEY, layer="layer4", lowest=lowest
        )
        (drawn,) = control.args
        for name in LAYERS:
            same = np.array_equal(drawn[name]["kernel"], params[name]["kernel"])
            assert same == (name not in steps[:count])
        for name in steps[: count - 1]:
            np.testing.assert_array_equal(drawn[name]["kernel"], before[name]["kernel"])
        before = drawn
    for name in steps:
        kernel = np.asarray(before[name]["kernel"])
        # Their own deviation, within what a hundred draws or more allow.
        assert kernel.std() == pytest.approx(
            float(params[name]["kernel"].std()), rel=0.2
        )
        assert not np.any(before[name]["bias"])


def test_random_weights_run_the_image_up_anew(params, images, seen):
    # Switches and masks are the random net's; the seed and its own mask are not.
    trace, _ = seen
    alone = one_image(trace, 0)
    seed = deconvnet.isolate(alone.maps["layer3"], channel=2)
    control = controls.random_weights(NET, params, KEY, layer="layer3", lowest="layer2")
    drawn, kept, other = control(NET, params, seed, alone, layer="layer3", valid=None)
    _, want = convnet.ConvNet(NET).apply({"params": drawn}, images[:1])
    np.testing.assert_array_equal(kept, seed)
    np.testing.assert_array_equal(other.maps["layer3"], alone.maps["layer3"])
    np.testing.assert_array_equal(other.switches["layer1"], alone.switches["layer1"])
    np.testing.assert_array_equal(other.switches["layer2"], want.switches["layer2"])
    assert np.any(other.switches["layer2"] != alone.switches["layer2"])
    np.testing.assert_array_equal(other.maps["layer2"], want.maps["layer2"])


@pytest.mark.parametrize("layer", ["layer2", "layer5"])
def test_wrong_unit_is_another_active_one(params, seen, layer):
    trace, _ = seen
    maps = np.asarray(trace.maps[layer])
    count, *_, channels = maps.shape
    taken = set()
    for channel in range(channels):
        seed = deconvnet.isolate(trace.maps[layer], channel=channel)
        _, wrong, _ = controls.wrong_unit(KEY)(
            NET, params, seed, trace, layer=layer, valid=None
        )
        for n in range(count):
            if not np.any(seed[n]):
                assert not np.any(wrong[n])
                continue
            *here, own = (int(i[0]) for i in np.nonzero(np.asarray(seed[n])))
            *there, other = (int(i[0]) for i in np.nonzero(np.asarray(wrong[n])))
            assert here == there
            assert own == channel != other
            assert np.count_nonzero(wrong[n]) == 1
            assert wrong[n].max() == seed[n].max()
            at = (n, *here)
            actives = [c for c in range(channels) if c != own and maps[at][c] > 0]
            assert other in actives or not actives
            taken.add(other)
    assert len(taken) > 2


def test_wrong_unit_needs_another():
    net = Spec("one", Input((6, 6)), (Layer("layer1", (Conv(1, 3), Relu())),))
    images = np.ones((2, 6, 6, 3), np.float32)
    params = parameters.he_normal(net)
    best = topk.TopK(np.ones((1, 1)), np.zeros((1, 1), int), np.zeros((1, 1, 2), int))
    with pytest.raises(BadInput, match="layer1 of one has one channel"):
        projection.project(
            net, params, images, best, layer="layer1", control=controls.wrong_unit(KEY)
        )


def controlled(control, params, seen, channel=0):
    trace, _ = seen
    seed = deconvnet.isolate(trace.maps["layer3"], channel=channel)
    given, kept, other = control(NET, params, seed, trace, layer="layer3", valid=None)
    assert given is params
    assert kept is seed
    assert set(other.switches) == set(trace.switches)
    for name, switches in other.switches.items():
        assert switches.dtype == np.uint8
        assert switches.shape == trace.switches[name].shape
    return other.switches


def test_centre_switches_by_hand(params, seen):
    switches = controlled(controls.centre_switches(), params, seen)
    # A window of 3 x 3 has its middle at (1, 1), the entry 4; valid wherever the
    # padding is one.
    assert np.all(switches["layer1"] == 4)
    assert np.all(switches["layer3"] == 4)
    # 2 x 3 with one row and column of padding: the upper middle, (0, 1), is padding in
    # the first row alone, where the lower one, (1, 1), is nearest.
    assert np.all(switches["layer2"][:, 0] == 4)
    assert np.all(switches["layer2"][:, 1:] == 1)


def test_random_switches_are_uniform_and_inside(params, seen):
    control = controls.random_switches(KEY)
    switches = np.concatenate(
        [controlled(control, params, seen, channel)["layer1"] for channel in range(7)]
    )
    # Padding of one row above: windows of the first row have six entries, 3 to 8, all
    # but those of the last column, whose right column is padding too.
    first = switches[:, 0, :-1]
    assert set(np.unique(first)) == set(range(3, 9))
    shares = np.bincount(first.ravel(), minlength=9)[3:] / first.size
    np.testing.assert_allclose(shares, 1 / 6, atol=0.04)
    rest = switches[:, 1:, :-1]
    shares = np.bincount(rest.ravel(), minlength=9) / rest.size
    np.testing.assert_allclose(shares, 1 / 9, atol=0.02)


def test_random_switches_by_key_and_map(params, seen):
    one = controlled(controls.random_switches(KEY), params, seen)
    again = controlled(controls.random_switches(KEY), params, seen)
    other = controlled(controls.random_switches(jax.random.key(4)), params, seen)
    of_map = controlled(controls.random_switches(KEY), params, seen, channel=1)
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])
        assert np.any(one[name] != other[name])
        assert np.any(one[name] != of_map[name])


@pytest.mark.slow
def test_however_units_are_batched(params, images, seen):
    _, best = seen
    for control in (controls.wrong_unit(KEY), controls.random_switches(KEY)):
        one, other = (
            projection.project(
                NET,
                params,
                images,
                best,
                layer="layer3",
                control=control,
                batch_size=size,
            )[1]
            for size in (4, 7)
        )
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(one).max())


def test_another_key_compiles_nothing(params, images, seen, compilations):
    _, best = seen

    def project(key):
        control = controls.random_switches(key)
        projection.project(NET, params, images, best, layer="layer2", control=control)

    project(KEY)
    other = jax.random.key(9)
    with compilations() as found:
        project(other)
    assert found == []


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        ({"layer": "layer9"}, "'layer9'"),
        ({"layer": "layer2", "lowest": "conv"}, "'conv'"),
        ({"layer": "layer2", "lowest": "layer3"}, "'layer3': above layer2"),
    ],
)
def test_refused(params, given, culprit):
    with pytest.raises(BadInput, match=culprit):
        controls.random_weights(NET, params, KEY, **given)
