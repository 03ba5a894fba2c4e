"""Convolutions over [N, C, ...], of any number of axes."""

import jax
from jax import lax

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


def add_bias(out: Array, bias: Array | None) -> Array:
    """The bias [M] on [N, M, ...]; nothing where there is none."""
    if bias is None:
        return out
    return out + bias.astype(out.dtype).reshape(1, -1, *(1,) * (out.ndim - 2))


def _dimension_numbers(axes: int) -> tuple[str, str, str]:
    inner = _AXES[:axes]
    return f"NC{inner}", f"OI{inner}", f"NC{inner}"
