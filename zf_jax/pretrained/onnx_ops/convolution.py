"""Convolutions over [N, C, ...], of any number of axes.

They stay in that layout: XLA turns it into the one that a device is fastest with, on a
CPU at no more cost than transposing by hand.
"""

import jax
import jax.numpy as jnp
from jax import lax

from zf_jax.errors import BadInput
from zf_jax.pretrained.onnx_ops import windows
from zf_jax.pretrained.onnx_ops.table import Array, Node, operation

_AXES = "HWD"


@operation("Conv")
def conv(node: Node, x: Array, kernel: Array, bias: Array | None = None) -> jax.Array:
    """Cross-correlation with a kernel [M, C / groups, ...]; then the bias [M]."""
    slid = windows.windows(node, x.shape[2:], kernel.shape[2:])
    out = lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        slid.strides,
        slid.padding,
        rhs_dilation=slid.dilations,
        dimension_numbers=_dimension_numbers(x.ndim - 2),
        feature_group_count=node.get("group", 1),
    )
    return add_bias(out, bias)


@operation("ConvTranspose")
def conv_transpose(
    node: Node, x: Array, kernel: Array, bias: Array | None = None
) -> jax.Array:
    """The transpose of a `Conv`, kernel [C, M / groups, ...]; then the bias [M]."""
    axes, groups = x.ndim - 2, node.get("group", 1)
    strides = tuple(node.get("strides", (1,) * axes))
    dilations = tuple(node.get("dilations", (1,) * axes))
    extents = [
        (size - 1) * dilation + 1
        for size, dilation in zip(kernel.shape[2:], dilations, strict=True)
    ]
    cut = _cut_off(node, x.shape[2:], extents, strides)
    # [C, M / groups] to [M, C / groups].
    channels, own, *size = kernel.shape
    kernel = kernel.reshape(groups, channels // groups, own, *size).swapaxes(1, 2)
    kernel = kernel.reshape(groups * own, channels // groups, *size)
    out = lax.conv_general_dilated(
        x,
        jnp.flip(kernel, range(2, kernel.ndim)).astype(x.dtype),
        (1,) * axes,
        [
            (extent - 1 - before, extent - 1 - after)
            for extent, (before, after) in zip(extents, cut, strict=True)
        ],
        lhs_dilation=strides,
        rhs_dilation=dilations,
        dimension_numbers=_dimension_numbers(axes),
        feature_group_count=groups,
    )
    return add_bias(out, bias)


def _cut_off(
    node: Node, lengths: tuple[int, ...], extents: list[int], strides: tuple[int, ...]
) -> list[tuple[int, int]]:
    """How many entries of the full result go before and after, of each axis."""
    axes = len(lengths)
    auto_pad, pads = node.get("auto_pad", "NOTSET"), node.get("pads", (0,) * 2 * axes)
    extra = node.get("output_padding", (0,) * axes)
    wanted = node.get("output_shape")
    if auto_pad not in ("NOTSET", "", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise BadInput(f"has auto_pad {auto_pad!r}")
    if wanted is None and auto_pad.startswith("SAME"):
        wanted = [n * stride for n, stride in zip(lengths, strides, strict=True)]
    found = []
    for axis in range(axes):
        if wanted is None:
            found.append((pads[axis], pads[axis + axes] - extra[axis]))
            continue
        full = (lengths[axis] - 1) * strides[axis] + extents[axis] + extra[axis]
        total = full - wanted[-axes:][axis]
        small, large = total // 2, total - total // 2
        before, after = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
        found.append((before, after - extra[axis]))
    return found


def add_bias(out: Array, bias: Array | None) -> Array:
    """The bias [M] on [N, M, ...]; nothing where there is none."""
    if bias is None:
        return out
    return out + bias.astype(out.dtype).reshape(1, -1, *(1,) * (out.ndim - 2))


def _dimension_numbers(axes: int) -> tuple[str, str, str]:
    inner = _AXES[:axes]
    return f"NC{inner}", f"OI{inner}", f"NC{inner}"
