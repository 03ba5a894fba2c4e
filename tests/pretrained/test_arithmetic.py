"""Arithmetic by channel: folded into filters, or into the input's mean and scale.

References: onnxruntime at run time.
"""

import numpy as np
import pytest

from tests.pretrained import graphs
from tests.pretrained.graphs import Chain, assert_same
from zf_jax import convnet
from zf_jax.errors import BadInput
from zf_jax.pretrained import arithmetic, sequential
from zf_jax.pretrained.graph import Node
from zf_jax.spec import Input


def node(op, *inputs, **attributes):
    return Node(op, "it", attributes, inputs, ("",) * len(inputs))


VALUE = np.float32([0.5, -2, 4]).reshape(3, 1, 1)


# By hand: gain and shift of 0.5, -2 and 4, which the image comes before or after.
@pytest.mark.parametrize(
    ("op", "inputs", "gain", "shift"),
    [
        ("Add", (None, VALUE), [1, 1, 1], [0.5, -2, 4]),
        ("Add", (VALUE, None), [1, 1, 1], [0.5, -2, 4]),
        ("Sub", (None, VALUE), [1, 1, 1], [-0.5, 2, -4]),
        ("Sub", (VALUE, None), [-1, -1, -1], [0.5, -2, 4]),
        ("Mul", (None, VALUE), [0.5, -2, 4], [0, 0, 0]),
        ("Div", (None, VALUE), [2, -0.5, 0.25], [0, 0, 0]),
        ("Mul", (None, np.float32(3)), [3, 3, 3], [0, 0, 0]),
        ("Mul", (None, VALUE[None]), [0.5, -2, 4], [0, 0, 0]),
    ],
)
def test_affine(op, inputs, gain, shift):
    found = arithmetic.affine(node(op, *inputs), "NCHW", 3)
    np.testing.assert_allclose(found.gain, gain)
    np.testing.assert_allclose(found.shift, shift)


def test_affine_by_axis():
    # Of [N, H, W, C] the last axis has the channels; before opset 7 an attribute said
    # which axis a constant begins at.
    last, middle = np.float32([1, 2, 3]), np.float32([[1], [2], [3]])
    for op in (
        (node("Mul", None, last), "NHWC"),
        (node("Mul", None, last), "ND"),
        (node("Mul", None, last, axis=1), "NCHW"),
        (node("Mul", None, middle, axis=1), "NCHW"),
    ):
        np.testing.assert_array_equal(arithmetic.affine(*op, 3).gain, [1, 2, 3])


@pytest.mark.parametrize(
    ("given", "axes", "message"),
    [
        (node("Div", VALUE, None), "NCHW", "divides a constant by the values"),
        (node("Add", None, np.ones((5, 5), np.float32)), "NCHW", "not with one entry"),
        (node("Add", None, VALUE), "NHWC", "not with one entry for each of 3 channels"),
        (node("Add", None, np.array([1, 2, 3])), "ND", "weights of int64"),
        (node("Add", None, VALUE[:, 0, 0], axis=2**40), "NCHW", "of shape (3,)"),
        (node("Add", None, VALUE[:, 0, 0], axis=-1), "NCHW", "of shape (3,)"),
        (
            node("BatchNormalization", None, *[VALUE[:, 0, 0]] * 4, training_mode=1),
            "NCHW",
            "training mode",
        ),
        (
            node("BatchNormalization", None, *[VALUE[:, 0, 0]] * 4),
            "NHWC",
            "takes [N, C, H, W] and gets NHWC",
        ),
        (
            node("BatchNormalization", None, *[np.float32([1, 2])] * 4),
            "NCHW",
            "has (2,) values for 3 channels",
        ),
        (
            node("BatchNormalization", None, *[np.float32([1])] * 3, VALUE),
            "NCHW",
            "weights of several shapes",
        ),
    ],
)
def test_what_is_not_by_channel(given, axes, message):
    with pytest.raises(BadInput) as raised:
        arithmetic.affine(given, axes, 3)
    assert message in str(raised.value)


def test_filters_take_what_follows_at_once(tmp_path):
    chain = Chain().conv(5, 3, (3, 3), pads=[1, 1, 1, 1])
    graphs.normalise(chain, 5, epsilon=0.01).add("Sub", chain.weights(5, 1, 1), index=1)
    chain.add("Relu").add("Conv", chain.weights(4, 5, 3, 3))
    graphs.normalise(chain, 4).add("Flatten")
    chain.add("Gemm", chain.weights(4 * 11 * 10, 6), chain.weights(6))
    net = assert_same(tmp_path, graphs.normalise(chain, 6).add("Relu"))
    assert [len(layer.ops) for layer in net.layers] == [2, 1, 3]


MEAN, DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


# As Keras' Rescaling, torch users' (x - mean) / std, and a normalisation layer.
@pytest.mark.parametrize("first", ["rescaling", "mean and std", "batch norm"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_arithmetic_before_the_first_filter(tmp_path, first, channels):
    chain = Chain()
    match first:
        case "rescaling":
            chain.add("Mul", np.float32(1 / 127.5)).add("Add", np.float32(-1))
        case "mean and std":
            chain.add("Sub", 255 * MEAN.reshape(1, 3, 1, 1))
            chain.add("Div", 255 * DEVIATION.reshape(1, 3, 1, 1))
        case "batch norm":
            graphs.normalise(chain, 3)
    # Padding is 0 behind the arithmetic.
    chain.conv(4, 3, (3, 3), pads=[1, 1, 1, 1]).add("Relu")
    chain.add("MaxPool", kernel_shape=[2, 2])
    pixels = 255 * graphs.images((2, 3, 13, 12))
    want = pixels if channels == "rgb" else pixels[:, ::-1]
    want = graphs.onnxruntime_of(chain.model(), want)
    net, params = graphs.load(chain.model(), tmp_path, channels=channels)
    assert graphs.relative_error(graphs.logits(net, params, pixels), want) <= 1e-5
    if first == "mean and std" and channels == "rgb":
        np.testing.assert_allclose(net.input.mean, 255 * MEAN, rtol=1e-6)
        np.testing.assert_allclose(net.input.scale, 1 / (255 * DEVIATION), rtol=1e-6)


def test_arithmetic_on_keras_images(tmp_path):
    # tf2onnx turns [N, H, W, C] behind the arithmetic.
    chain = Chain((2, 13, 12, 3)).add("Mul", np.float32([0.5, 1, 2]))
    chain.add("Transpose", perm=[0, 3, 1, 2]).conv(4, 3, (3, 3))
    net, params = graphs.load(chain.model(), tmp_path)
    assert net.input.size == (13, 12)
    pixels = graphs.images((2, 3, 13, 12))
    want = graphs.onnxruntime_of(chain.model(), pixels.transpose(0, 2, 3, 1))
    assert graphs.relative_error(graphs.logits(net, params, pixels), want) <= 1e-5


def test_an_image_times_nought(tmp_path):
    chain = Chain().add("Mul", np.float32(0)).conv(2, 3, (1, 1))
    with pytest.raises(BadInput, match="multiplies its images by 0"):
        graphs.load(chain.model(), tmp_path)


def test_preprocess():
    # By hand: 2 (p - 10) is what the net takes, of which it takes 3 (x - 4).
    given = Input(4, mean=(4.0,) * 3, scale=3.0)
    net = graphs.spec_of(given)
    found = sequential.preprocess(net, mean=10, scale=2).input
    assert (found.mean, found.scale) == ((12.0,) * 3, 6.0)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(
        convnet.prepare(pixels, found),
        convnet.prepare(2 * (pixels - 10), given),
        rtol=1e-5,
        atol=1e-4,
    )
    with pytest.raises(BadInput, match=r"mean \(1.0, 2.0\): the net takes images of 3"):
        sequential.preprocess(net, mean=(1, 2), scale=1)
    with pytest.raises(BadInput, match="0 leaves nothing"):
        sequential.preprocess(net, mean=0, scale=(1, 0, 1))
