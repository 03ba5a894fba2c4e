"""Projections of the top k: cut right, and equal to those of whole images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import parameters
from tests.probes.toy_nets import NET, TRUNK, everywhere, net_maps, pictures
from zf_jax import convnet, deconvnet, geometry, xla
from zf_jax.errors import BadInput
from zf_jax.layers import Conv, Layer, Relu
from zf_jax.probes import projection, topk
from zf_jax.spec import Input, Spec


def full_frame(params, layer, image, channel, position, rule):
    """One projection in the image's own frame, not cut."""
    _, trace = convnet.ConvNet(NET).apply({"params": params}, image[None])
    maps = trace.maps[layer]
    position = position if maps.ndim == 4 else None
    seed = deconvnet.isolate(maps, channel=channel, position=position)
    pixels = deconvnet.reconstruct(NET, params, seed, trace, layer=layer, rule=rule)
    return np.asarray(pixels[0])


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


@pytest.mark.parametrize("layer", ["layer2", "layer3"])
def test_project_equals_reconstruct_cropped(params, found, layer):
    images, best = found
    rule = "guided" if layer == "layer2" else "deconvnet"
    patches, projections = projection.project(
        NET, params, images, best, layer=layer, rule=rule, batch_size=4
    )
    values, indices, positions = map(np.asarray, best[layer])
    assert patches.shape == projections.shape
    assert patches.shape[:2] == values.shape
    field = geometry.receptive_fields(NET)[layer]
    size = tuple(map(min, field.size, NET.input.size))
    assert patches.shape[2:4] == size
    for m, k in np.ndindex(*values.shape):
        image, position = images[indices[m, k]], positions[m, k]
        seen = framed(image, field, position, size)
        np.testing.assert_array_equal(patches[m, k], seen)
        whole = full_frame(params, layer, image, m, position, rule)
        want = framed(whole, field, position, size)
        # The same sums in float32, compiled for another batch.
        np.testing.assert_allclose(
            projections[m, k], want, rtol=1e-4, atol=1e-5 * np.abs(whole).max()
        )
        # Nothing of the projection was cut off.
        assert np.count_nonzero(want) == np.count_nonzero(whole)


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


def test_project_is_zero_where_there_is_no_image(params):
    images = pictures(2, seed=2)
    best = topk.scan(net_maps, [images], k=4)
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


@pytest.mark.parametrize(
    ("layer", "rule", "size"),
    [
        pytest.param("a", "deconvnet", (48, 40), marks=pytest.mark.slow),
        pytest.param("b", "gradient", (48, 40), marks=pytest.mark.slow),
        ("c", "deconvnet", (48, 40)),
        pytest.param("c", "guided", (48, 40), marks=pytest.mark.slow),
        # The receptive field is larger than the net's own images, which are run whole;
        # images of other sizes are run by the crop.
        pytest.param("c", "deconvnet", (16, 14), marks=pytest.mark.slow),
    ],
)
def test_crops_of_images_equal_reconstruct_cropped(trunk, layer, rule, size):
    params, images = trunk
    net = dataclasses.replace(TRUNK, input=dataclasses.replace(TRUNK.input, size=size))
    best = everywhere(net, layer)
    patches, projections = projection.project(
        net, params, images, best, layer=layer, rule=rule
    )
    field = geometry.receptive_fields(net)[layer]
    size = tuple(map(min, field.size, size))
    assert patches.shape == projections.shape == (*best.values.shape, *size, 3)
    forward, active = xla.jit(convnet.ConvNet(net).apply), 0
    for index, image in enumerate(images):
        # All channels at all positions of this image.
        at = np.argwhere(best.images == index)
        positions = best.positions[tuple(at.T)]
        many = np.repeat(image[None], len(at), axis=0)
        _, trace = forward({"params": params}, many)
        seed = jnp.zeros_like(trace.maps[layer])
        entries = np.arange(len(at)), *positions.T, at[:, 0]
        seed = seed.at[entries].set(best.values[tuple(at.T)])
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
    forward = xla.jit(convnet.ConvNet(TRUNK).apply)
    for m, k in list(np.ndindex(*best.images.shape))[::4]:
        _, trace = forward({"params": params}, images[best.images[m, k]][None])
        value = np.asarray(trace.maps["c"])[0, *best.positions[m, k], m]
        # The values of `best` are 1, and the rule is positively homogeneous.
        want = value * of_best[m, k]
        np.testing.assert_allclose(own[m, k], want, atol=1e-5 * np.abs(want).max())


def test_own_and_other_sizes_together(trunk):
    # Images of the net's own size are run whole, others by the larger crop.
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


@pytest.mark.slow
def test_kernels_are_prepared_for_each_size():
    # Channels enough for matrix products; a crop's top is a single entry.
    net = Spec(
        "wide",
        Input(8, mean=(0.0,) * 3),
        tuple(Layer(name, (Conv(16, 3, 1, 1), Relu())) for name in "abc"),
    )
    rng = np.random.default_rng(6)
    images = [rng.normal(size=(n, n, 3)).astype(np.float32) for n in (8, 12, 8)]
    model, params = convnet.ConvNet(net), parameters.he_normal(net)
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
