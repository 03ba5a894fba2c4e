"""Rules of what moves, reduces or contracts axes, and does not slide over them."""

import math

import numpy as np
from jax import lax

from zf_jax.transforms.windows import Window


def along_axis(planner, equation):
    """A scan or a reversal, along axes that have no window."""
    params, (atom, window) = equation.params, planner.operand(equation)
    axes = params.get("dimensions", (params.get("axis"),))
    if set(axes) & set(window.axes):
        return None
    return planner.apply(equation, window, [planner.value(atom)])


def split(planner, equation):
    """Along an axis that has no window."""
    atom, window = planner.operand(equation)
    if equation.params["axis"] in window.axes:
        return None
    return planner.apply(equation, window, [planner.value(atom)])


def reduction(planner, equation):
    """Over axes without windows; or the sum over all of them."""
    (atom, window), gone = planner.operand(equation), equation.params["axes"]
    if not set(gone) & set(window.axes):
        axes = tuple(axis - sum(g < axis for g in gone) for axis in window.axes)
        kept = Window(axes, window.intervals)
        return planner.apply(equation, kept, [planner.value(atom)])
    if equation.primitive.name != "reduce_sum" or not set(window.axes) <= set(gone):
        return None
    # The sum of what may have changed, and of the rest as it was.
    value, rest = planner.value(atom), planner.sum_outside(atom, window)
    bind = planner.bind(equation)

    def compute(evaluation):
        (inside,) = bind(evaluation, [value(evaluation)])
        (outside,) = bind(evaluation, [rest(evaluation).astype(atom.aval.dtype)])
        return [inside + outside]

    return None, compute


def transpose(planner, equation):
    """The same window, its axes in another order."""
    (atom, window), permutation = (
        planner.operand(equation),
        equation.params["permutation"],
    )
    axes = [permutation.index(axis) for axis in window.axes]
    order = np.argsort(axes)
    moved = Window(
        tuple(axes[i] for i in order), tuple(window.intervals[i] for i in order)
    )
    return planner.apply(equation, moved, [planner.value(atom)])


def broadcast(planner, equation):
    """New axes, or axes of length 1 made longer."""
    atom, window = planner.operand(equation)
    dimensions = equation.params["broadcast_dimensions"]
    shape = equation.outvars[0].aval.shape
    axes = tuple(dimensions[axis] for axis in window.axes)
    if any(
        shape[a] != s.axis_length for a, s in zip(axes, window.intervals, strict=True)
    ):
        return None
    moved = Window(axes, window.intervals)
    get, cut = planner.value(atom), moved.shape_within(shape)
    return moved, lambda evaluation: [
        lax.broadcast_in_dim(get(evaluation), cut, dimensions)
    ]


def reshape(planner, equation):
    """Where the window's axes stay as they are."""
    atom, window = planner.operand(equation)
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
    get, cut = planner.value(atom), moved.shape_within(after)
    return moved, lambda evaluation: [lax.reshape(get(evaluation), cut)]


def squeeze(planner, equation):
    """Where the axes of length 1 have no window."""
    (atom, window), gone = planner.operand(equation), equation.params["dimensions"]
    if set(gone) & set(window.axes):
        return None
    axes = tuple(axis - sum(g < axis for g in gone) for axis in window.axes)
    return planner.apply(
        equation, Window(axes, window.intervals), [planner.value(atom)]
    )


def dot(planner, equation):
    """A product with a clean operand, along axes without windows."""
    contracted, batch = equation.params["dimension_numbers"]
    sides = equation.invars
    side = 0 if planner.window(sides[0]) else 1
    window = planner.window(sides[side])
    if planner.changes(sides[1 - side]):
        return None
    if set(window.axes) & {*contracted[side], *batch[side]}:
        return None
    free = [
        [a for a in range(each.aval.ndim) if a not in contracted[i] + batch[i]]
        for i, each in enumerate(sides)
    ]
    begin = len(batch[0]) + (len(free[0]) if side else 0)
    axes = tuple(begin + free[side].index(axis) for axis in window.axes)
    getters = [planner.value(sides[side]), planner.read_clean(sides[1 - side])]
    getters = getters[::-1] if side else getters
    return planner.apply(equation, Window(axes, window.intervals), getters)
