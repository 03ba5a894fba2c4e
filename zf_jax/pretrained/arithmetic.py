"""Nodes that multiply and add one number a channel, as (gain, shift).

Batch normalisation in inference is one of them.
"""

from typing import NamedTuple

import numpy as np

from zf_jax.errors import BadInput
from zf_jax.pretrained import attributes
from zf_jax.pretrained.graph import Node

OPS = {"Add", "Sub", "Mul", "Div", "BatchNormalization"}


class Affine(NamedTuple):
    """x * gain + shift, both [channels] float64."""

    gain: np.ndarray
    shift: np.ndarray

    def after(self, first: "Affine") -> "Affine":
        """The composition: `first`, then this."""
        return Affine(self.gain * first.gain, self.gain * first.shift + self.shift)

    @classmethod
    def identity(cls, channels: int) -> "Affine":
        return cls(np.ones(channels), np.zeros(channels))


def affine(node: Node, axes: str, channels: int) -> Affine:
    """What the node computes for each channel.

    Args:
      node: its op is one of `OPS`.
      axes: of the node's input: NCHW, NHWC or ND.
      channels: of the node's input.

    Raises:
      BadInput: it computes something else, such as one number a position.
    """
    if node.op == "BatchNormalization":
        return _batch_normalization(node, axes, channels)
    constant_first = node.inputs[0] is not None
    value = _per_channel(node, axes, channels, 0 if constant_first else 1)
    one, zero = np.ones_like(value), np.zeros_like(value)
    match node.op:
        case "Add":
            return Affine(one, value)
        case "Sub":
            return Affine(-one, value) if constant_first else Affine(one, -value)
        case "Mul":
            return Affine(value, zero)
        case "Div" if not constant_first:
            return Affine(1 / value, zero)
    raise BadInput("divides a constant by the values")


def _per_channel(node: Node, axes: str, channels: int, index: int) -> np.ndarray:
    """The node's constant, [channels] float64."""
    value = attributes.weights(node, index)
    # Before opset 7 an axis told where a constant of fewer axes begins.
    before = node.attributes.get("axis", len(axes) - value.ndim)
    shape = (1,) * min(before, len(axes)) + value.shape
    shape += (1,) * (len(axes) - len(shape))
    wanted = tuple(channels if axis in "CD" else 1 for axis in axes)
    if value.size != 1 and shape != wanted:
        raise BadInput(
            f"does arithmetic with a constant of shape {value.shape}, not with one "
            f"entry for each of {channels} channels"
        )
    return np.broadcast_to(value.ravel().astype(np.float64), (channels,))


def _batch_normalization(node: Node, axes: str, channels: int) -> Affine:
    if node.attributes.get("training_mode", 0):
        raise BadInput("is in training mode")
    if axes[1] not in "CD":
        raise BadInput(f"takes [N, C, H, W] and gets {axes}")
    gain, shift, mean, variance = (
        np.asarray(attributes.weights(node, i), np.float64) for i in range(1, 5)
    )
    if not gain.shape == shift.shape == mean.shape == variance.shape:
        raise BadInput("has weights of several shapes")
    if gain.shape != (channels,):
        raise BadInput(f"has {gain.shape} values for {channels} channels")
    gain = gain / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    return Affine(gain, shift - mean * gain)
