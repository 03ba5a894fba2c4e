"""Graphs as tf2onnx writes Keras nets, against onnxruntime (at run time).

Keras' images are [N, H, W, C]: transposes stand around every convolution, strided
"same" padding is a Pad, batch normalisation is in the kernels, and shapes are computed
by nodes. Tolerance: float32 sums of a few hundred terms in another order.
"""

import jax
import numpy as np
import onnx
import onnxruntime
import pytest

from tests.pretrained import graphs
from tests.pretrained.graphs import Chain
from zf_jax import xla
from zf_jax.pretrained import onnx as onnx_import

_TO_FIRST, _TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def _assert_same(chain: Chain, folder, activation=None):
    """For images [3, 13, 9, 3], of a graph for any number of them."""
    model = chain.model()
    onnx.save(model, folder / "net.onnx")
    images = graphs.images((3, 13, 9, 3)) * 255
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = session.run(None, {"image": images})[0]
    net = onnx_import.load(folder / "net.onnx", mean=0.0)
    assert net.input.size == (13, 9)
    assert net.activation == activation
    found = xla.jit(net.apply)(net.params, images)
    if activation == "softmax":
        found = jax.nn.softmax(found)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def _rescaled() -> Chain:
    """Images with Keras' Rescaling before the first convolution, at stride 2."""
    chain = Chain(("n", 13, 9, 3))
    chain.add("Mul", np.float32([1 / 127.5])).add("Add", np.float32([-1]))
    chain.add("Pad", np.int64([0, 0, 0, 0, 0, 1, 1, 0]), np.float32(0))
    chain.add("Transpose", perm=_TO_FIRST)
    return chain.conv(8, 3, (3, 3), strides=[2, 2])


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_mobilenet(tmp_path, opset):
    chain = _rescaled()
    chain.opset = opset
    chain.add("Clip", np.float32(0), np.float32(6))
    beginning = chain.tensor
    depthwise = {"group": 8, "auto_pad": "SAME_UPPER"}
    chain.add("Conv", chain.weights(8, 1, 3, 3), chain.weights(8), **depthwise)
    # Hard swish: x relu6(x + 3) / 6.
    signal = chain.tensor
    chain.add("Add", np.float32(3)).add("Clip", np.float32(0), np.float32(6))
    chain.add("Mul", signal).add("Mul", np.float32(1 / 6))
    chain.conv(8, 8, (1, 1)).add("Add", beginning).add("Transpose", perm=_TO_LAST)
    axes = {"axes": [1, 2]} if opset < 18 else {}
    chain.add("ReduceMean", *([] if axes else [np.int64([1, 2])]), keepdims=0, **axes)
    _reshape(chain, [8])
    chain.add("MatMul", chain.weights(8, 5)).add("Add", chain.weights(5))
    _assert_same(chain.add("Softmax"), tmp_path, "softmax")


def _reshape(chain: Chain, rest: list[int]):
    """To the number of images, which nodes read from the shape, and `rest`."""
    shape = chain.off_path("Shape", chain.tensor)
    narrow = chain.off_path("Cast", shape, to=onnx.TensorProto.INT32)
    one, zero = chain.store(np.int64([1])), chain.store(np.int64([0]))
    number = chain.off_path("Slice", narrow, zero, one, zero)
    tail = chain.store(np.int32(rest))
    joined = chain.off_path("Concat", number, tail, axis=0)
    chain.add("Reshape", chain.off_path("Cast", joined, to=onnx.TensorProto.INT64))


def test_decoder(tmp_path):
    chain = _rescaled().add("Relu")
    skipped = chain.tensor
    chain.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    chain.conv(8, 8, (3, 3), pads=[1, 1, 1, 1]).add("Elu")
    # UpSampling2D: twice the size that it has, computed by nodes.
    shape = chain.off_path("Shape", chain.tensor)
    ends = [chain.store(np.int64([n])) for n in (0, 2, 4)]
    first = chain.off_path("Slice", shape, ends[0], ends[1], ends[0])
    last = chain.off_path("Slice", shape, ends[1], ends[2], ends[0])
    twice = chain.off_path("Mul", last, chain.store(np.int64([2, 2])))
    sizes = chain.off_path("Concat", first, twice, axis=0)
    asymmetric = {"coordinate_transformation_mode": "asymmetric"}
    asymmetric |= {"mode": "nearest", "nearest_mode": "floor"}
    chain.add("Resize", "", "", sizes, **asymmetric)
    chain.add("Concat", skipped, axis=1)
    chain.add(
        "ConvTranspose", chain.weights(16, 4, 3, 3), chain.weights(4), strides=[2, 2]
    )
    chain.add("Slice", np.int64([0, 0]), np.int64([12, 8]), np.int64([2, 3]))
    chain.add("LeakyRelu", alpha=0.3).add("Transpose", perm=_TO_LAST)
    _assert_same(chain, tmp_path)
