"""Any graph of a vision net as a Model, against onnxruntime (at run time).

Tolerance: float32 sums of at most a few hundred terms in another order.
"""

import jax
import numpy as np
import onnx
import pytest

from tests.pretrained import graphs
from tests.pretrained.graphs import Chain
from zf_jax.errors import BadInput
from zf_jax.pretrained import onnx as onnx_import


def load(model, folder, **options):
    path = folder / "net.onnx"
    onnx.save(model, path)
    return onnx_import.load(path, **{"mean": 0.0} | options)


def outputs(loaded, pixels):
    """What the model gives for [N, C, H, W]."""
    return loaded.apply(loaded.params, pixels.transpose(0, 2, 3, 1))


def classifier():
    """Written for one image: the Reshape says so."""
    chain = Chain((1, 3, 13, 12)).conv(4, 3, (3, 3), pads=[1, 1, 1, 1]).add("Relu")
    chain.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    chain.add("Reshape", np.array([1, -1]))
    return chain.add("Gemm", chain.weights(5, 144), chain.weights(1, 5), transB=1)


def test_classifier_of_any_number_of_images(tmp_path):
    chain = classifier().add("Softmax")
    loaded = load(chain.model(), tmp_path)
    assert loaded.activation == "softmax"
    assert loaded.input.size == (13, 12)
    pixels = graphs.images((3, 3, 13, 12))
    got = jax.nn.softmax(outputs(loaded, pixels))
    for each, image in zip(got, pixels, strict=True):
        want = graphs.onnxruntime_of(chain.model(), image[None])
        np.testing.assert_allclose(each, want[0], atol=1e-6)


def test_unknown_value(tmp_path):
    with pytest.raises(BadInput, match="maed1_0: no such value; there are made1_0"):
        load(classifier().model(), tmp_path, upto="maed1_0")
