"""The nets that are measured, with random weights."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import resnet, timing
from zf_jax import convnet, spec, xla
from zf_jax.layers import Conv, Dense, Flatten, Layer, Pair


class Classifier(NamedTuple):
    """A net and its reference.

    Attributes:
      name: for people.
      size: of an image, rows and columns.
      logits: a function of images [N, H, W, 3].
      reference: makes the net in PyTorch, for images [N, 3, H, W].
    """

    name: str
    size: Pair
    logits: Callable[[jax.Array], jax.Array]
    reference: Callable[[], Any]


def classifier(config: timing.CommonConfig) -> Classifier:
    """The net of --net, or of --spec with a linear head."""
    if config.net:
        return _residual(config.net)
    net = with_linear_head(config.spec)
    model, params = initialise(net)

    def logits(images):
        return model.apply({"params": params}, images)[0]

    def make_reference():
        from benchmarks import reference

        return reference.make(net).eval()

    return Classifier(net.name, net.input.size, logits, make_reference)


def _residual(name: str) -> Classifier:
    model, variables = resnet.initialise(name)

    def logits(images):
        return model.apply(variables, images)

    def make_reference():
        from benchmarks import reference_resnet

        return reference_resnet.make(name, variables)

    return Classifier(name, resnet.SIZE, logits, make_reference)


def with_linear_head(name: str) -> spec.Spec:
    """A net by name; of vgg16 the filters and one dense layer.

    VGG16's own dense layers are half of its time and nearly all of its memory.
    """
    net = spec.by_name(name)
    if net.name != "vgg16":
        return net
    kept = to_last_filter(net).layers
    head = Layer("predictions", (Flatten(), Dense(1000)))
    return spec.Spec("vgg16's filters and a linear layer", net.input, (*kept, head))


def to_last_filter(net: spec.Spec) -> spec.Spec:
    """The net up to its last convolution: the layers that have positions."""
    return net.upto(
        [layer.name for layer in net.layers if isinstance(layer.filter, Conv)][-1]
    )


def initialise(net: spec.Spec) -> tuple[convnet.ConvNet, dict]:
    """The net as a module, and its parameters from He's distribution."""
    model = convnet.ConvNet(net, kernel_init=jax.nn.initializers.he_normal())
    images = jnp.zeros((1, *net.input.size, net.input.channels))
    return model, xla.jit(model.init)(jax.random.key(0), images)["params"]
