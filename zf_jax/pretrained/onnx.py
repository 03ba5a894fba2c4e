"""A sequential ONNX graph as a Spec and its parameters.

What ONNX writes [N, C, H, W] becomes [N, H, W, C], weights for BGR images are turned
to RGB, padding that depends on the image becomes explicit, and batch normalisation
disappears in the filter before it. Afterwards nothing tells such a net from one
trained here.
"""

import math
import pathlib
import re
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from onnx import TensorProto

from zf_jax import geometry
from zf_jax.errors import BadInput
from zf_jax.layers import (
    LRN,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Op,
    Padding,
    Pair,
    Pool,
    Relu,
    pair,
)
from zf_jax.pretrained import graph
from zf_jax.spec import Input, Spec

# What a Cast may lead to that leaves the image as it is; texts before opset 6.
_FLOATS = {
    to
    for name in ("FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16")
    for to in (TensorProto.DataType.Value(name), name.encode())
}
_SIZE = 224


def load(
    path: str | pathlib.Path,
    *,
    mean: float | Sequence[float],
    scale: float | Sequence[float] = 1.0,
    channels: Literal["rgb", "bgr"] = "rgb",
    last: str | None = None,
    size: int | Pair | None = None,
) -> tuple[Spec, dict[str, dict[str, jax.Array]]]:
    """Reads a net that is one layer after the other.

    Known are Conv (groups, any padding), Relu, MaxPool (any padding), LRN,
    BatchNormalization and other arithmetic by map right after a filter, Dropout,
    Flatten, Reshape, Gemm, MatMul, a Softmax at the end (left out: the net gives
    logits), Transpose to and from [N, H, W, C]; opsets 1 to 21; weights of any float
    type, within the file or beside it. A pool before its Relu is put after it, which
    is the same.

    Layers are called layer1 to layer8 where there are five filters and three dense
    layers, as in the paper, and otherwise by the names that the graph gives them or
    their weights.

    Args:
      path: of the ONNX file.
      mean: RGB, in pixels of 0..255, what the net was trained to have taken off; one
        number stands for all channels.
      scale: the factor after that; one number, or one a colour, RGB.
      channels: the order of colours that the graph itself takes.
      last: name of the layer to cut the net after; all of it by default.
      size: rows and columns of the images; the graph's own by default, and 224 where
        it has none. Padding that the graph leaves to the size (`auto_pad`,
        `ceil_mode`) is as it would be at this one.

    Returns:
      The net, and its float32 parameters, {layer: {"kernel", "bias"}}.

    Raises:
      BadInput: no such file, no whole ONNX file, or no sequence of such layers: then
        the message names the node and, where a part is one, the `last` to cut it at.
    """
    path = pathlib.Path(path).expanduser()
    if channels not in ("rgb", "bgr"):
        raise BadInput(f"channels {channels!r}: there are rgb and bgr")
    found = graph.Graph(path)
    reader, obstacle = _Reader(found, size), None
    try:
        # What overflows is no number, which the check at the end tells.
        with np.errstate(all="ignore"):
            for node in found.way():
                reader.add(node)
    except BadInput as reason:
        obstacle = graph.one_line(reason)
    layers = reader.layers
    names = [layer.name for layer in layers]
    if last is not None and last not in names:
        until = f", up to where {obstacle}" if obstacle else ""
        raise BadInput(f"last={last}: {path} has {', '.join(names) or 'none'}{until}")
    if last is None and obstacle:
        cut = f"; last={names[-1]} cuts the net before that" if names else ""
        after = f"after {names[-1]}" if names else "at the image"
        raise BadInput(f"{path}: not a sequence of layers: {after}, {obstacle}{cut}")
    if not layers:
        raise BadInput(f"{path}: has neither filters nor dense layers")
    mean = (mean,) * reader.colours if np.ndim(mean) == 0 else tuple(mean)
    if len(mean) != reader.colours:
        raise BadInput(f"mean {mean}: {path} takes images of {reader.colours} colours")
    layers = layers[: names.index(last) + 1] if last else layers
    given = Input(reader.size, mean, scale)
    net = Spec(path.stem, given, tuple(layer.as_layer() for layer in layers))
    kernels = [layer.kernel for layer in layers]
    if channels == "bgr":
        kernels[0] = _flip(layers[0], reader.colours)
    _check(path, net, layers)
    params = {
        layer.name: {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(layer.bias)}
        for layer, kernel in zip(layers, kernels, strict=True)
    }
    return net, params


def _flip(first: "_Read", colours: int) -> np.ndarray:
    """The first layer's kernel for RGB, from one for BGR."""
    if isinstance(first.ops[0], Conv):
        if first.ops[0].groups > 1:
            raise BadInput(f"{first.name}: filters of one colour each, give rgb")
        return first.kernel[:, :, ::-1]
    rows = first.kernel.reshape(-1, colours, first.kernel.shape[-1])
    return rows[:, ::-1].reshape(first.kernel.shape)


def _check(path: pathlib.Path, net: Spec, layers: "list[_Read]") -> None:
    """The whole fits together, and no weight is missing its value."""
    wanted = geometry.parameter_shapes(net)
    for layer in layers:
        kernel, bias = wanted[layer.name]
        if (layer.kernel.shape, layer.bias.shape) != (kernel, bias):
            raise BadInput(
                f"{path}: {layer.name} has weights {layer.kernel.shape} and "
                f"{layer.bias.shape}, its place in the net asks for {kernel} and {bias}"
            )
        if not (np.isfinite(layer.kernel).all() and np.isfinite(layer.bias).all()):
            raise BadInput(f"{path}: {layer.name} has weights that are no numbers")


class _Read:
    """A layer in the making."""

    def __init__(self, op: Conv | Dense, kernel, bias, names: list[str]):
        self.ops: list[Op] = [op]
        self.flattened = False
        self.kernel, self.bias = kernel, bias
        # What it may be called, the best first.
        self.names = names
        self.name = ""

    def as_layer(self) -> Layer:
        return Layer(self.name, (Flatten(),) * self.flattened + tuple(self.ops))

    def bare(self) -> bool:
        """Whether nothing stands behind the filter yet."""
        return len(self.ops) == 1

    def has(self, kind: type) -> bool:
        return any(isinstance(op, kind) for op in self.ops)


class _Reader:
    """Turns nodes, in the order of the image's way, into layers."""

    def __init__(self, found: graph.Graph, size: int | Pair | None):
        self._read: list[_Read] = []
        self._file, self._wanted = found, size
        self._shape: tuple[int, ...] | None = None
        # The axes as the graph has them at this point, "ND" once they are flat.
        self._axes, self._ended = "NCHW", False
        self.size, self.colours = (_SIZE, _SIZE), 3

    @property
    def layers(self) -> list[_Read]:
        """What was read so far, by its final names."""
        for layer, name in zip(self._read, _names(self._read), strict=True):
            layer.name = name
        return self._read

    def add(self, node: graph.Node) -> None:
        """The next node on the way.

        Raises:
          BadInput: it does not fit a sequence of layers.
        """
        to_float = node.op == "Cast" and node.attributes.get("to") in _FLOATS
        if node.op == "Identity" or to_float:
            return
        if self._shape is None:
            self._begin(node)
        try:
            if self._ended:
                raise BadInput("stands behind the softmax")
            if node.op not in _STEPS:
                raise BadInput("is nothing that a layer here can be")
            _STEPS[node.op](self, node)
        except BadInput as reason:
            raise BadInput(f"node {node.name!r} ({node.op}) {reason}") from None

    def _begin(self, node: graph.Node) -> None:
        """The image as the first node finds it."""
        dims = self._file.size
        if node.op == "Transpose" and node.attributes.get("perm") == [0, 3, 1, 2]:
            self._axes, dims = "NHWC", (dims[2], *dims[:2])
        self.colours, *own = dims
        self.colours = self.colours or 3
        self.size = pair(self._wanted or tuple(n or _SIZE for n in own))
        self._shape = (*self.size, self.colours)

    def _transpose(self, node: graph.Node) -> None:
        perm = node.attributes.get("perm", [])
        if sorted(perm) != list(range(len(self._axes))):
            raise BadInput(f"turns the axes by {perm}")
        axes = "".join(self._axes[i] for i in perm)
        if axes not in ("NCHW", "NHWC", "ND"):
            raise BadInput(f"turns the axes to {axes}")
        self._axes = axes

    def _conv(self, node: graph.Node) -> None:
        self._maps_first()
        weights = _weights(node, 1)
        if weights.ndim != 4:
            raise BadInput(f"has weights of {weights.ndim} axes, not 4")
        maps, _, *size = weights.shape
        if node.attributes.get("kernel_shape", size) != size:
            raise BadInput(f"has weights {weights.shape}, not of its kernel_shape")
        _no_dilations(node)
        op = Conv(
            maps,
            tuple(size),
            stride := _strides(node),
            _padding(node, self._shape, tuple(size), stride),
            node.attributes.get("group", 1),
        )
        self._filter(node, op, weights.transpose(2, 3, 1, 0), _bias(node, maps))

    def _gemm(self, node: graph.Node) -> None:
        get = node.attributes.get
        if get("transA", 0):
            raise BadInput("takes its input transposed")
        weights = _weights(node, 1) * np.float32(get("alpha", 1.0))
        weights = weights.T if get("transB", 0) else weights
        self._dense(node, weights, np.float32(get("beta", 1.0)))

    def _mat_mul(self, node: graph.Node) -> None:
        self._dense(node, _weights(node, 1), np.float32(1))

    def _dense(self, node: graph.Node, weights: np.ndarray, beta: np.float32) -> None:
        if weights.ndim != 2:
            raise BadInput(f"has weights of shape {weights.shape}, not rows by units")
        if self._axes in ("NCHW", "NHWC"):
            raise BadInput("takes maps that were not flattened")
        rows, units = weights.shape
        if rows != (entries := math.prod(self._shape)):
            shape = "x".join(map(str, self._shape))
            raise BadInput(
                f"takes {rows} entries, images of {self.size[0]}x{self.size[1]} give "
                f"{entries} ({shape})"
            )
        flattened = len(self._shape) == 3
        if self._axes == "NCHW flat":
            # ONNX flattens map by map, here it goes place by place.
            height, width, maps = self._shape
            weights = weights.reshape(maps, height, width, units)
            weights = weights.transpose(1, 2, 0, 3).reshape(rows, units)
        self._filter(node, Dense(units), weights, beta * _bias(node, units))
        self._read[-1].flattened, self._axes = flattened, "ND"

    def _filter(self, node: graph.Node, op, weights, bias) -> None:
        if isinstance(op, Conv):
            given = weights.shape[2] * op.groups
            if given != self._shape[-1] or op.maps % op.groups:
                raise BadInput(
                    f"filters {given} maps in {op.groups} groups, and gets "
                    f"{self._shape[-1]}"
                )
            self._slide(op)
        self._shape = (
            (*self._shape[:-1], op.maps) if isinstance(op, Conv) else (op.units,)
        )
        kernel = np.ascontiguousarray(weights, np.float32)
        self._read.append(_Read(op, kernel, bias, _called(node)))

    def _slide(self, op: Conv | Pool) -> None:
        rows, columns = map(geometry.slide, self._shape, op.size, op.stride, op.padding)
        if min(rows, columns) < 1:
            raise BadInput(f"does not fit in {self._shape[0]}x{self._shape[1]} places")
        self._shape = (rows, columns, self._shape[-1])
        if math.prod(self._shape) > graph.LARGEST:
            raise BadInput(f"gives maps of {rows}x{columns} places, too many")

    def _relu(self, node: graph.Node) -> None:
        layer = self._layer()
        if layer.has(Relu):
            # What is rectified, pooled and normalised is nowhere negative.
            return
        if layer.has(LRN):
            raise BadInput("rectifies after the contrast normalisation, not before")
        layer.ops.insert(1, Relu())

    def _max_pool(self, node: graph.Node) -> None:
        self._maps_first()
        layer = self._layer()
        if layer.has(Pool):
            raise BadInput("pools what was pooled already")
        _no_dilations(node)
        size = _pair_of(node.attributes.get("kernel_shape", []), "kernel_shape")
        stride = _strides(node)
        op = Pool(size, stride, _padding(node, self._shape, size, stride))
        self._slide(op)
        layer.ops.append(op)

    def _lrn(self, node: graph.Node) -> None:
        get = node.attributes.get
        if "size" not in node.attributes:
            raise BadInput("has no size")
        self._maps_first()
        # ONNX divides alpha by the number of maps.
        alpha = get("alpha", 1e-4) / max(size := get("size"), 1)
        # From here on the sum is of all maps.
        size = min(size, 2 * self._shape[-1] - 1)
        self._layer().ops.append(LRN(size, get("bias", 1.0), alpha, get("beta", 0.75)))

    def _dropout(self, node: graph.Node) -> None:
        rate, training, *_ = *node.inputs[1:], None, None
        if training is not None and np.any(training):
            raise BadInput("is in training mode")
        rate = np.asarray(node.attributes.get("ratio", 0.5) if rate is None else rate)
        if rate.size != 1 or not 0 <= (rate := float(rate.item())) < 1:
            raise BadInput("drops no share from 0 to 1")
        if self._read:
            self._read[-1].ops.append(Dropout(rate))

    def _flatten(self, node: graph.Node) -> None:
        axis = node.attributes.get("axis", 1)
        if axis not in (1, 1 - len(self._axes)):
            raise BadInput(f"flattens from axis {axis}, not 1")
        self._reshape(node)

    def _reshape(self, node: graph.Node) -> None:
        # To what shape is told by the dense layer behind it: its rows must be all
        # there is of an image.
        if self._axes in ("NCHW", "NHWC"):
            self._axes += " flat"

    def _softmax(self, node: graph.Node) -> None:
        self._layer()
        self._ended = True

    def _batch_normalization(self, node: graph.Node) -> None:
        if node.attributes.get("training_mode", 0):
            raise BadInput("is in training mode")
        gain, shift, mean, variance = (
            np.asarray(_weights(node, i), np.float64) for i in range(1, 5)
        )
        if not gain.shape == shift.shape == mean.shape == variance.shape:
            raise BadInput("has weights of several shapes")
        gain = gain / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
        self._fold(gain, shift - mean * gain)

    def _affine(self, node: graph.Node) -> None:
        """Arithmetic with one constant, or one a map."""
        first = node.inputs[0] is not None
        if first and node.op in ("Sub", "Div"):
            raise BadInput("has its constant first")
        value = self._per_map(node, _weights(node, 0 if first else 1))
        one, zero = np.ones_like(value), np.zeros_like(value)
        match node.op:
            case "Add":
                self._fold(one, value)
            case "Sub":
                self._fold(one, -value)
            case "Mul":
                self._fold(value, zero)
            case "Div":
                self._fold(1 / value, zero)

    def _per_map(self, node: graph.Node, value: np.ndarray) -> np.ndarray:
        """The node's constant, one entry a map."""
        axes, maps = self._axes, self._shape[-1]
        # Before opset 7 an axis told where a constant of fewer axes begins.
        before = node.attributes.get("axis", len(axes) - value.ndim)
        shape = (1,) * min(before, len(axes)) + value.shape
        shape += (1,) * (len(axes) - len(shape))
        wanted = tuple(maps if axis in "CD" else 1 for axis in axes)
        if value.size != 1 and shape != wanted:
            raise BadInput(
                f"does arithmetic with a constant of shape {value.shape}, not with "
                f"one entry for each of {maps} maps"
            )
        return np.broadcast_to(value.ravel().astype(np.float64), (maps,))

    def _fold(self, gain: np.ndarray, shift: np.ndarray) -> None:
        layer = self._layer()
        if not layer.bare():
            raise BadInput("does not follow a filter at once")
        if gain.shape != layer.bias.shape or shift.shape != gain.shape:
            raise BadInput(f"has {gain.shape} values for {layer.bias.shape} maps")
        layer.kernel = (layer.kernel * gain).astype(np.float32)
        layer.bias = (layer.bias * gain + shift).astype(np.float32)

    def _layer(self) -> _Read:
        if not self._read:
            raise BadInput("stands before the first filter")
        if self._axes.endswith("flat"):
            raise BadInput("stands between flattening and a dense layer")
        return self._read[-1]

    def _maps_first(self) -> None:
        if self._axes != "NCHW":
            raise BadInput(f"takes [N, C, H, W] and gets {self._axes}")


# How each operation of ONNX is read.
_STEPS = {
    "BatchNormalization": _Reader._batch_normalization,
    "Conv": _Reader._conv,
    "Dropout": _Reader._dropout,
    "Flatten": _Reader._flatten,
    "Gemm": _Reader._gemm,
    "LRN": _Reader._lrn,
    "MatMul": _Reader._mat_mul,
    "MaxPool": _Reader._max_pool,
    "Relu": _Reader._relu,
    "Reshape": _Reader._reshape,
    "Transpose": _Reader._transpose,
}
_STEPS |= dict.fromkeys(("Add", "Sub", "Mul", "Div"), _Reader._affine)
_STEPS |= dict.fromkeys(("Softmax", "LogSoftmax"), _Reader._softmax)


def _weights(node: graph.Node, place: int) -> np.ndarray:
    if len(node.inputs) <= place or node.inputs[place] is None:
        raise BadInput(f"has no weights in input {place}")
    value = node.inputs[place]
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise BadInput(f"has weights of {value.dtype.name}, not of a float type")
    return value


def _bias(node: graph.Node, maps: int) -> np.ndarray:
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return np.zeros(maps, np.float32)
    bias = _weights(node, 2)
    if bias.size not in (1, maps):
        raise BadInput(f"has a bias of shape {bias.shape} for {maps} maps")
    return np.broadcast_to(bias.ravel(), (maps,)).astype(np.float32)


def _pair_of(numbers: Sequence[int], what: str) -> Pair:
    if len(numbers) != 2:
        raise BadInput(f"has {what} {numbers}, not one number for rows and columns")
    return tuple(numbers)


def _strides(node: graph.Node) -> Pair:
    strides = _pair_of(node.attributes.get("strides", [1, 1]), "strides")
    if min(strides) < 1:
        raise BadInput(f"has strides {strides}")
    return strides


def _no_dilations(node: graph.Node) -> None:
    if any(n != 1 for n in node.attributes.get("dilations", [])):
        raise BadInput(f"has dilations {node.attributes['dilations']}")


def _padding(node: graph.Node, shape, size: Pair, stride: Pair) -> Padding:
    """Explicit padding for maps of this shape."""
    pads = node.attributes.get("pads", [0, 0, 0, 0])
    automatic = node.attributes.get("auto_pad", b"NOTSET")
    if len(pads) != 4:
        raise BadInput(f"has pads {pads}, not four")
    padding = []
    for axis in (0, 1):
        length, window, step = shape[axis], size[axis], stride[axis]
        before, after = pads[axis], pads[axis + 2]
        match automatic:
            case b"SAME_UPPER" | b"SAME_LOWER":
                windows = -(-length // step)
                total = max((windows - 1) * step + window - length, 0)
                before, after = total // 2, total - total // 2
                if automatic == b"SAME_LOWER":
                    before, after = after, before
            case b"VALID":
                before = after = 0
            case b"NOTSET" | b"":
                pass
            case _:
                raise BadInput(f"has auto_pad {automatic!r}")
        if node.attributes.get("ceil_mode", 0):
            over = (length + before + after - window) % step
            begins = length + before + after - window - over + step
            # A window that would begin beyond the maps and their padding is none.
            if over and begins < length + before:
                after += step - over
        padding.append((before, after))
    return tuple(padding)


# What exporters put behind a layer's name to call its weights.
_WEIGHT = re.compile(
    r"[./_](weight|kernel|w|W)(_\d+)?(:0)?$"
    r"|/[^/]+/(ReadVariableOp|Read)(_\d+)?(:0)?$"
)


def _called(node: graph.Node) -> list[str]:
    """Names that a filter's layer may have: its weights', its node's."""
    weights, found = node.names[1], []
    if _WEIGHT.search(weights):
        found.append(_WEIGHT.sub("", weights).split("/")[-1])
    *path, leaf = [part for part in node.name.split("/") if part] or [node.op]
    found.append(path[-1] if path else leaf)
    # Fit for files, flags and parameters.
    return [re.sub(r"[^\w.-]", "_", name) for name in found if name]


def _names(read: list[_Read]) -> list[str]:
    """The paper's names where the net is like the paper's, else the graph's."""
    kinds = "".join("c" if isinstance(layer.ops[0], Conv) else "d" for layer in read)
    if kinds == "cccccddd":
        return [f"layer{i}" for i in range(1, 9)]
    by_weights = [layer.names[0] for layer in read]
    names = by_weights if _distinct(by_weights) else [each.names[-1] for each in read]
    # Keras numbers a layer's name once more when it exports the net.
    shorter = [re.sub(r"(?<!^)_\d+$", "", name) for name in names]
    if all(a != b for a, b in zip(names, shorter, strict=True)) and _distinct(shorter):
        names = shorter
    if not _distinct(names):
        names = [f"{name}-{i}" for i, name in enumerate(names, 1)]
    # Flax takes parameters of that name for the whole.
    return ["params_" if name == "params" else name for name in names]


def _distinct(names: list[str]) -> bool:
    return len(set(names)) == len(names)
