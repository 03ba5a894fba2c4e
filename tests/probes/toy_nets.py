"""The nets and images that tests of projections share."""

import functools

import numpy as np

from tests import parameters
from zf_jax import convnet, geometry
from zf_jax.layers import LRN, Conv, Dense, Flatten, Layer, Pool, Relu
from zf_jax.probes import topk
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
# Asymmetric padding, groups, overlapping pools, LRN, large images.
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


def pictures(count, seed=0):
    shape = (count, *NET.input.size, 3)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@functools.cache
def net_parameters():
    return parameters.he_normal(NET)


def net_maps(images):
    return convnet.ConvNet(NET).apply({"params": net_parameters()}, images)[1].maps


@functools.cache
def trunk():
    """Parameters of TRUNK, and an image of each size."""
    rng = np.random.default_rng(6)
    images = [rng.normal(size=(*size, 3)).astype(np.float32) for size in SIZES]
    return parameters.he_normal(TRUNK, seed=3), images


def everywhere(net, layer):
    """A `TopK` of corners, borders and centres of every image, for all channels."""
    where = []
    for index, size in enumerate(SIZES):
        *extent, channels = geometry.shapes(net, size)[layer].maps
        rows, columns = (sorted({0, n // 2, n - 1}) for n in extent)
        where += [(index, row, column) for row in rows for column in columns]
    where = np.array(where)
    values = np.ones((channels, len(where)), np.float32)
    images = np.broadcast_to(where[:, 0], values.shape)
    positions = np.broadcast_to(where[:, 1:], (*values.shape, 2))
    return topk.TopK(values, images, positions)
