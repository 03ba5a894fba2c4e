"""A sequential ONNX graph as a Spec and its parameters.

ONNX's [N, C, H, W] becomes [N, H, W, C], weights for BGR images become weights for
RGB, padding that depends on the image becomes explicit, batch normalisation is folded
into the filter before it, and arithmetic on the image into the input's mean and scale.
Afterwards such a net does not differ from one that was trained here.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zf_jax import geometry
from zf_jax.errors import BadInput
from zf_jax.layers import Conv, Pair
from zf_jax.pretrained import image_input, protobuf
from zf_jax.pretrained.graph import Graph
from zf_jax.pretrained.reader import Reader, ReadLayer
from zf_jax.spec import Input, Spec

DEFAULT_SIZE = 224


class ImportedNet(NamedTuple):
    """A net that was read from a file.

    Attributes:
      spec: the net; its outputs are logits.
      params: its float32 parameters, {layer: {"kernel", "bias"}}.
      activation: what the file applies to the logits; None where it ends in them, or
        where the net was cut before its end.
    """

    spec: Spec
    params: dict[str, dict[str, jax.Array]]
    activation: Literal["softmax", "sigmoid"] | None


def load_spec(path: str | pathlib.Path, **options) -> tuple[Spec, dict]:
    """The Spec and the parameters of an ONNX file: the first two parts of `read`.

    Args:
      path: of the ONNX file.
      **options: as `read` takes them.
    """
    return read(path, **options)[:2]


def read(
    path: str | pathlib.Path,
    *,
    mean: float | Sequence[float],
    scale: float | Sequence[float] = 1.0,
    channels: Literal["rgb", "bgr"] = "rgb",
    upto: str | None = None,
    size: int | Pair | None = None,
    default_size: int | Pair = DEFAULT_SIZE,
) -> ImportedNet:
    """Reads a net whose layers follow one another.

    It may consist of Conv (groups, any padding), Relu, MaxPool (any padding), LRN,
    BatchNormalization and other arithmetic by channel before the first filter or right
    after a filter, Dropout, Flatten, Reshape, Gemm, MatMul, Transpose to and from
    [N, H, W, C], pools that change nothing, and a Softmax or Sigmoid at the end, which
    is left out; opsets from 1 on; weights of any float type, in the file or in external
    data. A pool before its Relu is put after it, which is the same.

    Layers are called layer1 to layer8 where there are five filters and three dense
    layers, as in the paper, and otherwise by the names that the graph gives them or
    their weights.

    Args:
      path: of the ONNX file.
      mean: RGB, in pixels of 0..255, what the images that the graph takes have
        subtracted; one number for all channels, or one a channel.
      scale: the factor after that; one number, or one a channel.
      channels: the order of channels of the images that the graph takes.
      upto: name of the layer to cut the net after; all of it by default.
      size: rows and columns of the images, also where the graph has its own. Padding
        that depends on the size (`auto_pad`, `ceil_mode`) is computed for this one.
      default_size: rows and columns where `size` is None and the graph leaves them
        open.

    Raises:
      BadInput: no such file, no whole ONNX file, or no sequence of such layers: then
        the message names the node and, where a part is a sequence, the `upto` to cut
        it at.
    """
    path = pathlib.Path(path).expanduser()
    if channels not in ("rgb", "bgr"):
        raise BadInput(f"channels {channels!r}: there are rgb and bgr")
    graph = Graph(path)
    reader = Reader(graph.shape, size=size, default_size=default_size)
    obstacle = _read_all(graph, reader)
    layers = _cut(path, reader.layers, upto, obstacle)
    gain, shift = reader.preprocessing
    if channels == "bgr":
        layers[0].kernel = _reverse_channels(layers[0], reader.channels)
        gain, shift = gain[::-1], shift[::-1]
    if not (np.isfinite(gain).all() and np.isfinite(shift).all() and gain.all()):
        raise BadInput(f"{path}: multiplies its images by 0, or by what is no number")
    # (image - mean) * scale, as the graph computes it from what it takes.
    own = Input(reader.size, (-shift / gain).tolist(), gain.tolist())
    net = Spec(path.stem, own, tuple(layer.as_layer() for layer in layers))
    try:
        net = preprocess(net, mean=mean, scale=scale)
    except BadInput as reason:
        raise BadInput(f"{path}: {reason}") from None
    _check(path, net, layers)
    params = {
        layer.name: {
            "kernel": jnp.asarray(layer.kernel),
            "bias": jnp.asarray(layer.bias),
        }
        for layer in layers
    }
    whole = len(layers) == len(reader.layers) and obstacle is None
    return ImportedNet(net, params, reader.activation if whole else None)


def preprocess(
    net: Spec, *, mean: float | Sequence[float], scale: float | Sequence[float]
) -> Spec:
    """The net for pixels, where `net` takes (pixels - mean) * scale as its images.

    Args:
      net: its own mean and scale apply after those given.
      mean: in pixels of 0..255; one number for all channels, or one a channel.
      scale: one number, or one a channel; not 0.

    Raises:
      BadInput: as many values as the net has channels, or one, were not given.
    """
    channels = net.input.channels
    mean, scale = (
        image_input.channel_values("mean", mean, channels),
        image_input.channel_values("scale", scale, channels),
    )
    if not scale.all():
        raise BadInput(f"scale {tuple(scale)}: 0 leaves nothing of the image")
    own_mean = np.asarray(net.input.mean, np.float64)
    means = tuple((mean + own_mean / scale).tolist())
    scales = (scale * np.asarray(net.input.scale, np.float64)).tolist()
    one = scales[0] if len(set(scales)) == 1 else tuple(scales)
    return dataclasses.replace(net, input=Input(net.input.size, means, one))


def _read_all(graph: Graph, reader: Reader) -> str | None:
    """Reads as many nodes as fit; returns why the next one does not."""
    try:
        # An overflow becomes a weight that is no number, which `_check` refuses.
        with np.errstate(all="ignore"):
            for node in graph.chain():
                reader.add(node)
    except BadInput as reason:
        return protobuf.one_line(reason)
    return None


def _cut(
    path: pathlib.Path, layers: list[ReadLayer], upto: str | None, obstacle: str | None
) -> list[ReadLayer]:
    """The layers up to `upto`, or all of them where nothing stands behind them."""
    names = [layer.name for layer in layers]
    if upto is not None and upto not in names:
        until = f", up to where {obstacle}" if obstacle else ""
        raise BadInput(f"upto={upto}: {path} has {', '.join(names) or 'none'}{until}")
    if upto is None and obstacle:
        cut = f"; upto={names[-1]} cuts the net before that" if names else ""
        after = f"after {names[-1]}" if names else "at the image"
        raise BadInput(f"{path}: not a sequence of layers: {after}, {obstacle}{cut}")
    if not layers:
        raise BadInput(f"{path}: has neither filters nor dense layers")
    return layers[: names.index(upto) + 1] if upto else layers


def _reverse_channels(layer: ReadLayer, channels: int) -> np.ndarray:
    """The first layer's kernel for RGB, from one for BGR."""
    if isinstance(layer.ops[0], Conv):
        if layer.ops[0].groups > 1:
            raise BadInput(f"{layer.name}: filters of one channel each, give rgb")
        return layer.kernel[:, :, ::-1]
    rows = layer.kernel.reshape(-1, channels, layer.kernel.shape[-1])
    return rows[:, ::-1].reshape(layer.kernel.shape)


def _check(path: pathlib.Path, net: Spec, layers: list[ReadLayer]) -> None:
    """Raises BadInput where weights do not fit the net, or are no numbers."""
    wanted = geometry.parameter_shapes(net)
    for layer in layers:
        kernel, bias = wanted[layer.name]
        if (layer.kernel.shape, layer.bias.shape) != (kernel, bias):
            raise BadInput(
                f"{path}: {layer.name} has weights {layer.kernel.shape} and "
                f"{layer.bias.shape}, its position in the net asks for {kernel} and "
                f"{bias}"
            )
        if not (np.isfinite(layer.kernel).all() and np.isfinite(layer.bias).all()):
            raise BadInput(f"{path}: {layer.name} has weights that are no numbers")
