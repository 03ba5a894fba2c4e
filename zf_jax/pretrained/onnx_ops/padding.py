"""Padding and cropping of any axis."""

import numpy as np
from jax import lax

from zf_jax.errors import BadInput
from zf_jax.pretrained.onnx_ops.positions import take
from zf_jax.pretrained.onnx_ops.table import (
    Array,
    Node,
    integers,
    numpy_of,
    operation,
)

_MODES = ("constant", "reflect", "edge", "wrap")


@operation("Pad", static=(1, 3))
def pad(
    node: Node,
    x: Array,
    pads: Array | None = None,
    value: Array | None = None,
    axes: Array | None = None,
) -> Array:
    """More entries before and after an axis; fewer where a number is negative.

    Before opset 11, `pads` and `value` were attributes.

    Raises:
      BadInput: the mode is none of ONNX's.
    """
    if pads is None:
        pads, value = node.get("pads"), node.get("value", 0.0)
    mode = node.get("mode", "constant")
    if mode not in _MODES:
        raise BadInput(f"has mode {mode!r}")
    axes = range(x.ndim) if axes is None else integers(axes)
    pads = np.reshape(integers(pads), (2, -1))
    widths = [(0, 0)] * x.ndim
    for axis, before, after in zip(axes, *pads.tolist(), strict=True):
        widths[axis] = (before, after)
    if mode == "constant":
        return _constant(x, widths, 0 if value is None else value)
    for axis, (before, after) in enumerate(widths):
        x = _extend(x, axis, before, after, mode)
    return x


def _constant(x: Array, widths: list[tuple[int, int]], value: Array | float) -> Array:
    value = np.asarray(value) if isinstance(value, int | float) else value
    value = value.astype(x.dtype)
    if numpy_of(x, value) is np and min(map(min, widths)) >= 0:
        return np.pad(x, widths, constant_values=value)
    padding = [(before, after, 0) for before, after in widths]
    return lax.pad(x, value.reshape(()), padding)


def _extend(x: Array, axis: int, before: int, after: int, mode: str) -> Array:
    """Pads an axis with its own entries: a gather of known positions."""
    if before == after == 0:
        return x
    cut = slice(max(-before, 0), x.shape[axis] - max(-after, 0))
    own = np.arange(x.shape[axis])[cut]
    return take(x, np.pad(own, (max(before, 0), max(after, 0)), mode), axis)
