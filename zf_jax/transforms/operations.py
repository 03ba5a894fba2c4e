"""What people call the operation of an equation: conv, relu, dense and so on."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal

from zf_jax.transforms import gates
from zf_jax.transforms import jaxpr as jaxprs

# Functions of JAX that are one operation, though they are calls in a jaxpr.
_FUNCTIONS = (
    *("celu", "elu", "gelu", "glu", "hard_sigmoid", "hard_silu", "hard_tanh"),
    *("leaky_relu", "log_sigmoid", "log_softmax", "logmeanexp"),
    *("logsumexp", "mish", "relu", "relu6", "selu", "silu", "sigmoid"),
    *("soft_sign", "softmax", "softplus", "sparse_plus"),
    *("sparse_sigmoid", "squareplus", "standardize", "clip", "pad", "std"),
    *("var", "where"),
)
_STATISTICS = frozenset({"std", "var"})
_PRIMITIVES = {
    "logistic": "sigmoid",
    "max": "maximum",
    "min": "minimum",
    "reduce_max": "max",
    "reduce_mean": "mean",
    "reduce_min": "min",
    "reduce_sum": "sum",
    "reduce_window_max": "max_pool",
    "reduce_window_min": "min_pool",
    "reduce_window_sum": "sum_pool",
    "select_n": "where",
}
_LAYERS = ("conv_general_dilated", "dot_general", "reduce_window", "scan", "while")
# Whose result is the operand: in another dtype, with other axes of length 1, marked.
_IDENTITIES = frozenset(
    {
        "copy",
        "name",
        "reduce_precision",
        "sharding_constraint",
        "squeeze",
        "stop_gradient",
        "transpose",
    }
)
_GELU = frozenset({"add", "div", "integer_pow", "mul", "neg", "pow", "square", "sub"})


def name(equation: JaxprEqn, from_images: Sequence[bool]) -> str:
    """The operation of an equation.

    `from_images` tells of every operand whether it depends on the images.
    """
    function, primitive = function_name(equation), equation.primitive.name
    if function:
        return function
    if primitive == "conv_general_dilated":
        upsampled = any(step > 1 for step in equation.params["lhs_dilation"])
        return "conv_transpose" if upsampled else "conv"
    if primitive == "dot_general":
        return "matmul" if all(from_images) else "dense"
    if primitive == "max" and any(_is(0, atom) for atom in equation.invars):
        return "relu"
    if primitive == "reshape" and len(equation.params["new_sizes"]) == 2:
        return "flatten"
    if primitive == "call_hi_primitive":
        # What custom_jvp and custom_vjp become with jax_custom_jvp3, jax_custom_vjp3.
        traced = getattr(equation.params.get("_prim"), "traced", None)
        return getattr(traced, "fun_name", primitive).strip("_")
    return _PRIMITIVES.get(primitive, primitive.replace("-", "_"))


def function_name(equation: JaxprEqn) -> str | None:
    """The function that a call is one call of, if it is JAX's or a gate's."""
    gate = gates.of(equation) or gates.marked(equation)
    if gate:
        kind, _, detail = gate.name.rstrip("]").partition("[")
        # Such as LRN(size=5, …), through which the signal passes unchanged.
        return detail.partition("(")[0].lower() if kind == "identity" else kind
    called = jaxprs.called_jaxpr(equation)
    if called is None:
        return None
    equations = called[0].eqns
    found = str(equation.params.get("name", "")).strip("_")
    if found in _FUNCTIONS:
        # A network may be called clip.
        return None if any(map(_holds_layers, equations)) else found
    if equation.primitive.name.startswith("custom_") and len(equations) == 1:
        return function_name(equations[0])
    return None


def _holds_layers(equation) -> bool:
    if equation.primitive.name.startswith(_LAYERS):
        return True
    called = jaxprs.called_jaxpr(equation)
    return called is not None and any(map(_holds_layers, called[0].eqns))


def is_layer(equation: JaxprEqn) -> bool:
    """Whether an equation is an operation of its own, never a part of a longer one."""
    function = function_name(equation)
    if function:
        return function not in _STATISTICS
    return equation.primitive.name.startswith((*_LAYERS, "call_hi", "cond"))


def is_identity(equation: JaxprEqn) -> bool:
    """Whether the result is the first operand, written otherwise."""
    primitive, (result, *_) = equation.primitive.name, equation.outvars
    if primitive == "convert_element_type":
        return jnp.issubdtype(result.aval.dtype, jnp.inexact)
    if primitive in ("reshape", "broadcast_in_dim"):
        before, after = equation.invars[0].aval.shape, result.aval.shape
        return [n for n in before if n > 1] == [n for n in after if n > 1]
    if primitive == "mul":
        # PyTorch's `add` has a factor.
        return any(_is(1, atom) for atom in equation.invars)
    return primitive in _IDENTITIES


def _is(number: int, atom) -> bool:
    return isinstance(atom, Literal) and np.ndim(atom.val) == 0 and atom.val == number


def composite(last: str, parts: Sequence[str]) -> str | None:
    """What JAX writes as several equations of one value, by their primitives.

    Args:
      last: the primitive that gives the result.
      parts: the primitives, or the functions, of the others.
    """
    held = set(parts)
    if last == "mul" and held <= {"logistic", "mul"} and "logistic" in held:
        return "silu"
    if last == "mul" and (held & {"erf", "erfc"} or held >= {"tanh", "integer_pow"}):
        return "gelu" if held <= _GELU | {"erf", "erfc", "tanh"} else None
    if last == "div" and held >= {"exp", "reduce_sum", "sub", "reduce_max"}:
        return "softmax"
    statistics = held & (_STATISTICS | {"reduce_sum"})
    roots = held & {"rsqrt", "sqrt", "std"}
    return "norm" if last in ("mul", "div") and statistics and roots else None
