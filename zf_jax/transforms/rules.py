"""Where each kind of operation changes, when its operands change within windows.

A rule takes the plan and an operation, and gives the window of its results and what
computes them; a window of None is for what may change anywhere. It gives None for what
it cannot say: then the operation is done densely.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal

from zf_jax.transforms import windows
from zf_jax.transforms.windows import Window

# Slices of one value whose starts lie within so many entries are taken for a pool's.
_LARGEST_POOL = 16


def slices_alike(equation) -> tuple:
    """What the slices that are one pool's have in common."""
    params = equation.params
    shape = equation.outvars[0].aval.shape
    return equation.invars[0], tuple(params["strides"] or ()), shape


def sliced_together(equations) -> dict[tuple, tuple[np.ndarray, np.ndarray]]:
    """Least and largest starts of slices of one value, as pools are often written."""
    found = {}
    for equation in equations:
        if equation.primitive.name == "slice":
            starts = np.array(equation.params["start_indices"])
            found.setdefault(slices_alike(equation), []).append(starts)
    return {key: (np.min(s, 0), np.max(s, 0)) for key, s in found.items()}


def _apply(plan, equation, window, getters, **changes):
    """The window, and the operation on what the getters give."""
    bind = plan.bind(equation, **changes)
    return window, lambda run: bind(run, [get(run) for get in getters])


def _windowed(plan, equation):
    """The variable and window of an operation's first operand."""
    return equation.invars[0], plan.window(equation.invars[0])


def _elementwise(plan, equation):
    """The same at every entry: on the box around all windows."""
    return _boxed(plan, equation, equation.outvars[0].aval.shape)


def _boxed(plan, equation, shape):
    found = [w for w in map(plan.window, equation.invars) if w]
    axes = found[0].axes
    if any(
        w.axes != axes or any(map(_differ, w.spans, found[0].spans)) for w in found
    ) or any(shape[a] != s.length for a, s in zip(axes, found[0].spans, strict=True)):
        return None
    spans = zip(*(w.spans for w in found), strict=True)
    window = Window(axes, tuple(map(windows.box, spans)))
    getters = [plan.onto(atom, window, shape) for atom in equation.invars]
    if any(get is None for get in getters):
        return None
    return _apply(plan, equation, window, getters)


def _differ(one, other) -> bool:
    return one.length != other.length


def _concatenate(plan, equation):
    window = next(w for w in map(plan.window, equation.invars) if w)
    if equation.params["dimension"] in window.axes:
        return None
    return _boxed(plan, equation, equation.outvars[0].aval.shape)


def _conv(plan, equation):
    params = equation.params
    (atom, window), kernel = _windowed(plan, equation), equation.invars[1]
    numbers, out = params["dimension_numbers"], equation.outvars[0].aval.shape
    spatial = numbers.lhs_spec[2:]
    if (
        not window
        or plan.changes(kernel)
        or params["batch_group_count"] != 1
        or not set(window.axes) <= set(spatial)
    ):
        return None
    padding, axes, spans, regions = list(params["padding"]), [], [], []
    for axis, span in zip(window.axes, window.spans, strict=True):
        i = spatial.index(axis)
        if params["lhs_dilation"][i] != 1:
            return None
        size = kernel.aval.shape[numbers.rhs_spec[2 + i]]
        size = (size - 1) * params["rhs_dilation"][i] + 1
        to, stride = numbers.out_spec[2 + i], params["window_strides"][i]
        slid = windows.slide(span, out[to], size, stride, padding[i][0])
        regions.append(windows.below(slid.region, size, stride, padding[i][0]))
        axes.append(to)
        spans.append(slid)
        padding[i] = (0, 0)
    order = np.argsort(axes)
    window = Window(tuple(axes[i] for i in order), tuple(spans[i] for i in order))
    getters = [plan.surrounded(atom, regions), plan.clean(kernel)]
    return _apply(plan, equation, window, getters, padding=tuple(padding))


def _beyond(name: str, dtype):
    """What a pool finds beyond the map."""
    if name == "reduce_window_sum":
        return 0
    least = name == "reduce_window_min"
    if dtype == jnp.bool:
        return least
    if jnp.issubdtype(dtype, jnp.floating):
        return np.inf if least else -np.inf
    return jnp.iinfo(dtype).max if least else jnp.iinfo(dtype).min


def _number(atom):
    """A scalar that the program holds; None for what is computed."""
    if not isinstance(atom, Literal):
        return None
    return atom.val.item() if hasattr(atom.val, "item") else atom.val


def _pool(plan, equation):
    params, name = equation.params, equation.primitive.name
    (atom, window), out = _windowed(plan, equation), equation.outvars[0].aval
    if not window or len(equation.invars) > 2:
        return None
    if name == "reduce_window":
        fill = _number(equation.invars[1])
        if fill is None:
            return None
    else:
        fill = _beyond(name, out.dtype)
    padding, spans, regions = list(params["padding"]), [], []
    for axis, span in zip(window.axes, window.spans, strict=True):
        if params["base_dilation"][axis] != 1:
            return None
        size = params["window_dimensions"][axis] - 1
        size = size * params["window_dilation"][axis] + 1
        before, stride = padding[axis][0], params["window_strides"][axis]
        slid = windows.slide(span, out.shape[axis], size, stride, before)
        regions.append(windows.below(slid.region, size, stride, before))
        spans.append(slid)
        padding[axis] = (0, 0)
    getters = [plan.surrounded(atom, regions, fill)]
    getters += [plan.clean(other) for other in equation.invars[1:]]
    window = Window(window.axes, tuple(spans))
    return _apply(plan, equation, window, getters, padding=tuple(padding))


def _slice(plan, equation):
    (atom, window), params = _windowed(plan, equation), equation.params
    starts, limits = list(params["start_indices"]), list(params["limit_indices"])
    strides, out = list(params["strides"] or [1] * len(starts)), equation.outvars[0]
    least, most = plan.sliced(equation)
    if max(most - least) > _LARGEST_POOL:
        least = most = np.array(starts)
    spans, regions = [], []
    for axis, span in zip(window.axes, window.spans, strict=True):
        # All entries of one pool's windows lie alike: they meet without moving.
        size, before = int(most[axis] - least[axis]) + 1, -int(least[axis])
        length = out.aval.shape[axis]
        slid = windows.slide(span, length, size, strides[axis], before)
        regions.append(windows.below(slid.region, size, strides[axis], before))
        spans.append(slid)
        starts[axis] -= int(least[axis])
        limits[axis] = starts[axis] + (slid.size - 1) * strides[axis] + 1
    get = plan.surrounded(atom, regions)
    window = Window(window.axes, tuple(spans))
    return window, lambda run: [lax.slice(get(run), starts, limits, strides)]


def _pad(plan, equation):
    (atom, window), beyond = _windowed(plan, equation), equation.invars[1]
    config, out = list(equation.params["padding_config"]), equation.outvars[0].aval
    fill = _number(beyond)
    if not window or fill is None:
        return None
    spans, regions = [], []
    for axis, span in zip(window.axes, window.spans, strict=True):
        before, _, interior = config[axis]
        if interior:
            return None
        moved = windows.shift(span, before, out.shape[axis])
        regions.append(windows.below(moved.region, 1, 1, before))
        spans.append(moved)
        config[axis] = (0, 0, 0)
    window = Window(window.axes, tuple(spans))
    # The new window may reach beyond the old map: there it holds padding.
    getters = [plan.surrounded(atom, regions, fill), plan.clean(beyond)]
    return window, lambda run: [lax.pad(*(get(run) for get in getters), config)]


def _along(plan, equation):
    """Along axes that have no windows: scans, turns."""
    params, (atom, window) = equation.params, _windowed(plan, equation)
    axes = params.get("dimensions", (params.get("axis"),))
    if set(axes) & set(window.axes):
        return None
    return _apply(plan, equation, window, [plan.value(atom)])


def _split(plan, equation):
    atom, window = _windowed(plan, equation)
    if equation.params["axis"] in window.axes:
        return None
    return _apply(plan, equation, window, [plan.value(atom)])


def _reduce(plan, equation):
    (atom, window), gone = _windowed(plan, equation), equation.params["axes"]
    if not set(gone) & set(window.axes):
        axes = tuple(axis - sum(g < axis for g in gone) for axis in window.axes)
        kept = Window(axes, window.spans)
        return _apply(plan, equation, kept, [plan.value(atom)])
    if equation.primitive.name != "reduce_sum" or not set(window.axes) <= set(gone):
        return None
    # The sum of what may have changed, and of the rest as it was.
    value, rest, bind = (
        plan.value(atom),
        plan.outside(atom, window),
        plan.bind(equation),
    )

    def compute(run):
        (inside,) = bind(run, [value(run)])
        (outside,) = bind(run, [rest(run).astype(atom.aval.dtype)])
        return [inside + outside]

    return None, compute


def _transpose(plan, equation):
    (atom, window), permutation = _windowed(plan, equation), equation.params
    axes = [permutation["permutation"].index(axis) for axis in window.axes]
    order = np.argsort(axes)
    turned = Window(
        tuple(axes[i] for i in order), tuple(window.spans[i] for i in order)
    )
    return _apply(plan, equation, turned, [plan.value(atom)])


def _broadcast(plan, equation):
    atom, window = _windowed(plan, equation)
    places = equation.params["broadcast_dimensions"]
    shape = equation.outvars[0].aval.shape
    axes = tuple(places[axis] for axis in window.axes)
    if any(shape[a] != s.length for a, s in zip(axes, window.spans, strict=True)):
        return None
    moved = Window(axes, window.spans)
    get, cut = plan.value(atom), moved.cut(shape)
    return moved, lambda run: [lax.broadcast_in_dim(get(run), cut, places)]


def _reshape(plan, equation):
    atom, window = _windowed(plan, equation)
    before, after = atom.aval.shape, equation.outvars[0].aval.shape
    if equation.params.get("dimensions") is not None:
        return None
    axes = []
    for axis in window.axes:
        # The same axis, with as many entries before it.
        ahead = math.prod(before[:axis])
        same = [
            i
            for i, n in enumerate(after)
            if n == before[axis] and math.prod(after[:i]) == ahead
        ]
        if not same:
            return None
        axes.append(same[0])
    moved = Window(tuple(axes), window.spans)
    get, cut = plan.value(atom), moved.cut(after)
    return moved, lambda run: [lax.reshape(get(run), cut)]


def _squeeze(plan, equation):
    (atom, window), gone = _windowed(plan, equation), equation.params["dimensions"]
    if set(gone) & set(window.axes):
        return None
    axes = tuple(axis - sum(g < axis for g in gone) for axis in window.axes)
    return _apply(plan, equation, Window(axes, window.spans), [plan.value(atom)])


def _dot(plan, equation):
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
    return _apply(plan, equation, Window(axes, window.spans), getters)


_ELEMENTWISE = """
abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp clz
convert_element_type copy cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1
floor ge gt integer_pow is_finite le lgamma log log1p logistic lt max min mul name ne
neg nextafter not or population_count pow real reduce_precision rem round rsqrt
select_n shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt
square stop_gradient sub tan tanh xor
""".split()  # noqa: SIM905
_REDUCTIONS = ("sum", "max", "min", "prod", "and", "or", "xor")
_SCANS = ("cumsum", "cummax", "cummin", "cumprod", "cumlogsumexp")

RULES = {name: _elementwise for name in _ELEMENTWISE}
RULES |= {f"reduce_{name}": _reduce for name in _REDUCTIONS}
RULES |= {name: _reduce for name in ("argmax", "argmin")}
RULES |= {name: _along for name in (*_SCANS, "rev")}
RULES |= {
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _conv,
    "dot_general": _dot,
    "pad": _pad,
    "reduce_window": _pool,
    "reduce_window_max": _pool,
    "reduce_window_min": _pool,
    "reduce_window_sum": _pool,
    "reshape": _reshape,
    "slice": _slice,
    "split": _split,
    "squeeze": _squeeze,
    "transpose": _transpose,
}
