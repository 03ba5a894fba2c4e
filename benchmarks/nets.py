"""The nets that are measured, with random weights."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import resnet, timing
from zf_jax import convnet, geometry, spec, xla
from zf_jax.errors import BadInput
from zf_jax.layers import Conv, Dense, Flatten, Layer, Pair
from zf_jax.probes import projection
from zf_jax.transforms import capture


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


class Trunk(NamedTuple):
    """A net as far as its units have positions, and its reference.

    Attributes:
      name: for people.
      size: of an image, rows and columns.
      maps: a function of images [N, H, W, 3] to the maps of each layer.
      channels: how many each layer has, the lowest layer first.
      projector: images, their top k and the channels of each layer to a Projector.
      reference: makes the net in PyTorch, and the rectifier of each layer in it.
    """

    name: str
    size: Pair
    maps: Callable[[jax.Array], dict[str, jax.Array]]
    channels: dict[str, int]
    projector: Callable[..., projection.Projector]
    reference: Callable[[], tuple[Any, dict[str, Any]]]


def trunk(config: timing.CommonConfig) -> Trunk:
    """The filters of --spec, or of --net all but its head.

    Raises:
      BadInput: a net whose rectifiers the deconvnet has no rule for.
    """
    if config.net:
        return _residual_trunk(config.net)
    net = to_last_filter(spec.by_name(config.spec))
    model, params = initialise(net)

    def read_maps(images):
        return model.apply({"params": params}, images)[1].maps

    def make_reference():
        from benchmarks import reference

        built = reference.make(net).eval()
        reference.load(built, net, params)
        relus = reference.relus(built)
        return built, dict(
            zip((layer.name for layer in net.layers), relus, strict=True)
        )

    shapes = geometry.shapes(net)
    return Trunk(
        net.name,
        net.input.size,
        read_maps,
        {layer.name: shapes[layer.name].maps[-1] for layer in net.layers},
        functools.partial(
            projection.Projector,
            lambda images: model.apply({"params": params}, images)[0],
        ),
        make_reference,
    )


def _residual_trunk(name: str) -> Trunk:
    if name != "resnet50":
        raise BadInput(f"--net={name}: give resnet50, whose rectifiers are ReLUs")
    model, variables = resnet.initialise(name)

    def apply(images):
        return model.apply(variables, images)

    def make_reference():
        from benchmarks import reference_resnet

        built = reference_resnet.make(name, variables)
        return built, reference_resnet.relus(built)

    return Trunk(
        name,
        resnet.SIZE,
        capture.maps(apply, list(resnet.TAGS)),
        resnet.TAGS,
        functools.partial(projection.Projector, apply),
        make_reference,
    )


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
