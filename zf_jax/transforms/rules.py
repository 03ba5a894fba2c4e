"""The table of rules: how each operation reads its operands.

A rule takes an equation and what is known of its program. It gives an `Access`, or None
where it does not apply. What has no rule is computed as a whole.
"""

from zf_jax.transforms import gates, rules_axes, rules_lookup, rules_sliding
from zf_jax.transforms.access import Access, Slide
from zf_jax.transforms.context import Context

ELEMENTWISE = """
abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp clz
convert_element_type copy cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1
floor ge gt integer_pow is_finite le lgamma log log1p logistic lt max min mul name ne
neg nextafter not or population_count pow real reduce_precision rem round rsqrt
select_n shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt
square stop_gradient sub tan tanh xor
""".split()  # noqa: SIM905
_REDUCTIONS = ("sum", "max", "min", "prod", "and", "or", "xor")
_SCANS = ("cumsum", "cummax", "cummin", "cumprod", "cumlogsumexp")


def _elementwise(equation, context: Context) -> Access:
    """The same at every entry; scalars and axes of length 1 are read by all."""
    shape = equation.outvars[0].aval.shape
    return Access(
        tuple(
            tuple(
                Slide(axis, axis)
                for axis, length in enumerate(atom.aval.shape)
                if length == shape[axis]
            )
            for atom in equation.invars
        )
    )


def access(equation, context: Context) -> Access | None:
    """How an equation reads its operands; None where no rule applies."""
    gate = gates.of(equation)
    if gate:
        return rules_sliding.gate(equation, gate)
    if gates.is_straight_through(equation):
        return _elementwise(equation, context)
    rule = _RULES.get(equation.primitive.name)
    return rule(equation, context) if rule else None


_RULES = {name: _elementwise for name in ELEMENTWISE}
_RULES |= {f"reduce_{name}": rules_axes.reduction for name in _REDUCTIONS}
_RULES |= {name: rules_axes.reduction for name in ("argmax", "argmin")}
_RULES |= {name: rules_axes.along_axis for name in _SCANS}
_RULES |= {
    "broadcast_in_dim": rules_axes.broadcast,
    "concatenate": rules_axes.concatenate,
    "conv_general_dilated": rules_sliding.conv,
    "dot_general": rules_lookup.dot,
    "gather": rules_lookup.gather,
    "pad": rules_sliding.pad,
    "reduce_window": rules_sliding.pool,
    "reduce_window_max": rules_sliding.pool,
    "reduce_window_min": rules_sliding.pool,
    "reduce_window_sum": rules_sliding.pool,
    "reshape": rules_axes.reshape,
    "rev": rules_axes.reverse,
    "slice": rules_sliding.strided_slice,
    "split": rules_axes.along_axis,
    "squeeze": rules_axes.squeeze,
    "transpose": rules_axes.transpose,
}
