"""The nodes of a chain, one after the other, as layers."""

import math

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
    Pair,
    Pool,
    Relu,
    pair,
)
from zf_jax.pretrained import arithmetic, attributes, names, protobuf
from zf_jax.pretrained.arithmetic import Affine
from zf_jax.pretrained.graph import Node

# A Cast to one of these leaves the image as it is; before opset 6 they are texts.
_FLOATS = {
    to
    for name in ("FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16")
    for to in (TensorProto.DataType.Value(name), name.encode())
}
_ACTIVATIONS = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}


class ReadLayer:
    """A layer while its nodes are read.

    Attributes:
      ops: the filter and what follows it.
      kernel: in the order of this package, float32.
      bias: [channels] float32.
      candidates: names that it may get, the best first.
      name: that it got.
      flattened: whether the images are flattened before the filter.
    """

    def __init__(self, op: Conv | Dense, kernel, bias, candidates: list[str]):
        self.ops: list[Op] = [op]
        self.kernel, self.bias = kernel, bias
        self.candidates, self.name = candidates, ""
        self.flattened = False

    def as_layer(self) -> Layer:
        return Layer(self.name, (Flatten(),) * self.flattened + tuple(self.ops))

    def has(self, op: type) -> bool:
        return any(isinstance(each, op) for each in self.ops)


class Reader:
    """Turns the nodes of a chain, in order, into layers.

    Attributes:
      size: rows and columns of the images.
      channels: of the images.
      preprocessing: what the graph computes before its first filter.
      activation: "softmax" or "sigmoid", where the graph ends in one.
    """

    def __init__(
        self,
        image_shape: tuple[int | None, ...],
        *,
        size: int | Pair | None,
        default_size: int | Pair,
    ):
        """Begins at the image.

        Args:
          image_shape: as `Graph.shape`.
          size: rows and columns of the images; None for those of the graph.
          default_size: rows and columns where the graph leaves them open.
        """
        self._image_shape, self._default_size = image_shape, pair(default_size)
        self._wanted_size = size
        self._layers: list[ReadLayer] = []
        # Arithmetic on the image, until a node tells the order of its axes.
        self._pending: list[Node] = []
        # Rows, columns and channels, or entries, of an image's values at this point.
        self._shape: tuple[int, ...] | None = None
        # Their axes as the graph has them, "ND" once they are flat.
        self._axes = "NCHW"
        self.size, self.channels = self._default_size, 3
        self.preprocessing = Affine.identity(self.channels)
        self.activation: str | None = None

    @property
    def layers(self) -> list[ReadLayer]:
        """What was read so far, by its final names."""
        chosen = names.choose(
            [layer.ops[0] for layer in self._layers],
            [layer.candidates for layer in self._layers],
        )
        for layer, name in zip(self._layers, chosen, strict=True):
            layer.name = name
        return self._layers

    def add(self, node: Node) -> None:
        """Reads the next node.

        Raises:
          BadInput: it does not fit a sequence of layers.
        """
        to_float = node.op == "Cast" and node.attributes.get("to") in _FLOATS
        if node.op == "Identity" or to_float:
            return
        if self._shape is None and node.op in arithmetic.OPS:
            self._pending.append(node)
            return
        if self._shape is None:
            self._begin(node)
        self._read(node)

    def _read(self, node: Node) -> None:
        try:
            if self.activation:
                raise BadInput(f"stands behind the {self.activation}")
            if node.op not in _METHODS:
                raise BadInput("is nothing that a layer here can be")
            _METHODS[node.op](self, node)
        except BadInput as reason:
            raise BadInput(f"node {node.name!r} ({node.op}) {reason}") from None

    def _begin(self, node: Node) -> None:
        """Fixes the image's shape, which the first node beside arithmetic tells."""
        shape = self._image_shape
        if node.op == "Transpose" and node.attributes.get("perm") == [0, 3, 1, 2]:
            self._axes, shape = "NHWC", (shape[2], *shape[:2])
        channels, *own = shape
        self.channels = channels or 3
        if self._wanted_size is None:
            open_size = self._default_size
            self.size = tuple(n or m for n, m in zip(own, open_size, strict=True))
        else:
            self.size = pair(self._wanted_size)
        self._shape = (*self.size, self.channels)
        self.preprocessing = Affine.identity(self.channels)
        for each in self._pending:
            self._read(each)

    def _transpose(self, node: Node) -> None:
        perm = node.attributes.get("perm", [])
        if sorted(perm) != list(range(len(self._axes))):
            raise BadInput(f"turns the axes by {perm}")
        axes = "".join(self._axes[i] for i in perm)
        if axes not in ("NCHW", "NHWC", "ND"):
            raise BadInput(f"turns the axes to {axes}")
        self._axes = axes

    def _conv(self, node: Node) -> None:
        self._require_channels_first()
        weights = attributes.weights(node, 1)
        if weights.ndim != 4:
            raise BadInput(f"has weights of {weights.ndim} axes, not 4")
        channels, inputs, *size = weights.shape
        if node.attributes.get("kernel_shape", size) != size:
            raise BadInput(f"has weights {weights.shape}, not of its kernel_shape")
        attributes.require_no_dilations(node)
        stride = attributes.strides(node)
        padding = attributes.padding(node, self._shape, tuple(size), stride)
        groups = node.attributes.get("group", 1)
        op = Conv(channels, tuple(size), stride, padding, groups)
        if inputs * groups != self._shape[-1] or channels % groups:
            raise BadInput(
                f"filters {inputs * groups} channels in {groups} groups, and gets "
                f"{self._shape[-1]}"
            )
        self._slide(op)
        self._shape = (*self._shape[:-1], channels)
        bias = attributes.bias(node, channels)
        self._append(node, op, weights.transpose(2, 3, 1, 0), bias)

    def _gemm(self, node: Node) -> None:
        get = node.attributes.get
        if get("transA", 0):
            raise BadInput("takes its input transposed")
        weights = attributes.weights(node, 1) * np.float32(get("alpha", 1.0))
        weights = weights.T if get("transB", 0) else weights
        self._dense(node, weights, np.float32(get("beta", 1.0)))

    def _mat_mul(self, node: Node) -> None:
        self._dense(node, attributes.weights(node, 1), np.float32(1))

    def _dense(self, node: Node, weights: np.ndarray, beta: np.float32) -> None:
        if weights.ndim != 2:
            raise BadInput(f"has weights of shape {weights.shape}, not rows by units")
        if self._axes in ("NCHW", "NHWC"):
            raise BadInput("takes channels that were not flattened")
        rows, units = weights.shape
        if rows != (entries := math.prod(self._shape)):
            shape = "x".join(map(str, self._shape))
            raise BadInput(
                f"takes {rows} entries, images of {self.size[0]}x{self.size[1]} give "
                f"{entries} ({shape})" + "; give the size" * self._open_size
            )
        flattened = len(self._shape) == 3
        if self._axes == "NCHW flat":
            # ONNX flattens channel by channel, this package position by position.
            height, width, channels = self._shape
            weights = weights.reshape(channels, height, width, units)
            weights = weights.transpose(1, 2, 0, 3).reshape(rows, units)
        self._shape, self._axes = (units,), "ND"
        bias = beta * attributes.bias(node, units)
        self._append(node, Dense(units), weights, bias).flattened = flattened

    @property
    def _open_size(self) -> bool:
        rows_and_columns = [n for n in self._image_shape if n is None]
        return self._wanted_size is None and bool(rows_and_columns)

    def _append(self, node: Node, op, weights, bias) -> ReadLayer:
        kernel = np.ascontiguousarray(weights, np.float32)
        self._layers.append(ReadLayer(op, kernel, bias, names.candidates(node)))
        return self._layers[-1]

    def _slide(self, op: Conv | Pool) -> None:
        rows, columns = map(geometry.slide, self._shape, op.size, op.stride, op.padding)
        if min(rows, columns) < 1:
            height, width, _ = self._shape
            raise BadInput(f"does not fit in {height}x{width} positions")
        self._shape = (rows, columns, self._shape[-1])
        if math.prod(self._shape) > protobuf.MAX_ENTRIES:
            raise BadInput(f"gives {rows}x{columns} positions, too many")

    def _relu(self, node: Node) -> None:
        layer = self._layer()
        if layer.has(Relu):
            # Pooling and LRN keep what was rectified from being negative.
            return
        if layer.has(LRN):
            raise BadInput("rectifies after its LRN, not before")
        # A pool before its Relu gives the same after it.
        layer.ops.insert(1, Relu())

    def _max_pool(self, node: Node) -> None:
        self._require_channels_first()
        attributes.require_no_dilations(node)
        op = self._window(node)
        if _changes_nothing(op):
            return
        layer = self._layer()
        if layer.has(Pool):
            raise BadInput("pools what was pooled already")
        self._slide(op)
        layer.ops.append(op)

    def _average_pool(self, node: Node) -> None:
        """Adaptive pools that torchvision exports at the size they were made for."""
        if self._axes != "NCHW" or not _changes_nothing(self._window(node)):
            raise BadInput("is nothing that a layer here can be")

    def _global_average_pool(self, node: Node) -> None:
        if self._axes != "NCHW" or self._shape[:2] != (1, 1):
            raise BadInput("is nothing that a layer here can be")

    def _window(self, node: Node) -> Pool:
        size = attributes.pair(node.attributes.get("kernel_shape", []), "kernel_shape")
        stride = attributes.strides(node)
        return Pool(size, stride, attributes.padding(node, self._shape, size, stride))

    def _lrn(self, node: Node) -> None:
        get = node.attributes.get
        if "size" not in node.attributes:
            raise BadInput("has no size")
        self._require_channels_first()
        # ONNX divides alpha by the number of channels summed.
        alpha = get("alpha", 1e-4) / max(size := get("size"), 1)
        # A wider window sums all channels, too.
        size = min(size, 2 * self._shape[-1] - 1)
        self._layer().ops.append(LRN(size, get("bias", 1.0), alpha, get("beta", 0.75)))

    def _dropout(self, node: Node) -> None:
        rate, training, *_ = *node.inputs[1:], None, None
        if training is not None and np.any(training):
            raise BadInput("is in training mode")
        rate = np.asarray(node.attributes.get("ratio", 0.5) if rate is None else rate)
        if rate.size != 1 or not 0 <= (rate := float(rate.item())) < 1:
            raise BadInput("drops no share from 0 to 1")
        if self._layers:
            self._layers[-1].ops.append(Dropout(rate))

    def _flatten(self, node: Node) -> None:
        axis = node.attributes.get("axis", 1)
        if axis not in (1, 1 - len(self._axes)):
            raise BadInput(f"flattens from axis {axis}, not 1")
        self._reshape(node)

    def _reshape(self, node: Node) -> None:
        # The dense layer behind it tells to what shape: its rows must be all entries
        # of an image.
        if self._axes in ("NCHW", "NHWC"):
            self._axes += " flat"

    def _final_activation(self, node: Node) -> None:
        self._layer()
        self.activation = _ACTIVATIONS[node.op]

    def _affine(self, node: Node) -> None:
        """Folds arithmetic into the filter before it, or into the preprocessing."""
        channels = self._shape[-1]
        if not self._layers:
            found = arithmetic.affine(node, self._axes, channels)
            self.preprocessing = found.after(self.preprocessing)
            return
        layer = self._layer()
        found = arithmetic.affine(node, self._axes, channels)
        if len(layer.ops) > 1:
            raise BadInput("does not follow a filter at once")
        layer.kernel = (layer.kernel * found.gain).astype(np.float32)
        layer.bias = (layer.bias * found.gain + found.shift).astype(np.float32)

    def _layer(self) -> ReadLayer:
        if not self._layers:
            raise BadInput("stands before the first filter")
        if self._axes.endswith("flat"):
            raise BadInput("stands between flattening and a dense layer")
        return self._layers[-1]

    def _require_channels_first(self) -> None:
        if self._axes != "NCHW":
            raise BadInput(f"takes [N, C, H, W] and gets {self._axes}")


# How each operation of ONNX is read.
_METHODS = {
    "AveragePool": Reader._average_pool,
    "Conv": Reader._conv,
    "Dropout": Reader._dropout,
    "Flatten": Reader._flatten,
    "Gemm": Reader._gemm,
    "GlobalAveragePool": Reader._global_average_pool,
    "LRN": Reader._lrn,
    "MatMul": Reader._mat_mul,
    "MaxPool": Reader._max_pool,
    "Relu": Reader._relu,
    "Reshape": Reader._reshape,
    "Transpose": Reader._transpose,
}
_METHODS |= dict.fromkeys(arithmetic.OPS, Reader._affine)
_METHODS |= dict.fromkeys(_ACTIVATIONS, Reader._final_activation)


def _changes_nothing(op: Pool) -> bool:
    """Whether a pool of such windows, of maxima or averages, is the identity."""
    return op == Pool((1, 1), (1, 1), ((0, 0), (0, 0)))
