"""Whole nets as ONNX files, against the outputs of other runtimes."""

import pathlib

import jax
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from zf_jax import model, xla
from zf_jax.pretrained import onnx as onnx_import

_TOLERANCE = 1e-4
_LIGHT = pathlib.Path(onnx.__file__).parent / "backend/test/data/light"
_ACTIVATIONS = {
    None: lambda logits: logits,
    "softmax": jax.nn.softmax,
    "sigmoid": jax.nn.sigmoid,
}


def _probabilities(net: model.Model, logits: jax.Array) -> np.ndarray:
    return np.asarray(_ACTIVATIONS[net.activation](logits))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "bvlc_alexnet",
        "densenet121",
        "inception_v1",
        "inception_v2",
        "resnet50",
        "shufflenet",
        "squeezenet",
        "vgg19",
        "zfnet512",
    ],
)
def test_nets_of_the_package(name):
    """Weights that are all alike; outputs of ONNX's reference implementation."""
    entries = 3 * 224 * 224
    # As the package's own runner makes them.
    images = (np.arange(entries) / entries).astype(np.float32)
    images = images.reshape(1, 3, 224, 224).transpose(0, 2, 3, 1)
    net = onnx_import.load(_LIGHT / f"light_{name}.onnx", mean=0.0)
    # Its softmax is of 1000 logits of 1e10 each. XLA sums those in two orders, for the
    # maximum and what it is subtracted from, if it compiles the net as a whole.
    apply = net.apply if name == "squeezenet" else xla.jit(net.apply)
    found = _probabilities(net, apply(net.params, images))
    stored = onnx.load_tensor(_LIGHT / f"light_{name}_output_0.pb")
    expected = numpy_helper.to_array(stored)
    np.testing.assert_allclose(
        found.reshape(expected.shape), expected, rtol=_TOLERANCE, atol=1e-7
    )
