"""Small ONNX graphs built by the tests, and what onnxruntime and the package give.

Nodes stand one after the other; the weights are random, with a fixed seed.
"""

import re

import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from zf_jax import convnet, spec
from zf_jax.errors import BadInput
from zf_jax.layers import Dense, Flatten, Layer
from zf_jax.pretrained import sequential as onnx_import

BLACK = (0.0, 0.0, 0.0)
# Of float32 sums of at most a few hundred terms in another order.
TOLERANCE = 1e-5


class Chain:
    """A graph in the making: `Chain().add("Conv", kernel).add("Relu").model()`."""

    def __init__(self, shape=(2, 3, 13, 12), opset=17, dtype=TensorProto.FLOAT):
        self.opset, self.nodes, self.stored, self.tensor = opset, [], [], "image"
        self.inputs = [helper.make_tensor_value_info("image", dtype, shape)]
        self.dtype, self._rng = dtype, np.random.default_rng(0)

    def weights(self, *shape):
        """float32 of about one over the root of what a unit sums."""
        root = np.sqrt(np.prod(shape[1:], initial=1))
        return (self._rng.normal(size=shape) / root).astype(np.float32)

    def store(self, value, name=None):
        """The name of an initializer with the array (or TensorProto) `value`."""
        if not isinstance(value, TensorProto):
            value = numpy_helper.from_array(np.asarray(value))
        value.name = name or f"stored{len(self.stored)}"
        self.stored.append(value)
        return value.name

    def add(self, op, *inputs, name=None, index=0, outputs=1, **attributes):
        """A node: the image is its input number `index`.

        The others are arrays to store, (name, array), or names of what is there.
        """
        named = [self._named(given) for given in inputs]
        named.insert(index, self.tensor)
        made = [f"made{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, named, made, name=name, **attributes))
        self.tensor = made[0]
        return self

    def _named(self, given):
        match given:
            case str():
                return given
            case (str(name), array):
                return self.store(array, name)
            case _:
                return self.store(given)

    def conv(self, channels, inputs, size, **attributes):
        """A Conv with a bias, of a kernel in ONNX's order."""
        kernel, bias = self.weights(channels, inputs, *size), self.weights(channels)
        return self.add("Conv", kernel, bias, **attributes)

    def off_path(self, op, *inputs, **attributes):
        """A node that the image does not pass; returns the name of its output."""
        made = f"off_path{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [made], **attributes))
        return made

    def model(self):
        out = [helper.make_tensor_value_info(self.tensor, self.dtype, None)]
        graph = helper.make_graph(self.nodes, "net", self.inputs, out, self.stored)
        opset = [helper.make_opsetid("", self.opset)]
        # An IR version that the oldest supported onnxruntime knows.
        return helper.make_model(graph, opset_imports=opset, ir_version=10)


def images(shape, seed=1):
    """[N, C, H, W] float32 pixels of 0..1."""
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def onnxruntime_of(model, given):
    """The output of `model` for the images `given`."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    (image,) = (each for each in session.get_inputs() if len(each.shape) == 4)
    return session.run(None, {image.name: given})[0]


def read(model, folder, **options):
    """The package's `ImportedNet`, by default for pixels as they are."""
    path = folder / "net.onnx"
    onnx.save(model, path)
    return onnx_import.read(path, **{"mean": 0.0} | options)


def load(model, folder, **options):
    """The Spec and the parameters."""
    return read(model, folder, **options)[:2]


def logits(net, params, pixels):
    """[N, C, H, W] or [N, L], as ONNX orders what the package computes."""
    prepared = convnet.prepare(jnp.asarray(pixels.transpose(0, 2, 3, 1)), net.input)
    given, _ = convnet.ConvNet(net).apply({"params": params}, prepared)
    given = np.asarray(given)
    return given.transpose(0, 3, 1, 2) if given.ndim == 4 else given


def relative_error(got, want):
    assert got.shape == want.shape
    return np.abs(got - want).max() / np.abs(want).max()


def assert_same(folder, chain, like=None):
    """The package gives for the chain what onnxruntime gives (for `like`)."""
    net, params = load(chain.model(), folder)
    shape = [d.dim_value for d in chain.inputs[0].type.tensor_type.shape.dim]
    pixels = images(shape)
    want = onnxruntime_of((like or chain).model(), pixels)
    got = logits(net, params, pixels)
    assert relative_error(got, want) <= TOLERANCE
    return net


def normalise(chain, channels, **attributes):
    """A BatchNormalization with numbers as training leaves them."""
    gain, shift, mean = (chain.weights(channels) for _ in range(3))
    variance = np.square(chain.weights(channels)) + np.float32(0.1)
    return chain.add("BatchNormalization", gain, shift, mean, variance, **attributes)


def spec_of(given):
    """A small Spec with the input `given`."""
    return spec.Spec("small", given, (Layer("dense", (Flatten(), Dense(2))),))


def trunk():
    return Chain().conv(4, 3, (3, 3), name="a/Conv").add("Relu", name="a/Relu")


def refused(path, **options):
    """The one line that refuses the file."""
    with pytest.raises(BadInput) as raised:
        onnx_import.load_spec(path, **{"mean": BLACK} | options)
    message = str(raised.value)
    assert len(message.splitlines()) == 1, message
    assert message.isprintable()
    # The file is named.
    assert str(path) in message
    return message


def refused_model(model, folder, **options):
    path = folder / "net.onnx"
    onnx.save(model, path)
    message = refused(path, **options)
    cut = re.search(r"; upto=(\S+) cuts the net before that$", message)
    # What it offers is true: the net can be cut there.
    if cut:
        net, _ = onnx_import.load_spec(path, mean=BLACK, upto=cut[1])
        assert net.layers[-1].name == cut[1]
    return message.removeprefix(f"{path}: "), cut and cut[1]
