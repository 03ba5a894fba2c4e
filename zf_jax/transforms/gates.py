"""Gates: the places of a function where a backward rule differs from the derivative.

A rectifier lets the signal pass as the rule says (`deconvnet.py` has the table), max
pooling sends it to the switches, and a part such as LRN may let it pass unchanged. Each
is a `Gate`. `emit` puts one into a function that is being traced, as an equation which
`of` recognises in the jaxpr: a call of `jax.jit` that has the gate's name. Whoever runs
that equation gets the gate's value and, by `jax.vjp`, its backward map; whoever knows
gates can compute, save and transpose it in a way of their own.

`mark` lets a function say that one of its parts has a backward rule of its own. The
function keeps its derivative; `rectify` puts the gate in the part's place.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import JaxprEqn

from zf_jax import xla
from zf_jax.layers import Pool
from zf_jax.ops import pooling
from zf_jax.transforms import bodies, jaxpr

Rule = Literal["deconvnet", "guided", "gradient"]
RULES: tuple[Rule, ...] = get_args(Rule)
# Of all axes, as `jax.lax.reduce_window` takes them: dimensions, strides, padding.
Window = tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...]]

_MARK = "marked "
_STRAIGHT_THROUGH = "straight_through"
# A uint8 switch tells at most 255 entries of a window apart.
_MOST_ENTRIES = 255

_gates: dict[str, "Gate"] = {}


@dataclasses.dataclass(frozen=True)
class Gate:
    """A function of one array to one array, with a backward map of its own.

    Two gates of the same name are the same gate.

    Attributes:
      name: says what it is, `rectifier[guided]`; the name of its equation.
      value: x -> y.
      save: x -> the arrays that the backward map reads of the forward pass.
      linear: (x, saved) -> y. By `jax.vjp` with respect to x, whose value plays no
        part, it gives the backward map.
      saved_like: whether saved arrays have the shape of the operand or of the result.
      window: of a gate that slides one, over all axes of x. Batching by `jax.vmap`
        keeps the equation and adds an axis to x: gates are recognised before batching.
    """

    name: str
    value: Callable[[jax.Array], jax.Array] = dataclasses.field(compare=False)
    save: Callable[[jax.Array], tuple[jax.Array, ...]] = dataclasses.field(
        compare=False
    )
    linear: Callable[[jax.Array, tuple], jax.Array] = dataclasses.field(compare=False)
    saved_like: Literal["operand", "result"] = "operand"
    window: Window | None = None

    def __post_init__(self):
        _gates.setdefault(self.name, self)


def emit(gate: Gate, x: jax.Array) -> jax.Array:
    """The gate's value, as one equation of what is being traced."""
    return _equation(gate)(x)


def of(equation: JaxprEqn) -> Gate | None:
    """The gate that an equation is; None if it is none."""
    return _gates.get(_name(equation))


def is_closed(equation: JaxprEqn) -> bool:
    """Whether what is inside of a call does not tell its derivative.

    Then it is not to be opened: a gate, `straight_through`, or a function of others
    with custom derivatives.
    """
    return (
        of(equation) is not None
        or is_straight_through(equation)
        or bodies.has_own_derivative(equation)
    )


def is_straight_through(equation: JaxprEqn) -> bool:
    """Whether an equation is `straight_through`."""
    return _name(equation) == _STRAIGHT_THROUGH


def mark(gate: Gate, function: Callable) -> Callable:
    """The function, recognisable in a jaxpr as one that has the gate's backward rule.

    Args:
      gate: whose value is the function's, or the first of its results.
      function: of one array. Its derivative stays what it is.
    """
    return _named(_MARK + gate.name, function)


def marked(equation: JaxprEqn) -> Gate | None:
    """The gate of a marked function's call; None for another equation."""
    name = _name(equation)
    return _gates.get(name[len(_MARK) :]) if name.startswith(_MARK) else None


def _name(equation: JaxprEqn) -> str:
    is_call = equation.primitive.name in jaxpr.JIT
    return equation.params["name"] if is_call else ""


def _named(name: str, function: Callable) -> Callable:
    def call(*arrays):
        return function(*arrays)

    call.__name__ = call.__qualname__ = name
    return xla.jit(call)


@functools.cache
def _equation(gate: Gate) -> Callable:
    @jax.custom_vjp
    def gated(x):
        return gate.value(x)

    def forward(x):
        # An array without entries tells x's shape, and all else of its type.
        empty = lax.slice_in_dim(lax.expand_dims(x, (0,)), 0, 0)
        return gate.value(x), (gate.save(x), empty)

    def backward(residuals, signal):
        saved, empty = residuals
        zeros = empty.sum(axis=0)
        _, transpose = jax.vjp(lambda x: gate.linear(x, saved), zeros)
        return transpose(signal)

    gated.defvjp(forward, backward)
    return _named(gate.name, gated)


@functools.cache
def rectifier(rule: Rule) -> Gate:
    """max(x, 0), with what the rule does in the backward pass."""
    needs_mask = rule != "deconvnet"
    return Gate(
        f"rectifier[{rule}]",
        value=lambda x: jnp.maximum(x, 0),
        save=lambda x: (x > 0,) if needs_mask else (),
        linear=functools.partial(_pass_on, rule),
    )


@functools.cache
def passing(rule: Rule) -> Gate:
    """x itself, with what the rule does in the backward pass at a rectifier of x."""
    return dataclasses.replace(
        rectifier(rule), name=f"passing[{rule}]", value=lambda x: x
    )


@jax.custom_vjp
def _straight_through(passed, value):
    return value


_straight_through.defvjp(
    lambda passed, value: (value, None),
    lambda _, signal: (signal, None),
)


def straight_through(passed: jax.Array, value: jax.Array) -> jax.Array:
    """The second array, with the derivative of the first.

    It is no gate, since it takes two arrays. Its equation is called
    `straight_through`.
    """
    return _straight_through_equation()(passed, value)


@functools.cache
def _straight_through_equation() -> Callable:
    return _named(_STRAIGHT_THROUGH, _straight_through)


def _pass_on(rule: Rule, x: jax.Array, saved: tuple) -> jax.Array:
    if rule != "gradient":
        x = _rectify_signal(x)
    return jnp.where(*saved, x, jnp.zeros((), x.dtype)) if saved else x


@jax.custom_vjp
def _rectify_signal(x):
    return x


_rectify_signal.defvjp(lambda x: (x, None), lambda _, signal: (jnp.maximum(signal, 0),))


@functools.cache
def identity(name: str, function: Callable[[jax.Array], jax.Array]) -> Gate:
    """A function that lets the signal pass unchanged.

    Args:
      name: that no other function has.
      function: of one array to another of the same shape.
    """
    return Gate(
        f"identity[{name}]",
        value=function,
        save=lambda x: (),
        linear=lambda x, saved: x,
    )


def has_switches(dimensions, strides, padding) -> bool:
    """Whether `max_pool` takes a window, given over all axes.

    It takes one over at most two axes, of at most 255 entries, which cannot lie in the
    padding alone. (Of others JAX's own derivative is the same, and slower.)
    """
    moved = _windowed(dimensions, strides, padding)
    return (
        len(dimensions) >= 2
        and len(moved) <= 2
        and math.prod(dimensions) <= _MOST_ENTRIES
        and all(0 <= p < dimensions[axis] for axis in moved for p in padding[axis])
    )


def _windowed(dimensions, strides, padding) -> list[int]:
    """The axes that a window covers more than an entry of, or steps or pads along."""
    along = zip(dimensions, strides, map(tuple, padding), strict=True)
    return [axis for axis, each in enumerate(along) if each != (1, 1, (0, 0))]


@functools.cache
def max_pool(
    dimensions: tuple[int, ...],
    strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
) -> Gate:
    """Max pooling, with switches: uint8 entries of the window, ties to the first.

    Args:
      dimensions: of the window, over all axes of x; one that `has_switches`.
      strides: likewise.
      padding: likewise: entries that never win, before and after.
    """
    axes = _windowed(dimensions, strides, padding)
    others = [axis for axis in reversed(range(len(dimensions))) if axis not in axes]
    axes = tuple(sorted([*axes, *others[: 2 - len(axes)]]))
    size, step, pad = (
        tuple(each[axis] for axis in axes) for each in (dimensions, strides, padding)
    )
    op = Pool(size, step, pad)

    def pool(x):
        values, switches = pooling.pool(op, _to_nhwc(x, axes))
        return _from_nhwc(values, x, axes), _from_nhwc(switches, x, axes)

    def pick(x, saved):
        (switches,) = saved
        picked = _pick(op, _to_nhwc(x, axes), _to_nhwc(switches, axes))
        return _from_nhwc(picked, x, axes)

    return Gate(
        f"max_pool[{_by(dimensions)},{_by(strides)},{_by(sum(padding, ()))}]",
        value=lambda x: pool(x)[0],
        save=lambda x: pool(x)[1:],
        linear=pick,
        saved_like="result",
        window=(dimensions, strides, padding),
    )


def in_part(gate: Gate, axes) -> Gate:
    """The gate on an operand that holds its padding along some axes."""
    if gate.window is None:
        return gate
    dimensions, strides, padding = gate.window
    padding = tuple((0, 0) if a in axes else p for a, p in enumerate(padding))
    return max_pool(dimensions, strides, padding)


def _by(numbers) -> str:
    return "x".join(map(str, numbers))


def _to_nhwc(x: jax.Array, axes: tuple[int, int]) -> jax.Array:
    """[N, H, W, C], the two axes of a window as rows and columns."""
    if axes == (1, 2) and x.ndim == 4:
        return x
    rows, columns = (x.shape[axis] for axis in axes)
    return jnp.moveaxis(x, axes, (-2, -1)).reshape(-1, rows, columns, 1)


def _from_nhwc(pooled: jax.Array, like: jax.Array, axes: tuple[int, int]) -> jax.Array:
    """The axes as those of `like`, which `_to_nhwc` moved."""
    if axes == (1, 2) and like.ndim == 4:
        return pooled
    others = [size for axis, size in enumerate(like.shape) if axis not in axes]
    return jnp.moveaxis(pooled.reshape(*others, *pooled.shape[1:3]), (-2, -1), axes)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _pick(op: Pool, x: jax.Array, switches: jax.Array) -> jax.Array:
    return pooling.pool_with_switches(op, x, switches)


def _pick_forward(op, x, switches):
    return _pick(op, x, switches), (switches, jnp.zeros((0, *x.shape)))


def _pick_backward(op, saved, signal):
    switches, empty = saved
    # The chain of comparisons has a transpose, but a look-up is many times faster.
    return pooling.unpool(op, signal, switches, empty.shape[1:]), None


_pick.defvjp(_pick_forward, _pick_backward)
