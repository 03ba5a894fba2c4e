"""Rules of what moves, reduces or contracts axes, and does not slide over them."""

import math

import numpy as np
from jax import lax

from zf_jax.transforms.windows import Window


def along_axis(plan, equation):
    """A scan or a reversal, along axes that have no window."""
    params, (atom, window) = equation.params, plan.operand(equation)
    axes = params.get("dimensions", (params.get("axis"),))
    if set(axes) & set(window.axes):
        return None
    return plan.apply(equation, window, [plan.value(atom)])


def split(plan, equation):
    """Along an axis that has no window."""
    atom, window = plan.operand(equation)
    if equation.params["axis"] in window.axes:
        return None
    return plan.apply(equation, window, [plan.value(atom)])


def reduction(plan, equation):
    """Over axes without windows; or the sum over all of them."""
    (atom, window), gone = plan.operand(equation), equation.params["axes"]
    if not set(gone) & set(window.axes):
        axes = tuple(axis - sum(g < axis for g in gone) for axis in window.axes)
        kept = Window(axes, window.intervals)
        return plan.apply(equation, kept, [plan.value(atom)])
    if equation.primitive.name != "reduce_sum" or not set(window.axes) <= set(gone):
        return None
    # The sum of what may have changed, and of the rest as it was.
    value, rest = plan.value(atom), plan.sum_outside(atom, window)
    bind = plan.bind(equation)

    def compute(run):
        (inside,) = bind(run, [value(run)])
        (outside,) = bind(run, [rest(run).astype(atom.aval.dtype)])
        return [inside + outside]

    return None, compute


def transpose(plan, equation):
    """The same window, its axes in another order."""
    (atom, window), permutation = plan.operand(equation), equation.params["permutation"]
    axes = [permutation.index(axis) for axis in window.axes]
    order = np.argsort(axes)
    moved = Window(
        tuple(axes[i] for i in order), tuple(window.intervals[i] for i in order)
    )
    return plan.apply(equation, moved, [plan.value(atom)])


def broadcast(plan, equation):
    """New axes, or axes of length 1 made longer."""
    atom, window = plan.operand(equation)
    dimensions = equation.params["broadcast_dimensions"]
    shape = equation.outvars[0].aval.shape
    axes = tuple(dimensions[axis] for axis in window.axes)
    if any(shape[a] != s.length for a, s in zip(axes, window.intervals, strict=True)):
        return None
    moved = Window(axes, window.intervals)
    get, cut = plan.value(atom), moved.shape_within(shape)
    return moved, lambda run: [lax.broadcast_in_dim(get(run), cut, dimensions)]


def reshape(plan, equation):
    """Where the window's axes stay as they are."""
    atom, window = plan.operand(equation)
    before, after = atom.aval.shape, equation.outvars[0].aval.shape
    if equation.params.get("dimensions") is not None:
        return None
    axes = []
    for axis in window.axes:
        # The same axis, with as many entries ahead of it.
        ahead = math.prod(before[:axis])
        same = [
            i
            for i, n in enumerate(after)
            if n == before[axis] and math.prod(after[:i]) == ahead
        ]
        if not same:
            return None
        axes.append(same[0])
    moved = Window(tuple(axes), window.intervals)
    get, cut = plan.value(atom), moved.shape_within(after)
    return moved, lambda run: [lax.reshape(get(run), cut)]


def squeeze(plan, equation):
    """Where the axes of length 1 have no window."""
    (atom, window), gone = plan.operand(equation), equation.params["dimensions"]
    if set(gone) & set(window.axes):
        return None
    axes = tuple(axis - sum(g < axis for g in gone) for axis in window.axes)
    return plan.apply(equation, Window(axes, window.intervals), [plan.value(atom)])


def dot(plan, equation):
    """A product with a clean operand, along axes without windows."""
    contracted, batch = equation.params["dimension_numbers"]
    sides = equation.invars
    side = 0 if plan.window(sides[0]) else 1
    window = plan.window(sides[side])
    if plan.changes(sides[1 - side]):
        return None
    if set(window.axes) & {*contracted[side], *batch[side]}:
        return None
    free = [
        [a for a in range(each.aval.ndim) if a not in contracted[i] + batch[i]]
        for i, each in enumerate(sides)
    ]
    begin = len(batch[0]) + (len(free[0]) if side else 0)
    axes = tuple(begin + free[side].index(axis) for axis in window.axes)
    getters = [plan.value(sides[side]), plan.clean(sides[1 - side])]
    getters = getters[::-1] if side else getters
    return plan.apply(equation, Window(axes, window.intervals), getters)
