"""Which convolutions of a traced function are better done as matrix products."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from zf_jax.ops import products
from zf_jax.transforms import program

# Below this many input maps a product has too little to add up to be worth its patches.
_FEWEST_MAPS = 16


class AsProducts(NamedTuple):
    """A convolution as matrix products.

    Attributes:
      key: of the prepared kernel, the same for convolutions that share it.
      prepare: values of the clean image -> the kernel, made ready.
      apply: (input, kernel) -> the convolution's result.
    """

    key: tuple
    prepare: Callable[[dict], Any]
    apply: Callable[[jax.Array, Any], jax.Array]


def as_products(equation, padding=None) -> AsProducts | None:
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
        or set(params["lhs_dilation"]) | set(params["rhs_dilation"]) != {1}
        or len(params["window_strides"]) != 2
        or equation.outvars[0].aval.dtype != jnp.float32
        or equation.invars[0].aval.dtype != jnp.float32
        or equation.invars[1].aval.dtype != jnp.float32
    ):
        return None
    numbers, stride = params["dimension_numbers"], tuple(params["window_strides"])
    lhs, rhs, out = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    if equation.invars[0].aval.shape[lhs[1]] < _FEWEST_MAPS:
        return None
    pads = [(0, 0, 0), *((*p, 0) for p in padding or params["padding"]), (0, 0, 0)]

    def prepare(clean: dict):
        kernel = program.value_of(equation.invars[1], clean)
        return products.prepare(
            lax.transpose(kernel, (rhs[2], rhs[3], rhs[1], rhs[0])), stride
        )

    def apply(x, kernel):
        x = lax.transpose(x, (lhs[0], lhs[2], lhs[3], lhs[1]))
        x = lax.pad(x, jnp.zeros((), x.dtype), pads)
        y = products.filter_maps(x, kernel, stride)
        # Where rows, columns and maps stand among the result's axes.
        order = [(out[0], out[2], out[3], out[1]).index(axis) for axis in range(4)]
        return lax.transpose(y, order)

    return AsProducts((equation.invars[1], rhs, stride), prepare, apply)
