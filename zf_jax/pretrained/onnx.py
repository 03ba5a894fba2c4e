"""Any ONNX graph of a vision net as a `model.Model`.

    from zf_jax.pretrained import onnx as onnx_import

    m = onnx_import.load("resnet50.onnx", mean=(123.7, 116.3, 103.5), scale=1 / 58)
    logits = m.apply(m.params, m.prepare(pixels))  # pixels [N, H, W, C]

Weights are the model's parameters, by the names that the graph has for them, in ONNX's
own order of axes. Reading a file runs no code of the file's.
"""

import difflib
import pathlib
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import onnx.inliner

from zf_jax import model
from zf_jax.errors import BadInput
from zf_jax.layers import Pair
from zf_jax.pretrained import batch, image_input, onnx_params, onnx_reader, protobuf
from zf_jax.pretrained.image_input import ImageInput
from zf_jax.pretrained.onnx_graph import Graph
from zf_jax.pretrained.sequential import load_spec

__all__ = ["load", "load_spec"]

_ACTIVATIONS = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}
_OLDEST = 7


def load(
    path: str | pathlib.Path,
    *,
    mean: float | Sequence[float],
    scale: float | Sequence[float] = 1.0,
    channels: Literal["rgb", "bgr"] = "rgb",
    upto: str | None = None,
    size: int | Pair | None = None,
) -> model.Model:
    """Reads a net of images from an ONNX file, opset 7 to the newest.

    `apply` takes images [N, H, W, C] float32, any N. It gives one array, or several
    outputs by their names; maps among them are [N, H, W, C] too. A softmax or sigmoid
    behind logits [N, L] at the end is left out, and the model's `activation` says so.
    Hidden values have the graph's names and order of axes: [N, C, h, w].

    float16, bfloat16 and double weights become float32; what the graph casts is cast.

    Args:
      path: of the ONNX file; external data stands beside it.
      mean: RGB, in pixels of 0..255, what the images that the graph takes have
        subtracted; one number for all channels, or one a channel.
      scale: the factor after that; one number, or one a channel.
      channels: the order of channels of the images that the graph takes; `apply` takes
        RGB in either case.
      upto: name of the value of the graph that becomes the output; the graph's own
        outputs by default.
      size: rows and columns of the images; needed where the graph leaves them open.

    Raises:
      BadInput: no such file, no whole ONNX file, no net of one image, an operation that
        is not known here (the message says how many, and the `upto` that cuts the graph
        before it), or no such value `upto`.
    """
    path = pathlib.Path(path).expanduser()
    if channels not in ("rgb", "bgr"):
        raise BadInput(f"channels {channels!r}: there are rgb and bgr")
    file = protobuf.read(path)
    opset = protobuf.opset(path, file)
    if opset < _OLDEST:
        raise BadInput(
            f"{path}: of opset {opset}, known are {_OLDEST} and newer; "
            "onnx.version_converter converts it"
        )
    try:
        if file.functions:
            file = onnx.inliner.inline_local_functions(file)
        graph = _cut(onnx_reader.read(file.graph, opset), upto)
        image = image_input.find(file.graph, graph)
        _check_operations(graph, image.name)
        return _model(path.stem, graph, image, mean, scale, channels, upto, size)
    except BadInput as reason:
        raise BadInput(f"{path}: {protobuf.one_line(reason)}") from reason.__cause__


def _cut(graph: Graph, upto: str | None) -> Graph:
    """The graph up to its outputs or `upto`, with its constants computed."""
    if upto is not None:
        made = [name for node in graph.nodes for name in node.outputs if name]
        if upto not in made:
            near = difflib.get_close_matches(upto, made, n=5, cutoff=0) or made[-5:]
            raise BadInput(f"upto={upto}: no such value; there are {', '.join(near)}")
    outputs = graph.outputs if upto is None else (upto,)
    return graph.cut(outputs).folded().cut(outputs)


def _check_operations(graph: Graph, image: str) -> None:
    missing = graph.missing()
    if not missing:
        return
    first, kinds = missing[0], sorted({node.op for node in missing})
    others = f", and {', '.join(kinds)} in {len(missing)} nodes in all"
    before = [name for name in first.inputs if name not in graph.constants]
    cut = (
        f"; upto={before[0]} cuts the net before it"
        if before and before != [image]
        else ""
    )
    raise BadInput(
        f"{first} is an operation that is not known here"
        + others * (len(missing) > 1)
        + cut
    )


def _model(
    name: str,
    graph: Graph,
    image: ImageInput,
    mean: float | Sequence[float],
    scale: float | Sequence[float],
    order: str,
    upto: str | None,
    size: int | Pair | None,
) -> model.Model:
    rows, columns = image.sized(size)
    channels = image.channels or np.size(mean)
    means = image_input.channel_values("mean", mean, channels)
    scales = image_input.channel_values("scale", scale, channels)
    if not scales.all():
        raise BadInput(f"scale {tuple(scales)}: 0 leaves nothing of the image")
    shape = (rows, columns, channels)
    activation = None
    if upto is None:
        graph, activation = _without_activation(graph, image, shape)
    params = onnx_params.weights(graph)
    return model.Model(
        _apply(graph, image, shape, reverse=order == "bgr"),
        {key: jnp.asarray(value) for key, value in params.items()},
        model.Input((rows, columns), tuple(means.tolist()), tuple(scales.tolist())),
        name=name,
        activation=activation,
        layout="NCHW",
    )


def _apply(
    graph: Graph, image: ImageInput, shape: tuple[int, int, int], *, reverse: bool
) -> Callable:
    """What the model applies: (params, images) -> output, or outputs by name."""
    first = image.layout == "NCHW"
    params = onnx_params.weights(graph)
    graph = onnx_params.without(graph, params)
    own = (shape[2], *shape[:2]) if first else shape
    run = batch.runner(graph, image.name, params, own, image.batch)

    def apply(params, images):
        if images.ndim != 4 or images.shape[-1] != shape[2]:
            raise BadInput(
                f"images of shape {images.shape}: the net takes [N, H, W, C] with "
                f"{shape[2]} channels"
            )
        images = images[..., ::-1] if reverse else images
        images = images.transpose(0, 3, 1, 2) if first else images
        found = map(jnp.asarray, run(params, images))
        last = [
            each.transpose(0, 2, 3, 1) if first and each.ndim == 4 else each
            for each in found
        ]
        if len(last) == 1:
            return last[0]
        return dict(zip(graph.outputs, last, strict=True))

    return apply


def _without_activation(
    graph: Graph, image: ImageInput, shape: tuple[int, int, int]
) -> tuple[Graph, str | None]:
    """The graph up to its logits [N, L], and what it applies to them."""
    if len(graph.outputs) > 1:
        return graph, None
    makers = {output: node for node in graph.nodes for output in node.outputs}
    node = makers.get(graph.outputs[0])
    while node is not None and node.op == "Identity":
        node = makers.get(node.inputs[0])
    if node is None or node.op not in _ACTIVATIONS:
        return graph, None
    logits = graph.cut(node.inputs[:1])
    apply = _apply(logits, image, shape, reverse=False)
    images = jax.ShapeDtypeStruct((2, *shape), np.float32)
    (ndim,) = {jax.eval_shape(apply, onnx_params.weights(logits), images).ndim}
    if ndim != 2 or node.get("axis", -1) not in (1, -1):
        return graph, None
    return logits, _ACTIVATIONS[node.op]
