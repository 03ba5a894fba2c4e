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
    Flatten,
    Layer,
    Op,
    Pair,
    Pool,
    Relu,
    pair,
)
from zf_jax.pretrained import arithmetic, names, operations, protobuf
from zf_jax.pretrained.arithmetic import Affine
from zf_jax.pretrained.graph import Node

# A Cast to one of these leaves the image as it is; before opset 6 they are texts.
_FLOATS = {
    to
    for name in ("FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16")
    for to in (TensorProto.DataType.Value(name), name.encode())
}
# Of an image. A damaged file can ask for any number.
_MAX_CHANNELS = 2**12
_NO_LAYER = "is nothing that a layer here can be"
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
        self._size_is_open = False
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
                raise BadInput(_NO_LAYER)
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
        if self.channels > _MAX_CHANNELS:
            raise BadInput(f"images of {self.channels} channels, too many")
        if self._wanted_size is None:
            open_size = self._default_size
            self.size = tuple(n or m for n, m in zip(own, open_size, strict=True))
        else:
            self.size = pair(self._wanted_size)
        self._shape = (*self.size, self.channels)
        self.preprocessing = Affine.identity(self.channels)
        self._size_is_open = self._wanted_size is None and None in own
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
        found = operations.conv(node, self._shape)
        self._slide(found.op)
        self._shape = (*self._shape[:-1], found.op.maps)
        self._append(node, found)

    def _dense(self, node: Node) -> None:
        found = operations.dense(node)
        if self._axes in ("NCHW", "NHWC"):
            raise BadInput("takes channels that were not flattened")
        rows, units = found.kernel.shape
        if rows != (entries := math.prod(self._shape)):
            shape = "x".join(map(str, self._shape))
            raise BadInput(
                f"takes {rows} entries, images of {self.size[0]}x{self.size[1]} give "
                f"{entries} ({shape})" + "; give their size" * self._size_is_open
            )
        flattened = len(self._shape) == 3
        if self._axes == "NCHW flat":
            kernel = operations.rows_by_position(found.kernel, self._shape)
            found = found._replace(kernel=kernel)
        self._shape, self._axes = (units,), "ND"
        self._append(node, found).flattened = flattened

    def _append(self, node: Node, found: operations.Filter) -> ReadLayer:
        kernel = np.ascontiguousarray(found.kernel, np.float32)
        layer = ReadLayer(found.op, kernel, found.bias, names.candidates(node))
        self._layers.append(layer)
        return layer

    def _slide(self, op: Conv | Pool) -> None:
        rows, columns = map(
            geometry.output_length, self._shape, op.size, op.stride, op.padding
        )
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
        op = operations.pool(node, self._shape)
        if operations.is_identity(op):
            return
        layer = self._layer()
        if layer.has(Pool):
            raise BadInput("pools what was pooled already")
        self._slide(op)
        layer.ops.append(op)

    def _average_pool(self, node: Node) -> None:
        # torchvision's adaptive pools are identities at the size of its own nets.
        self._require_channels_first()
        if not operations.is_identity(operations.pool(node, self._shape)):
            raise BadInput(_NO_LAYER)

    def _global_average_pool(self, node: Node) -> None:
        self._require_channels_first()
        if self._shape[:2] != (1, 1):
            raise BadInput(_NO_LAYER)

    def _lrn(self, node: Node) -> None:
        self._require_channels_first()
        self._layer().ops.append(operations.lrn(node, self._shape[-1]))

    def _dropout(self, node: Node) -> None:
        op = operations.dropout(node)
        if self._layers:
            self._layers[-1].ops.append(op)

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
    "Gemm": Reader._dense,
    "GlobalAveragePool": Reader._global_average_pool,
    "LRN": Reader._lrn,
    "MatMul": Reader._dense,
    "MaxPool": Reader._max_pool,
    "Relu": Reader._relu,
    "Reshape": Reader._reshape,
    "Transpose": Reader._transpose,
}
_METHODS |= dict.fromkeys(arithmetic.OPS, Reader._affine)
_METHODS |= dict.fromkeys(_ACTIVATIONS, Reader._final_activation)
