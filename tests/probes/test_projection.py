"""Projections of the top k: cut right, and equal to those of whole images."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.probes.toy_nets import NET, TRUNK, everywhere, net_maps, pictures
from zf_jax import convnet, deconvnet, geometry, xla
from zf_jax.errors import BadInput
from zf_jax.probes import projection, topk, unit_passes


def function(net, params):
    """Images to logits, as of any model."""
    return lambda images: convnet.ConvNet(net).apply({"params": params}, images)[0]


@pytest.fixture(scope="module")
def net(params):
    return function(NET, params)


@pytest.fixture(scope="module")
def trunk_net(trunk):
    params, _ = trunk
    return function(TRUNK, params)


def whole(net, params, layer, image, unit, *, value=None, rule="deconvnet"):
    """The projection [H, W, C] of the whole image, and the unit's own value."""
    channel, position = unit
    pixels, own = _whole(net, layer, rule)(params, image, channel, position, value)
    return np.asarray(pixels), float(own)


@functools.cache
def _whole(net, layer, rule):
    @xla.jit
    def reconstruct(params, image, channel, position, value):
        _, trace = convnet.ConvNet(net).apply({"params": params}, image[None])
        maps = trace.maps[layer]
        at = (0, *position, channel) if maps.ndim == 4 else (0, channel)
        seed = jnp.zeros_like(maps).at[at].set(maps[at] if value is None else value)
        pixels = deconvnet.reconstruct(net, params, seed, trace, layer=layer, rule=rule)
        return pixels[0], maps[at]

    return reconstruct


def locate(image, patch):
    """The part of the image that a patch is: it lies in one place alone."""
    size, least = patch.shape[:2], np.maximum(image.shape[:2], patch.shape[:2])
    pads = [(0, n - m) for n, m in zip(least, image.shape[:2], strict=True)]
    image = np.pad(image, (*pads, (0, 0)))
    views = np.lib.stride_tricks.sliding_window_view(image, (*size, patch.shape[2]))
    ((row, column),) = np.argwhere((views[:, :, 0] == patch).all(axis=(2, 3, 4)))
    return pads, slice(row, row + size[0]), slice(column, column + size[1])


def assert_cut(projection, pixels, image, patch):
    """A projection is all that there is of the whole image's, where its patch lies."""
    pads, *cut = locate(image, patch)
    want = np.pad(pixels, (*pads, (0, 0)))[tuple(cut)]
    # The same sums in float32, compiled for another batch.
    scale = np.abs(pixels).max()
    np.testing.assert_allclose(projection, want, rtol=1e-4, atol=1e-5 * scale)
    assert np.count_nonzero(want) == np.count_nonzero(pixels)


@pytest.mark.parametrize("layer", ["layer2", "layer3", "layer4"])
def test_project_equals_reconstruct_cropped(params, net, found, layer):
    images, best = found
    rule = "guided" if layer == "layer2" else "deconvnet"
    patches, projections = projection.project(
        net, images, best, layer=layer, rule=rule, batch_size=4
    )
    values, indices, positions = map(np.asarray, best[layer])
    assert patches.shape == projections.shape
    assert patches.shape[:2] == values.shape
    for m, k in np.ndindex(*values.shape):
        image, unit = images[indices[m, k]], (m, positions[m, k])
        pixels, value = whole(NET, params, layer, image, unit, rule=rule)
        if value > 0:
            assert_cut(projections[m, k], pixels, image, patches[m, k])
    assert np.count_nonzero(values > 0) >= 4


@pytest.mark.parametrize(
    ("layer", "rule"),
    [
        pytest.param("a", "deconvnet", marks=pytest.mark.slow),
        pytest.param("b", "gradient", marks=pytest.mark.slow),
        ("c", "deconvnet"),
        ("c", "guided"),
    ],
)
def test_images_of_several_sizes(trunk, trunk_net, layer, rule):
    params, images = trunk
    best = everywhere(TRUNK, layer)
    patches, projections = projection.project(
        trunk_net, images, best, layer=layer, rule=rule
    )
    # In the largest image no unit sees more than its receptive field.
    field = geometry.receptive_fields(TRUNK)[layer]
    assert patches.shape == projections.shape == (*best.values.shape, *field.size, 3)
    compared = 0
    for m, k in list(np.ndindex(*best.values.shape))[::2]:
        image, unit = images[best.images[m, k]], (m, best.positions[m, k])
        pixels, value = whole(TRUNK, params, layer, image, unit, value=1, rule=rule)
        # Where its own rectifier is closed, a unit's seed passes all the same.
        if value > 0 or rule == "deconvnet":
            assert_cut(projections[m, k], pixels, image, patches[m, k])
            compared += pixels.any()
    # Half of the units are silent, more or less.
    assert compared > best.values.size / 8


def in_turn(best):
    """The positions of the first size, of three images of that size by turns."""
    own = best.images[0] == 0
    values, _, positions = jax.tree.map(lambda part: part[:, own], best)
    images = np.broadcast_to(np.arange(own.sum()) % 3, values.shape)
    return topk.TopK(values, images, positions)


def test_own_values(trunk, trunk_net):
    params, images = trunk
    images = [images[0], images[0][::-1], images[0][:, ::-1]]
    best = in_turn(everywhere(TRUNK, "c"))
    given = {"layer": "c", "batch_size": 4}
    _, of_best = projection.project(trunk_net, images, best, **given)
    _, own = projection.project(trunk_net, images, best, **given, own_values=True)
    for m, k in list(np.ndindex(*best.images.shape))[::4]:
        unit = m, best.positions[m, k]
        _, value = whole(TRUNK, params, "c", images[best.images[m, k]], unit)
        # The values of `best` are 1, and the rule is positively homogeneous.
        want = value * of_best[m, k]
        np.testing.assert_allclose(own[m, k], want, atol=1e-5 * np.abs(want).max())


def test_chosen_channels(net, found):
    images, best = found
    every = projection.project(net, images, best, layer="layer2")
    some = projection.project(net, images, best, layer="layer2", channels=[3, 0])
    one = projection.project(
        net, images, tuple(best["layer2"]), layer="layer2", channels=[3]
    )
    for all_, two, single in zip(every, some, one, strict=True):
        np.testing.assert_allclose(two, all_[[3, 0]], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(single, all_[[3]], rtol=1e-4, atol=1e-5)


def test_zero_where_there_is_no_image(net):
    images = pictures(2, seed=2)
    best = topk.scan(net_maps, [images], k=4)
    for part in projection.project(net, images, best, layer="layer1"):
        assert not part[:, 2:].any()
        assert part[:, :2].any()


@pytest.mark.parametrize(
    ("layer", "rule"),
    [
        ("b", "guided"),
        pytest.param("a", "deconvnet", marks=pytest.mark.slow),
        pytest.param("c", "gradient", marks=pytest.mark.slow),
    ],
)
def test_crops_and_whole_images_give_the_same(
    trunk, trunk_net, layer, rule, monkeypatch
):
    _, images = trunk
    best = everywhere(TRUNK, layer)

    def project(shared):
        monkeypatch.setattr(projection.Projector, "_is_shared", lambda *_: shared)
        return projection.project(
            trunk_net, images, best, layer=layer, rule=rule, batch_size=5
        )

    patches, want = project(False)
    same, found = project(True)
    np.testing.assert_array_equal(same, patches)
    largest = np.abs(want).max(axis=(2, 3, 4), keepdims=True)
    assert (np.abs(found - want) <= 1e-5 * largest).all()
    assert (largest > 0).mean() > 0.2


@pytest.fixture
def calls(monkeypatch):
    """How often forward passes are computed: of whole images, and of crops."""
    counts = collections.Counter()

    def counted(owner, name, key):
        called = getattr(owner, name)

        def call(self, *given):
            counts[key] += 1
            return called(self, *given)

        monkeypatch.setattr(owner, name, call)

    counted(unit_passes.WholePass, "__call__", "whole")
    counted(unit_passes.UnitPasses, "forward", "crops")
    return counts


@pytest.mark.parametrize("images_kept", [0, 2, 3])
def test_an_image_is_kept_for_other_layers(
    trunk, trunk_net, calls, monkeypatch, images_kept
):
    _, images = trunk
    images = [images[0], images[0][::-1], images[0][:, ::-1]]
    best = {layer: in_turn(everywhere(TRUNK, layer)) for layer in ("b", "c")}
    channels = {"b": [4, 0], "c": [0, 1, 3, 4]}
    asked = [("b", [0, 4]), ("c", [3, 0]), ("c", [1, 4])]
    wanted = [
        projection.project(trunk_net, images, best, layer=layer, channels=some)
        for layer, some in asked
    ]
    monkeypatch.setattr(projection.Projector, "_is_shared", lambda *_: True)
    monkeypatch.setattr(projection, "_IMAGES", 1)
    projector = projection.Projector(trunk_net, images, best, channels, batch_size=2)
    (shape,) = {projector._shape_of(n) for n in range(3)}
    monkeypatch.setattr(projection, "_MOST_KEPT", images_kept * shape.whole.bytes)
    calls.clear()
    for call, want in zip(asked, wanted, strict=True):
        for one, other in zip(projector.project(*call), want, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())
        assert len(shape.kept) <= images_kept
    # Those that are not kept are computed for each of the three calls.
    assert calls == {"whole": images_kept + 3 * (3 - images_kept)}
    assert not shape.kept


def test_whole_images_where_that_is_less_work(trunk, trunk_net, calls):
    _, images = trunk
    best = everywhere(TRUNK, "c")
    own = np.flatnonzero(best.images[0] == 0)
    projector = projection.Projector(trunk_net, images, {"c": best}, {"c": None})
    shape = projector._shape_of(0)
    unit = shape.passes("c").crop.forward_work(whole=False)
    enough = int(shape.whole.work // unit) + 1
    assert 1 < enough <= len(own)

    def shared(units, **options):
        calls.clear()
        some = jax.tree.map(lambda part: part[:, own[:units]], best)
        projection.project(
            trunk_net, images, some, layer="c", channels=[0], batch_size=4, **options
        )
        assert len(calls) == 1
        return "whole" in calls

    assert shared(enough)
    assert not shared(enough - 1)
    # Seeds are read off crops.
    assert not shared(enough, own_values=True)


def test_too_large_a_batch_of_whole_images_is_not_shared(
    trunk, trunk_net, calls, monkeypatch
):
    _, images = trunk
    best = everywhere(TRUNK, "c")
    projector = projection.Projector(trunk_net, images, {"c": best}, {"c": None})
    most = max(projector._shape_of(n).whole.bytes for n in range(3))
    for kept, counted in ((4 * most, "whole"), (0, "crops")):
        calls.clear()
        monkeypatch.setattr(projection, "_MOST_KEPT", kept)
        projection.project(trunk_net, images, best, layer="c", batch_size=4)
        assert set(calls) == {counted}


def test_whole_images_computed_together_are_bounded(trunk, trunk_net, monkeypatch):
    _, images = trunk
    best = everywhere(TRUNK, "c")
    projector = projection.Projector(trunk_net, images, {"c": best}, {"c": None})
    shape = projector._shape_of(0)
    for room, count in ((0, 1), (3, 3), (99, projection._IMAGES)):
        monkeypatch.setattr(projection, "_MOST_KEPT", room * shape.whole.bytes)
        assert shape.images_per_call == count


class Reads(list):
    """Images of a data set, which decodes one whenever it is asked for."""

    def __init__(self, images):
        super().__init__(images)
        self.counts = collections.Counter()

    def __getitem__(self, number):
        self.counts[number] += 1
        return super().__getitem__(number)


def test_images_are_read_once_for_a_layer(trunk, trunk_net):
    images = Reads(trunk[1])
    best = {layer: everywhere(TRUNK, layer) for layer in ("a", "b")}
    projector = projection.Projector(trunk_net, images, best, {"a": [0], "b": [0]})
    for reads, layer in ((2, "a"), (3, "b")):
        projector.project(layer, [0])
        # Once more before the first layer, for their sizes.
        assert set(images.counts.values()) == {reads}


def test_nothing_is_computed_where_nothing_is_read(trunk, trunk_net, calls):
    # Layer a pools behind its map; the deconvnet's rule reads no rectifier.
    _, images = trunk
    best = everywhere(TRUNK, "a")
    projection.project(trunk_net, images, best, layer="a")
    assert not calls


def test_pages_compile_once(trunk, trunk_net, compilations):
    _, images = trunk
    best = {"c": everywhere(TRUNK, "c")}
    projector = projection.Projector(trunk_net, images, best, {"c": None})
    projector.project("c", [0, 1])
    with compilations() as found:
        # Other channels, and a last batch that is not full.
        projector.project("c", [4])
        projection.project(trunk_net, images, best, layer="c", channels=[2, 3, 4])
    assert found == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "layer9"}, "'layer9': the nearest"),
        ({"channels": [0, 5]}, "channel 5.*0 to 4"),
        ({"channels": [-1]}, "channel -1"),
        ({"rule": "sideways"}, "rule 'sideways'"),
    ],
)
def test_project_refuses(net, found, change, message):
    images, best = found
    given = {"layer": "layer2"} | change
    with pytest.raises(BadInput, match=message):
        projection.project(net, images, best["layer2"], **given)


def test_refuses_other_layers(net, found):
    images, best = found
    projector = projection.Projector(net, images, best, {"layer2": [1]})
    with pytest.raises(BadInput, match="layer1: this Projector has layer2"):
        projector.project("layer1")
    some = {"layer2": best["layer2"]}
    with pytest.raises(BadInput, match="layer1: `best` has layer2"):
        projection.Projector(net, images, some, {"layer1": None})


def test_refuses_where_nothing_was_seen(net):
    with pytest.raises(BadInput, match="layer2: no image"):
        projection.project(net, [], topk.empty(5, 3), layer="layer2")


def test_refuses_a_function_without_rectifiers(found):
    images, best = found
    with pytest.raises(BadInput, match="no rectifier"):
        projection.project(lambda x: x.mean((1, 2)) * 2, images, best, layer="layer2")


def twice_as_strong(factor):
    """A function whose derivative is not that of what it does, and one of its own."""

    @jax.custom_vjp
    def doubled(x):
        return x * 2

    doubled.defvjp(lambda x: (doubled(x), None), lambda _, signal: (factor * signal,))
    return lambda images: jax.nn.relu(doubled(images @ jnp.ones((3, 2))))


def test_custom_derivatives_hold():
    # The programs are the same, but for the derivatives.
    image = np.ones((4, 4, 3), np.float32)
    best = topk.TopK(np.ones((2, 1)), np.zeros((2, 1), int), np.zeros((2, 1, 2), int))
    for factor in (5, 7):
        _, pixels = projection.project(
            twice_as_strong(factor), [image], best, layer="relu"
        )
        np.testing.assert_array_equal(pixels[..., 0, 0, :], np.full((2, 1, 3), factor))
        assert np.count_nonzero(pixels) == 6
