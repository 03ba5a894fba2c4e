"""Single nodes as operations of a Spec, with their weights in this package's order."""

from typing import NamedTuple

import numpy as np

from zf_jax.errors import BadInput
from zf_jax.layers import LRN, Conv, Dense, Dropout, Pool
from zf_jax.pretrained import attributes
from zf_jax.pretrained.graph import Node


class Filter(NamedTuple):
    """A convolution or a dense layer.

    Attributes:
      op: what it does.
      kernel: [h, w, channels in, channels out], or [rows, units].
      bias: [channels out] or [units].
    """

    op: Conv | Dense
    kernel: np.ndarray
    bias: np.ndarray


def conv(node: Node, shape: tuple[int, ...]) -> Filter:
    """Conv on an input of this shape, (rows, columns, channels)."""
    weights = attributes.weights(node, 1)
    if weights.ndim != 4:
        raise BadInput(f"has weights of {weights.ndim} axes, not 4")
    channels, inputs, *size = weights.shape
    if node.attributes.get("kernel_shape", size) != size:
        raise BadInput(f"has weights {weights.shape}, not of its kernel_shape")
    attributes.require_no_dilations(node)
    stride = attributes.strides(node)
    padding = attributes.padding(node, shape, tuple(size), stride)
    groups = node.attributes.get("group", 1)
    op = Conv(channels, tuple(size), stride, padding, groups)
    if inputs * groups != shape[-1] or channels % groups:
        raise BadInput(
            f"filters {inputs * groups} channels in {groups} groups, and gets "
            f"{shape[-1]}"
        )
    kernel = weights.transpose(2, 3, 1, 0)
    return Filter(op, kernel, attributes.bias(node, channels))


def dense(node: Node) -> Filter:
    """Gemm or MatMul; the rows of its kernel are in ONNX's order."""
    get = node.attributes.get
    if get("transA", 0):
        raise BadInput("takes its input transposed")
    weights = attributes.weights(node, 1) * np.float32(get("alpha", 1.0))
    weights = weights.T if get("transB", 0) else weights
    if weights.ndim != 2:
        raise BadInput(f"has weights of shape {weights.shape}, not rows by units")
    units = weights.shape[1]
    bias = np.float32(get("beta", 1.0)) * attributes.bias(node, units)
    return Filter(Dense(units), weights, bias)


def rows_by_position(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The rows of a dense kernel, from channel by channel to position by position.

    ONNX flattens [C, H, W], this package [H, W, C].

    Args:
      kernel: [C * H * W, units].
      shape: (H, W, C) of what is flattened.
    """
    height, width, channels = shape
    kernel = kernel.reshape(channels, height, width, -1)
    return kernel.transpose(1, 2, 0, 3).reshape(height * width * channels, -1)


def pool(node: Node, shape: tuple[int, ...]) -> Pool:
    """MaxPool or AveragePool on an input of this shape, (rows, columns, channels)."""
    attributes.require_no_dilations(node)
    size = attributes.pair(node.attributes.get("kernel_shape", []), "kernel_shape")
    stride = attributes.strides(node)
    return Pool(size, stride, attributes.padding(node, shape, size, stride))


def is_identity(op: Pool) -> bool:
    """Whether a pool of these windows, of maxima or averages, changes nothing."""
    return op == Pool((1, 1), (1, 1), ((0, 0), (0, 0)))


def lrn(node: Node, channels: int) -> LRN:
    """LRN on an input of so many channels."""
    get = node.attributes.get
    if "size" not in node.attributes:
        raise BadInput("has no size")
    # ONNX divides alpha by the size.
    alpha = get("alpha", 1e-4) / max(size := get("size"), 1)
    # From this size on the sum is of all channels.
    size = min(size, 2 * channels - 1)
    return LRN(size, get("bias", 1.0), alpha, get("beta", 0.75))


def dropout(node: Node) -> Dropout:
    """Dropout in inference."""
    rate, training, *_ = *node.inputs[1:], None, None
    if training is not None and np.any(training):
        raise BadInput("is in training mode")
    rate = np.asarray(node.attributes.get("ratio", 0.5) if rate is None else rate)
    if rate.size != 1 or not 0 <= (rate := float(rate.item())) < 1:
        raise BadInput("drops no share from 0 to 1")
    return Dropout(rate)
