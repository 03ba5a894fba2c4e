"""Rules of what slides over a window's axes: convolutions, pools, slices, padding."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal

from zf_jax.transforms import windows
from zf_jax.transforms.windows import Window

# Slices of one value whose starts lie within so many entries are taken for a pool's.
_LARGEST_POOL = 16


def pool_of_slice(equation) -> tuple:
    """What the slices that are one pool's have in common."""
    params = equation.params
    shape = equation.outvars[0].aval.shape
    return equation.invars[0], tuple(params["strides"] or ()), shape


def slices_of_pools(equations) -> dict[tuple, tuple[np.ndarray, np.ndarray]]:
    """Least and largest starts of slices of one value, as pools are often written."""
    found = {}
    for equation in equations:
        if equation.primitive.name == "slice":
            starts = np.array(equation.params["start_indices"])
            found.setdefault(pool_of_slice(equation), []).append(starts)
    return {key: (np.min(s, 0), np.max(s, 0)) for key, s in found.items()}


def conv(planner, equation):
    """A convolution with a clean kernel, along axes that are not dilated."""
    params = equation.params
    (atom, window), kernel = planner.operand(equation), equation.invars[1]
    numbers, out = params["dimension_numbers"], equation.outvars[0].aval.shape
    spatial = numbers.lhs_spec[2:]
    if (
        not window
        or planner.changes(kernel)
        or params["batch_group_count"] != 1
        or not set(window.axes) <= set(spatial)
    ):
        return None
    padding, axes, intervals, regions = list(params["padding"]), [], [], []
    for axis, interval in zip(window.axes, window.intervals, strict=True):
        i = spatial.index(axis)
        if params["lhs_dilation"][i] != 1:
            return None
        size = kernel.aval.shape[numbers.rhs_spec[2 + i]]
        size = (size - 1) * params["rhs_dilation"][i] + 1
        to, stride = numbers.out_spec[2 + i], params["window_strides"][i]
        changed = windows.slide(interval, out[to], size, stride, padding[i][0])
        regions.append(
            windows.input_region(changed.region, size, stride, padding[i][0])
        )
        axes.append(to)
        intervals.append(changed)
        padding[i] = (0, 0)
    order = np.argsort(axes)
    window = Window(tuple(axes[i] for i in order), tuple(intervals[i] for i in order))
    getters = [planner.read_regions(atom, regions), planner.read_clean(kernel)]
    return planner.apply(equation, window, getters, padding=tuple(padding))


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


def pool(planner, equation):
    """`reduce_window` of any kind."""
    params, name = equation.params, equation.primitive.name
    (atom, window), out = planner.operand(equation), equation.outvars[0].aval
    if not window or len(equation.invars) > 2:
        return None
    if name == "reduce_window":
        fill = _number(equation.invars[1])
        if fill is None:
            return None
    else:
        fill = _padding_value(name, out.dtype)
    padding, intervals, regions = list(params["padding"]), [], []
    for axis, interval in zip(window.axes, window.intervals, strict=True):
        if params["base_dilation"][axis] != 1:
            return None
        size = params["window_dimensions"][axis] - 1
        size = size * params["window_dilation"][axis] + 1
        before, stride = padding[axis][0], params["window_strides"][axis]
        changed = windows.slide(interval, out.shape[axis], size, stride, before)
        regions.append(windows.input_region(changed.region, size, stride, before))
        intervals.append(changed)
        padding[axis] = (0, 0)
    getters = [planner.read_regions(atom, regions, fill)]
    getters += [planner.read_clean(other) for other in equation.invars[1:]]
    window = Window(window.axes, tuple(intervals))
    return planner.apply(equation, window, getters, padding=tuple(padding))


def strided_slice(planner, equation):
    """A slice: itself a filter of one entry, or one entry of a pool's windows."""
    (atom, window), params = planner.operand(equation), equation.params
    starts, limits = list(params["start_indices"]), list(params["limit_indices"])
    strides, out = list(params["strides"] or [1] * len(starts)), equation.outvars[0]
    least, most = planner.slice_starts(equation)
    if max(most - least) > _LARGEST_POOL:
        least = most = np.array(starts)
    intervals, regions = [], []
    for axis, interval in zip(window.axes, window.intervals, strict=True):
        # All entries of one pool's windows lie alike: they meet without moving.
        size, before = int(most[axis] - least[axis]) + 1, -int(least[axis])
        length = out.aval.shape[axis]
        changed = windows.slide(interval, length, size, strides[axis], before)
        regions.append(
            windows.input_region(changed.region, size, strides[axis], before)
        )
        intervals.append(changed)
        starts[axis] -= int(least[axis])
        limits[axis] = starts[axis] + (changed.size - 1) * strides[axis] + 1
    get = planner.read_regions(atom, regions)
    window = Window(window.axes, tuple(intervals))
    return window, lambda evaluation: [
        lax.slice(get(evaluation), starts, limits, strides)
    ]


def pad(planner, equation):
    """Padding with a constant, or cropping."""
    (atom, window), beyond = planner.operand(equation), equation.invars[1]
    config, out = list(equation.params["padding_config"]), equation.outvars[0].aval
    fill = _number(beyond)
    if not window or fill is None:
        return None
    intervals, regions = [], []
    for axis, interval in zip(window.axes, window.intervals, strict=True):
        before, _, interior = config[axis]
        if interior:
            return None
        moved = windows.shift(interval, before, out.shape[axis])
        regions.append(windows.input_region(moved.region, 1, 1, before))
        intervals.append(moved)
        config[axis] = (0, 0, 0)
    window = Window(window.axes, tuple(intervals))
    # The new window may reach beyond the old map: there it holds padding.
    getters = [planner.read_regions(atom, regions, fill), planner.read_clean(beyond)]
    return window, lambda evaluation: [
        lax.pad(*(get(evaluation) for get in getters), config)
    ]
