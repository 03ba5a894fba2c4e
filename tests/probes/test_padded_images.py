"""Padded images: the maps and the top k are those of every image by itself."""

import numpy as np
import pytest

from tests import parameters
from zf_jax import convnet, xla
from zf_jax.errors import BadInput
from zf_jax.layers import LRN, Conv, Dense, Flatten, Layer, Pool, Relu
from zf_jax.probes import padded_images, topk
from zf_jax.spec import Input, Spec

# Strides, paddings on any side, pools that overlap and reach beyond the border, and
# LRN before and after a pool.
NET = Spec(
    "padded",
    Input(20, mean=(10.0, 20.0, 30.0)),
    (
        Layer("a", (Conv(4, 5, 2, 2), Relu(), Pool(3, 2, ((0, 1), (1, 0))), LRN())),
        Layer("b", (Conv(6, (2, 3), 1, ((1, 0), (0, 2))), Relu(), LRN(), Pool(2, 1))),
        Layer("c", (Conv(5, 3, 1, 1), Relu())),
    ),
)
SIZES = [(23, 31), (17, 40), (33, 20)]


@pytest.fixture(scope="module")
def params():
    # Biases, which a filter of padding alone would show.
    return parameters.he_normal(NET, bias=1.0)


@pytest.fixture(scope="module")
def pixels():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (1, *size, 3), np.uint8) for size in SIZES]


def test_maps_are_those_of_each_image(params, pixels):
    @xla.jit
    def padded_maps(pixels, sizes):
        return padded_images.maps(
            NET, params, convnet.prepare(pixels, NET.input), sizes
        )

    @xla.jit
    def own_maps(pixels):
        given = convnet.prepare(pixels, NET.input)
        return convnet.ConvNet(NET).apply({"params": params}, given)[1].maps

    for image in pixels:
        padded, sizes = padded_images.pad(NET, image, multiple=48)
        assert padded.shape == (1, 48, 48, 3)
        # Anything may stand in the padding.
        outside = np.ones(padded.shape, bool)
        outside[:, : image.shape[1], : image.shape[2]] = False
        padded = np.where(outside, np.uint8(200), padded)
        found = padded_maps(padded, sizes)
        for name, each in own_maps(image).items():
            rows, columns = each.shape[1:3]
            got = np.array(found[name])
            np.testing.assert_allclose(
                got[:, :rows, :columns], each, atol=1e-6 * np.abs(each).max()
            )
            got[:, :rows, :columns] = -np.inf
            assert (got == -np.inf).all()


def test_top_k_with_one_program_for_sizes_alike(params, pixels, compilations):
    def maps_fn(pixels, sizes):
        prepared = convnet.prepare(pixels, NET.input)
        return padded_images.maps(NET, params, prepared, sizes)

    def alone(pixels):
        given = convnet.prepare(pixels, NET.input)
        return convnet.ConvNet(NET).apply({"params": params}, given)[1].maps

    want = topk.scan(alone, pixels[:2], k=2)
    padded = [padded_images.pad(NET, each) for each in pixels[:2]]
    topk.scan(maps_fn, padded[:1], k=2)
    with compilations() as compiled:
        found = topk.scan(maps_fn, padded, k=2)
    assert compiled == []
    for name, each in want.items():
        np.testing.assert_array_equal(found[name].images, each.images)
        np.testing.assert_array_equal(found[name].positions, each.positions)
        np.testing.assert_allclose(found[name].values, each.values, rtol=1e-5)


def test_a_dense_layer_takes_one_size():
    layers = (*NET.layers, Layer("d", (Flatten(), Dense(3))))
    net = Spec("dense", NET.input, layers)
    with pytest.raises(BadInput, match="d of dense is dense"):
        padded_images.valid_mask(net, np.int32([[20, 20]]), (64, 64))


def test_an_image_that_is_too_small_is_refused():
    with pytest.raises(BadInput, match=r"of padded: .* give larger images"):
        padded_images.pad(NET, np.zeros((1, 3, 30, 3), np.uint8))
