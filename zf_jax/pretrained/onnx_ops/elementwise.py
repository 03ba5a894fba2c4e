"""Arithmetic, comparisons, logic and casts: one entry at a time."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax import lax
from onnx import TensorProto, helper

from zf_jax.errors import BadInput
from zf_jax.pretrained.onnx_ops.broadcasting import same_rank
from zf_jax.pretrained.onnx_ops.table import (
    Node,
    is_numpy,
    numpy_of,
    operation,
)

# Functions that NumPy and jax.numpy have under one name.
_ALIKE = {
    "Abs": "abs",
    "Acos": "arccos",
    "Acosh": "arccosh",
    "Add": "add",
    "And": "logical_and",
    "Asin": "arcsin",
    "Asinh": "arcsinh",
    "Atan": "arctan",
    "Atanh": "arctanh",
    "BitwiseAnd": "bitwise_and",
    "BitwiseNot": "bitwise_not",
    "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Equal": "equal",
    "Exp": "exp",
    "Floor": "floor",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "IsNaN": "isnan",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Log": "log",
    "Mul": "multiply",
    "Neg": "negative",
    "Not": "logical_not",
    "Or": "logical_or",
    "Reciprocal": "reciprocal",
    "Round": "round",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqrt": "sqrt",
    "Sub": "subtract",
    "Tan": "tan",
    "Where": "where",
    "Xor": "logical_xor",
}


def _alike(name: str) -> Callable:
    """An operation that broadcasts its inputs into one function of NumPy's name."""

    def compute(node: Node, *inputs):
        return getattr(numpy_of(*inputs), name)(*same_rank(*inputs))

    return compute


@operation("Div")
def divide(node: Node, x, y):
    """Division; that of integers truncates towards zero."""
    x, y = same_rank(x, y)
    xp = numpy_of(x, y)
    if not xp.issubdtype(x.dtype, xp.integer):
        return xp.divide(x, y)
    if xp is jnp:
        x, y = jnp.broadcast_arrays(x, jnp.asarray(y, jnp.result_type(x, y)))
        return lax.div(x, y.astype(x.dtype))
    return (x - np.fmod(x, y)) // y


@operation("Mod")
def modulo(node: Node, x, y):
    """The remainder, of the sign of `y`, or of `x` where `fmod` is 1."""
    xp = numpy_of(x, y)
    function = xp.fmod if node.get("fmod", 0) else xp.mod
    return function(*same_rank(x, y))


@operation("Pow")
def power(node: Node, x, y):
    """x ** y, of the type of x. A constant whole exponent keeps the derivative at 0."""
    xp = numpy_of(x, y)
    if xp is jnp and is_numpy(y) and np.size(y) == 1:
        exponent = float(np.asarray(y).ravel()[0])
        if exponent.is_integer():
            return lax.integer_pow(x, int(exponent))
    return xp.power(*same_rank(x, y)).astype(x.dtype)


@operation("BitShift")
def bit_shift(node: Node, x, y):
    """x shifted by y bits."""
    xp = numpy_of(x, y)
    left = node.get("direction") == "LEFT"
    function = xp.left_shift if left else xp.right_shift
    return function(*same_rank(x, y))


@operation("IsInf")
def is_infinite(node: Node, x):
    """Whether an entry is one of the infinities that the attributes ask for."""
    xp = numpy_of(x)
    found = xp.zeros(x.shape, bool)
    if node.get("detect_positive", 1):
        found = found | (x == np.inf)
    if node.get("detect_negative", 1):
        found = found | (x == -np.inf)
    return found


def _of_any_number(name: str) -> Callable:
    """An operation that joins its inputs, two at a time."""

    def compute(node: Node, *inputs):
        function = getattr(numpy_of(*inputs), name)
        return functools.reduce(function, same_rank(*inputs))

    return compute


@operation("Max")
def maximum(node: Node, *inputs):
    """The greatest entry. Max with 0 is a ReLU, which has the derivative 0 at 0."""
    if len(inputs) == 2 and numpy_of(*inputs) is jnp:
        zero, x = sorted(same_rank(*inputs), key=is_numpy, reverse=True)
        if is_numpy(zero) and np.ndim(zero) == 0 and zero == 0:
            return jax.nn.relu(x)
    return _of_any_number("maximum")(node, *inputs)


@operation("Mean")
def mean(node: Node, *inputs):
    """The inputs' average."""
    total = _of_any_number("add")(node, *inputs)
    return total / np.asarray(len(inputs), total.dtype)


def _as_type(node: Node, x, dtype: np.dtype):
    dtype = np.dtype(dtype)
    if dtype.name.startswith("float8") and node.get("saturate", 1):
        most = np.asarray(ml_dtypes.finfo(dtype).max, x.dtype)
        x = numpy_of(x).clip(x, -most, most)
    # NumPy alone has integers of 64 bits: JAX would make int32 of them, and a slice
    # that ends at the largest of them would end nowhere.
    if is_numpy(x):
        return np.asarray(x).astype(dtype)
    if dtype.name.endswith(("int2", "int4")):
        # NumPy keeps the lowest bits of what is too large, JAX those of integers only.
        x = x.astype(np.int32)
    return x.astype(jax.dtypes.canonicalize_dtype(dtype))


@operation("Cast")
def cast(node: Node, x):
    """The entries as another type.

    Raises:
      BadInput: the type is text, or one that JAX does not have.
    """
    kind = node.get("to")
    if kind == TensorProto.STRING or x.dtype == object:
        raise BadInput("makes text of numbers, or numbers of text")
    return _as_type(node, x, helper.tensor_dtype_to_np_dtype(kind))


@operation("CastLike")
def cast_like(node: Node, x, target):
    """The entries as the type of another array."""
    return _as_type(node, x, target.dtype)


operation("Min")(_of_any_number("minimum"))
operation("Sum")(_of_any_number("add"))
for _name, _function in _ALIKE.items():
    operation(_name)(_alike(_function))
