"""Convolutions of a traced function, their kernels made ready for many calls."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from zf_jax.ops import products, spreading
from zf_jax.transforms import jaxpr

# Below this many input maps a product has too little to add up to be worth its patches.
_FEWEST_MAPS = 16
# Where a stride spread maps out, XLA's own convolution is as fast as patches for this
# many maps of the result, though from few places it takes up to thirty times as long.
# What many entries are spread over takes long to compile.
_FEWEST_RESULTS, _FEW_PLACES, _MOST_ENTRIES = 16, 16, 128


class Filtering(NamedTuple):
    """A convolution in two halves.

    Attributes:
      key: of the prepared kernel, the same for convolutions that share it.
      prepare: values of the clean image -> the kernel, made ready.
      apply: (input, kernel) -> the convolution's result.
    """

    key: tuple
    prepare: Callable[[dict], Any]
    apply: Callable[[jax.Array, Any], jax.Array]


def as_products(equation, padding=None) -> Filtering | None:
    """A convolution as products; None for what is none, or better left alone.

    Args:
      equation: the operation.
      padding: if other than its own.
    """
    params = equation.params
    if (
        equation.primitive.name != "conv_general_dilated"
        or params["feature_group_count"] != 1
        or params["batch_group_count"] != 1
        or set(params["rhs_dilation"]) != {1}
        or len(params["window_strides"]) != 2
        or equation.outvars[0].aval.dtype != jnp.float32
        or equation.invars[0].aval.dtype != jnp.float32
        or equation.invars[1].aval.dtype != jnp.float32
    ):
        return None
    lhs, rhs, out = params["dimension_numbers"]
    stride, dilation = params["window_strides"], params["lhs_dilation"]
    padding = padding or params["padding"]
    if equation.invars[0].aval.shape[lhs[1]] < _FEWEST_MAPS:
        return None
    form = _form(equation, padding)
    if form is None:
        return None
    pads = [(0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0)]

    def prepare(clean: dict):
        kernel = _in_order(equation, clean)
        if form == "sliding":
            return products.prepare(kernel, stride)
        return spreading.prepare(kernel)

    def filter_maps(x, kernel):
        if form == "sliding":
            x = lax.pad(x, jnp.zeros((), x.dtype), pads)
            return products.filter_maps(x, kernel, stride)
        return spreading.filter_maps(x, kernel, dilation, padding)

    def apply(x, kernel):
        y = filter_maps(lax.transpose(x, (lhs[0], *lhs[2:], lhs[1])), kernel)
        # Where rows, columns and maps stand among the result's axes.
        order = [(out[0], *out[2:], out[1]).index(axis) for axis in range(4)]
        return lax.transpose(y, order)

    key = equation.invars[1], rhs, stride if form == "sliding" else None
    return Filtering(key, prepare, apply)


def _form(equation, padding) -> str | None:
    """The fastest form of products, or None where XLA's own convolution is."""
    params = equation.params
    lhs, rhs, _ = params["dimension_numbers"]
    x, kernel = (each.aval.shape for each in equation.invars)
    places, size = ([s[axis] for axis in of[2:]] for s, of in ((x, lhs), (kernel, rhs)))
    is_spread = set(params["lhs_dilation"]) != {1}
    if set(params["window_strides"]) != {1}:
        return None if is_spread else "sliding"
    results = [
        max(0, place + sum(more) - n + 1)
        for place, more, n in zip(places, padding, size, strict=True)
    ]
    spreading_work = math.prod(places) * math.prod(size)
    # With zeros between the entries, XLA's own takes no less than the product.
    sliding_work = spreading_work if is_spread else products.work(results, tuple(size))
    if is_spread:
        few = kernel[rhs[0]] < _FEWEST_RESULTS or math.prod(places) <= _FEW_PLACES
        return "spreading" if few and math.prod(size) <= _MOST_ENTRIES else None
    return "spreading" if spreading_work < sliding_work else "sliding"


def as_is(equation) -> Filtering:
    """A convolution by XLA, its kernel laid out beforehand as XLA wants it."""
    lhs, rhs, out = equation.params["dimension_numbers"]
    rest = range(len(rhs) - 2)
    laid = (len(rhs) - 1, len(rhs) - 2, *rest)
    numbers = lax.ConvDimensionNumbers(lhs, laid, out)

    def apply(x, kernel):
        return jaxpr.bind(equation, [x, kernel], dimension_numbers=numbers)[0]

    def prepare(clean: dict):
        return _in_order(equation, clean)

    return Filtering((equation.invars[1], rhs), prepare, apply)


def _in_order(equation, clean: dict) -> jax.Array:
    """The kernel, [rows, columns, maps in, maps out]."""
    maps_out, maps_in, *window = equation.params["dimension_numbers"].rhs_spec
    kernel = jaxpr.value_of(equation.invars[1], clean)
    return lax.transpose(kernel, (*window, maps_in, maps_out))
