"""The nets that are measured, with random weights."""

import jax
import jax.numpy as jnp

from zf_jax import convnet, spec, xla
from zf_jax.layers import Conv, Dense, Flatten, Layer


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
