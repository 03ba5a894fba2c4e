"""The filters of a model's first convolution, which are all that see the pixels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zf_jax.layers import Pair
from zf_jax.model import Model
from zf_jax.transforms import jaxpr


class FirstFilters(NamedTuple):
    """The filters of a first convolution.

    Attributes:
      kernel: [h, w, C, M] float32, M filters of C channels.
      stride: between its windows, (rows, columns).
    """

    kernel: np.ndarray
    stride: Pair


def find(model: Model, size: Pair) -> FirstFilters | None:
    """The filters of the first convolution of a model, found in its jaxpr.

    Args:
      model: any. Its kernel may be computed from the parameters, as by weight
        standardisation; batch normalisation that follows is no part of it.
      size: rows and columns of an image.

    Returns:
      The filters, or None where a model contracts the image before it convolves, or
      never does.
    """
    one = jax.ShapeDtypeStruct((1, *size, model.input.channels), jnp.float32)
    traced, _ = jaxpr.inlined(model.apply, model.params, one)
    program, leaves = traced.jaxpr, jax.tree.leaves(model.params)
    values = dict(zip(program.constvars, traced.consts, strict=True))
    values |= dict(zip(program.invars[:-1], leaves, strict=True))
    for equation in program.eqns:
        name = equation.primitive.name
        if all(jaxpr.is_known(atom, values) for atom in equation.invars):
            # Depends on the parameters alone.
            jaxpr.run([equation], values)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1]
            if not jaxpr.is_known(kernel, values):
                return None
            return _filters(equation, jaxpr.value_of(kernel, values))
        elif name == "dot_general":
            return None
    return None


def _filters(equation, kernel: jax.Array) -> FirstFilters | None:
    stride = tuple(equation.params["window_strides"])
    if len(stride) != 2:
        return None
    filters, channels, *axes = equation.params["dimension_numbers"].rhs_spec
    kernel = np.asarray(kernel, np.float32).transpose(*axes, channels, filters)
    return FirstFilters(kernel, stride)
