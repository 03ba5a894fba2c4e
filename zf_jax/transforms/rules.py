"""Where each operation's result changes, when its operands change within windows.

A rule takes the planner and an equation, and gives the window of its results and what
computes them; a window of None is for what may change anywhere. It gives None where it
does not apply: then the operation is done densely.
"""

from zf_jax.transforms import rules_axes, rules_sliding, windows
from zf_jax.transforms.windows import Window


def _elementwise(planner, equation):
    """The same at every entry."""
    return _around_all(planner, equation, equation.outvars[0].aval.shape)


def _around_all(planner, equation, shape):
    """On the window around the windows of all operands."""
    found = [w for w in map(planner.window, equation.invars) if w]
    axes = found[0].axes
    lengths = [shape[axis] for axis in axes]
    if any(
        w.axes != axes or [i.axis_length for i in w.intervals] != lengths for w in found
    ):
        return None
    intervals = zip(*(w.intervals for w in found), strict=True)
    window = Window(axes, tuple(map(windows.union, intervals)))
    getters = [planner.align_operand(atom, window, shape) for atom in equation.invars]
    if any(get is None for get in getters):
        return None
    return planner.apply(equation, window, getters)


def _concatenate(planner, equation):
    """Along an axis without a window."""
    window = next(w for w in map(planner.window, equation.invars) if w)
    if equation.params["dimension"] in window.axes:
        return None
    return _around_all(planner, equation, equation.outvars[0].aval.shape)


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
RULES |= {f"reduce_{name}": rules_axes.reduction for name in _REDUCTIONS}
RULES |= {name: rules_axes.reduction for name in ("argmax", "argmin")}
RULES |= {name: rules_axes.along_axis for name in (*_SCANS, "rev")}
RULES |= {
    "broadcast_in_dim": rules_axes.broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": rules_sliding.conv,
    "dot_general": rules_axes.dot,
    "pad": rules_sliding.pad,
    "reduce_window": rules_sliding.pool,
    "reduce_window_max": rules_sliding.pool,
    "reduce_window_min": rules_sliding.pool,
    "reduce_window_sum": rules_sliding.pool,
    "reshape": rules_axes.reshape,
    "slice": rules_sliding.strided_slice,
    "split": rules_axes.split,
    "squeeze": rules_axes.squeeze,
    "transpose": rules_axes.transpose,
}
