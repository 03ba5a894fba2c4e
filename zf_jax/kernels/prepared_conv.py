"""A traced convolution in two halves: its kernel, and what every call does with it."""

import math
from collections.abc import Callable, Hashable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import JaxprEqn

from zf_jax.kernels import depthwise, tuning, winograd
from zf_jax.layers import Pair

Padding = tuple[Pair, Pair]


class PreparedConv(NamedTuple):
    """A convolution whose kernel is prepared once for many calls.

    Attributes:
      key: the same for two convolutions that prepare one kernel in one way.
      prepare: the equation's kernel -> the prepared kernel.
      apply: (input, prepared kernel) -> the convolution's result.
    """

    key: Hashable
    prepare: Callable[[jax.Array], jax.Array]
    apply: Callable[[jax.Array, jax.Array], jax.Array]


def cpu_form_or_none(equation: JaxprEqn, padding: Padding | None = None):
    """A form that a CPU computes faster than XLA's own convolution.

    Args:
      equation: any operation.
      padding: rows and columns around the input, where it is not the equation's own.

    Returns:
      A PreparedConv; None for what is no convolution, or is best left to XLA.
    """
    return depthwise_or_none(equation, padding) or winograd_or_none(equation, padding)


def depthwise_or_none(equation: JaxprEqn, padding: Padding | None = None):
    """`cpu_form_or_none` of a convolution that has a group for each channel."""
    if not _is_depthwise(equation):
        return None
    params = equation.params
    lhs, rhs, _ = params["dimension_numbers"]
    pads = _pads(lhs, padding or params["padding"])

    def prepare(kernel):
        return _to_hwio(kernel, rhs)[:, :, 0]

    def apply(x, kernel):
        return depthwise.conv(
            lax.pad(x, jnp.zeros((), x.dtype), pads),
            kernel,
            axes=lhs[2:],
            channel_axis=lhs[1],
            strides=params["window_strides"],
            dilation=params["rhs_dilation"],
        )

    return PreparedConv(("depthwise", rhs), prepare, apply)


def winograd_or_none(equation: JaxprEqn, padding: Padding | None = None):
    """`cpu_form_or_none` of a 3 x 3 convolution that slides entry by entry."""
    if not _is_plain(equation):
        return None
    lhs, rhs, out = equation.params["dimension_numbers"]
    padding = padding or equation.params["padding"]
    x = equation.invars[0].aval.shape
    if not _is_profitable(x[lhs[1]], [x[axis] for axis in lhs[2:]], padding):
        return None
    pads = _pads((0, 3, 1, 2), padding)
    # Where batch, rows, columns and channels stand among the result's axes.
    order = [(out[0], *out[2:], out[1]).index(axis) for axis in range(4)]

    def prepare(kernel):
        return winograd.transform_kernel(_to_hwio(kernel, rhs))

    def apply(x, kernel):
        x = lax.transpose(x, (lhs[0], *lhs[2:], lhs[1]))
        x = lax.pad(x, jnp.zeros((), x.dtype), pads)
        return lax.transpose(winograd.conv(x, kernel), order)

    return PreparedConv(("winograd", rhs), prepare, apply)


def _is_plain(equation: JaxprEqn) -> bool:
    """Whether it is a 3 x 3 convolution in float32 that slides entry by entry."""
    params = equation.params
    if equation.primitive.name != "conv_general_dilated":
        return False
    kernel = equation.invars[1].aval.shape
    size = tuple(kernel[axis] for axis in params["dimension_numbers"].rhs_spec[2:])
    return (
        size == (3, 3)
        and {*params["window_strides"]} == {1}
        and {*params["lhs_dilation"], *params["rhs_dilation"]} == {1}
        and params["feature_group_count"] == params["batch_group_count"] == 1
        and {v.aval.dtype for v in (*equation.invars, *equation.outvars)}
        == {jnp.dtype(jnp.float32)}
    )


def _is_profitable(channels: int, size, padding: Padding) -> bool:
    result = [
        max(0, n + before + after - 2)
        for n, (before, after) in zip(size, padding, strict=True)
    ]
    if channels < tuning.FEWEST_CHANNELS:
        return False
    return winograd.multiply_adds(result) < 9 * result[0] * result[1]


def _is_depthwise(equation: JaxprEqn) -> bool:
    """Whether it filters each channel of a map on its own, in float32."""
    if equation.primitive.name != "conv_general_dilated":
        return False
    params, (x, kernel) = equation.params, (v.aval for v in equation.invars)
    lhs, rhs, out = params["dimension_numbers"]
    channels = x.shape[lhs[1]]
    return (
        len(lhs) == 4
        and lhs == out
        and params["feature_group_count"] == channels == kernel.shape[rhs[0]]
        and params["batch_group_count"] == 1
        and {*params["lhs_dilation"]} == {1}
        and math.prod(kernel.shape[axis] for axis in rhs[2:]) <= tuning.MOST_SHIFTS
        and x.dtype == kernel.dtype == equation.outvars[0].aval.dtype == jnp.float32
    )


def _pads(lhs, padding: Padding) -> list[tuple[int, int, int]]:
    """`padding` as `lax.pad` takes it, for an input of a layout."""
    pads = [(0, 0, 0)] * len(lhs)
    for axis, each in zip(lhs[2:], padding, strict=True):
        pads[axis] = (*each, 0)
    return pads


def _to_hwio(kernel: jax.Array, rhs_spec) -> jax.Array:
    """The kernel, [rows, columns, channels in, channels out]."""
    channels_out, channels_in, *spatial = rhs_spec
    return lax.transpose(kernel, (*spatial, channels_in, channels_out))
