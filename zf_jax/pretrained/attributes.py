"""A node's weights, strides and padding, checked."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from zf_jax.errors import BadInput
from zf_jax.layers import Padding, Pair
from zf_jax.pretrained.graph import Node


def weights(node: Node, index: int) -> np.ndarray:
    """The constant of a float type that is the node's input number `index`.

    Raises:
      BadInput: there is none.
    """
    if len(node.inputs) <= index or node.inputs[index] is None:
        raise BadInput(f"has no weights in input {index}")
    value = node.inputs[index]
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise BadInput(f"has weights of {value.dtype.name}, not of a float type")
    return value


def bias(node: Node, channels: int) -> np.ndarray:
    """[channels] float32, zero where the node has no bias.

    Raises:
      BadInput: it has one of another shape.
    """
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return np.zeros(channels, np.float32)
    value = weights(node, 2)
    if value.size not in (1, channels):
        raise BadInput(f"has a bias of shape {value.shape} for {channels} channels")
    return np.broadcast_to(value.ravel(), (channels,)).astype(np.float32)


def pair(numbers: Sequence[int], name: str) -> Pair:
    """(rows, columns) of the attribute called `name`.

    Raises:
      BadInput: it is not two numbers.
    """
    if len(numbers) != 2:
        raise BadInput(f"has {name} {numbers}, not one number for rows and columns")
    return tuple(numbers)


def strides(node: Node) -> Pair:
    """The node's strides, (1, 1) by default.

    Raises:
      BadInput: they are not two positive numbers.
    """
    found = pair(node.attributes.get("strides", [1, 1]), "strides")
    if min(found) < 1:
        raise BadInput(f"has strides {found}")
    return found


def require_no_dilations(node: Node) -> None:
    """Raises BadInput where the node's windows have holes."""
    if any(n != 1 for n in node.attributes.get("dilations", [])):
        raise BadInput(f"has dilations {node.attributes['dilations']}")


def padding(node: Node, shape: Sequence[int], size: Pair, stride: Pair) -> Padding:
    """Explicit padding for an input of this shape, (rows, columns, ...).

    Raises:
      BadInput: the attributes are not those of ONNX.
    """
    pads = node.attributes.get("pads", [0, 0, 0, 0])
    auto_pad = node.attributes.get("auto_pad", b"NOTSET")
    if len(pads) != 4:
        raise BadInput(f"has pads {pads}, not four")
    found = []
    for axis in (0, 1):
        length, window, step = shape[axis], size[axis], stride[axis]
        before, after = pads[axis], pads[axis + 2]
        match auto_pad:
            case b"SAME_UPPER" | b"SAME_LOWER":
                windows = -(-length // step)
                total = max((windows - 1) * step + window - length, 0)
                before, after = total // 2, total - total // 2
                if auto_pad == b"SAME_LOWER":
                    before, after = after, before
            case b"VALID":
                before = after = 0
            case b"NOTSET" | b"":
                pass
            case _:
                raise BadInput(f"has auto_pad {auto_pad!r}")
        if node.attributes.get("ceil_mode", 0):
            after += _ceil_padding(length, window, step, before, after)
        found.append((before, after))
    return tuple(found)


def _ceil_padding(length: int, window: int, step: int, before: int, after: int) -> int:
    """What `ceil_mode` adds after the end, so that a last, partial window counts."""
    rest = (length + before + after - window) % step
    begin = length + before + after - window - rest + step
    # A window that would begin beyond the input and its padding is none.
    return step - rest if rest and begin < length + before else 0
