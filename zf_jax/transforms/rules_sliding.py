"""Rules of what slides over axes: convolutions, pools, slices, padding."""

import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from zf_jax.transforms.access import Access, Slide

# Slices of one value whose starts lie within so many entries are taken for a pool's.
_LARGEST_POOL = 16


def conv(equation, context) -> Access | None:
    """A convolution, transposed ones included, along its spatial axes."""
    params = equation.params
    numbers, kernel = params["dimension_numbers"], equation.invars[1].aval.shape
    if params["batch_group_count"] != 1:
        return None
    relations, align, sizes = [], {}, {}
    for i, (axis, to) in enumerate(
        zip(numbers.lhs_spec[2:], numbers.out_spec[2:], strict=True)
    ):
        size = kernel[numbers.rhs_spec[2 + i]]
        size = (size - 1) * params["rhs_dilation"][i] + 1
        stride, dilation = params["window_strides"][i], params["lhs_dilation"][i]
        before = params["padding"][i][0]
        if dilation > 1:
            if stride > 1:
                continue
            align[to] = dilation, before % dilation
        relations.append(Slide(axis, to, size, stride, before, dilation))
        sizes[to] = i, size, dilation

    def change(computed) -> dict:
        padding = list(params["padding"])
        for to, entries in computed.items():
            i, size, dilation = sizes[to]
            # Aligned parts begin at an entry of the operand, and end between two.
            read = entries + size - 1
            padding[i] = 0, (read - 1) % dilation
        return {"padding": tuple(padding)}

    return Access((tuple(relations), ()), change, align=align)


def pool(equation, context) -> Access | None:
    """`reduce_window` of any kind."""
    params, name = equation.params, equation.primitive.name
    if len(equation.invars) > 2:
        return None
    if name == "reduce_window":
        fill = _number(equation.invars[1])
        if fill is None:
            return None
    else:
        fill = _padding_value(name, equation.outvars[0].aval.dtype)
    relations = []
    for axis, size in enumerate(params["window_dimensions"]):
        if params["base_dilation"][axis] == 1:
            size = (size - 1) * params["window_dilation"][axis] + 1
            before, stride = params["padding"][axis][0], params["window_strides"][axis]
            relations.append(Slide(axis, axis, size, stride, before, fill=fill))

    def change(computed) -> dict:
        padding = list(params["padding"])
        for axis in computed:
            padding[axis] = (0, 0)
        return {"padding": tuple(padding)}

    others = ((),) * (len(equation.invars) - 1)
    return Access((tuple(relations), *others), change)


def gate(equation, gate) -> Access:
    """A rectifier, or a pool with switches."""
    rank = equation.invars[0].aval.ndim
    if gate.window is None:
        return Access((tuple(Slide(axis, axis) for axis in range(rank)),))
    relations = tuple(
        Slide(axis, axis, size, stride, before, fill=-np.inf)
        for axis, (size, stride, (before, _)) in enumerate(
            zip(*gate.window, strict=True)
        )
    )
    return Access((relations,))


def _padding_value(name: str, dtype):
    """What a pool's padding counts as."""
    if name == "reduce_window_sum":
        return 0
    is_least = name == "reduce_window_min"
    if dtype == jnp.bool:
        return is_least
    if jnp.issubdtype(dtype, jnp.floating):
        return np.inf if is_least else -np.inf
    return jnp.iinfo(dtype).max if is_least else jnp.iinfo(dtype).min


def _number(atom):
    """A scalar that the program holds; None for what is computed."""
    if not isinstance(atom, Literal):
        return None
    return atom.val.item() if hasattr(atom.val, "item") else atom.val


def strided_slice(equation, context) -> Access:
    """A slice: itself a filter of one entry, or one entry of a pool's windows."""
    params, rank = equation.params, equation.invars[0].aval.ndim
    starts, strides = params["start_indices"], params["strides"] or (1,) * rank
    least, most = context.slice_starts(equation)
    if max(most - least, default=0) > _LARGEST_POOL:
        least = most = np.array(starts)
    # All entries of one pool's windows lie alike: they meet without moving.
    sizes = most - least + 1
    relations = tuple(
        Slide(axis, axis, int(sizes[axis]), strides[axis], -int(least[axis]))
        for axis in range(rank)
    )

    def change(computed) -> dict:
        first, limits = list(starts), list(params["limit_indices"])
        for axis, entries in computed.items():
            first[axis] = int(starts[axis] - least[axis])
            limits[axis] = first[axis] + (entries - 1) * strides[axis] + 1
        return {"start_indices": tuple(first), "limit_indices": tuple(limits)}

    return Access((relations,), change)


def pad(equation, context) -> Access | None:
    """Padding with a constant, around entries or between them, or cropping."""
    config, fill = equation.params["padding_config"], _number(equation.invars[1])
    if fill is None:
        return None
    relations = tuple(
        Slide(axis, axis, before=before, dilation=interior + 1, fill=fill)
        for axis, (before, _, interior) in enumerate(config)
    )
    align = {
        axis: (interior + 1, before % (interior + 1))
        for axis, (before, _, interior) in enumerate(config)
        if interior
    }

    def change(computed) -> dict:
        changed = list(config)
        for axis, entries in computed.items():
            interior = config[axis][2]
            changed[axis] = 0, (entries - 1) % (interior + 1), interior
        return {"padding_config": tuple(changed)}

    return Access((relations, ()), change, align=align)
