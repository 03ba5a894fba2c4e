"""Every hidden value of a JAX function, by name; the function itself is not edited.

A value is called by what its function says, else by where it is and what gave it:

    "stem"                the tag of `jax.ad_checkpoint.checkpoint_name(x, "stem")`
    "block0/relu_1"       the module (Flax linen, Haiku, Keras, `jax.named_scope`)
                          without the outermost one, and the operation
    "relu_3", "conv_12"   the operation alone

Of several values of one name the first has no number, the next is `relu_1`. `layers`
lists what a function has, `maps` is the function that gives chosen values:

    print(capture.layers(apply, images))
    values = xla.jit(capture.maps(apply, ["block3/relu"]))(images)

Operations are those that libraries have: a convolution or a product comes with its
bias, the arithmetic of a batch normalisation is one `batch_norm`, that of any other
normalisation one `norm`. What lies within a loop or a branch (`lax.scan`,
`lax.while_loop`, `lax.cond`) has no name; its result has.
"""

import difflib
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from zf_jax.errors import BadInput
from zf_jax.transforms import flat_program, hidden_values, operations

Channels = Literal["first", "last"]


class Layer(NamedTuple):
    """A hidden value.

    Attributes:
      name: what `maps` knows it by.
      operation: what gave it: conv, relu, max_pool, …
      shape: [N, h, w, c] or [N, d], as `maps` gives it.
      receptive_field: of one of its units; None where not known.
    """

    name: str
    operation: str
    shape: tuple[int, ...]
    receptive_field: Any = None


class Layers(tuple[Layer, ...]):
    """The hidden values of a function, as they are computed; prints as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        rows = [("name", "operation", "shape", "receptive field")]
        rows += [
            (
                each.name,
                each.operation,
                " x ".join(map(str, each.shape)),
                "-" if each.receptive_field is None else str(each.receptive_field),
            )
            for each in self
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join(lines)

    __repr__ = __str__


def layers(apply: Callable, images, *, channels: Channels = "last") -> Layers:
    """Lists every hidden value that is a map [N, h, w, c] or a vector [N, d].

    The function is traced, nothing is computed.

    Args:
      apply: a JAX function of images [N, ...] to a pytree; it closes over its weights.
      images: an array, or its shape and dtype (`jax.ShapeDtypeStruct`).
      channels: where hidden maps have their channels: [N, h, w, c] or [N, c, h, w].
        The shapes in the table have them last.

    Returns:
      Rows of name, operation, shape and receptive field, in the order of computation.
    """
    _check_channels(channels)
    traced = _Traced(apply, images)
    found = []
    for value in traced.values.values():
        view = traced.view(value)
        if view:
            shape = _arranged_shape(view, channels)
            found.append(Layer(value.name, value.operation, shape))
    return Layers(found)


def maps(
    apply: Callable, names: Sequence[str], *, channels: Channels = "last"
) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """The function of images that gives hidden values of another function.

    It does what the values need and nothing else. It works under `jax.jit`, `vmap`
    and `grad`; its derivative is that of `apply`, custom derivatives of calls
    included, unless a value within such a call is asked for.

    Args:
      apply: a JAX function of images [N, ...] to a pytree; it closes over its weights.
      names: of hidden values, as `layers` lists them.
      channels: where hidden maps have their channels: [N, h, w, c] or [N, c, h, w].

    Returns:
      images -> {name: value}; maps are [N, h, w, c] whatever `channels` is, vectors
      [N, d].

    Raises:
      BadInput: on call, for a name that is not there, or whose value is neither a map
        nor a vector.
    """
    _check_channels(channels)
    if isinstance(names, str):
        raise BadInput(f"names={names!r}: give a list, [{names!r}]")

    def captured(images):
        images = jnp.asarray(images)
        traced = _Traced(apply, images)
        views = {name: traced.named(name) for name in names}
        wanted = {name: view.variable for name, view in views.items()}
        found = flat_program.evaluate(traced.jaxpr, traced.consts, [images], wanted)
        return {
            name: _arranged(found[name], view.axis, channels)
            for name, view in views.items()
        }

    return captured


class _View(NamedTuple):
    """A variable that is a map or a vector, and which of its axes is the images'."""

    variable: flat_program.Variable
    axis: int


class _Traced:
    """A function of images, traced, and its hidden values by name."""

    def __init__(self, apply: Callable, images):
        self._apply, self._images = apply, images
        self.jaxpr, self.consts, self._program = self._trace(images.shape)
        found = hidden_values.hidden_values(self._program)
        self.values = {value.name: value for value in found}
        self._axes = self._find_axes()

    def _trace(self, shape):
        def fresh(images):
            # JAX remembers what it has traced by the function: this one is always new.
            return self._apply(images)

        traced = jax.make_jaxpr(fresh)(jax.ShapeDtypeStruct(shape, self._images.dtype))
        program = flat_program.flatten(
            traced.jaxpr,
            traced.consts,
            lambda equation, _: operations.function_name(equation) is not None,
        )
        return traced.jaxpr, traced.consts, program

    def _find_axes(self) -> dict:
        """The images' axis of every variable that has one."""
        count, *rest = self._images.shape
        results = [v for e in self._program.equations for v in e.outvars]
        try:
            *_, larger = self._trace((count + 1, *rest))
        except Exception:
            # A function of one batch size: the first axis that is as long.
            larger = None
        others = [v for e in larger.equations for v in e.outvars] if larger else []
        if len(others) != len(results):
            shapes = [(v, v.aval.shape) for v in results]
            return {v: shape.index(count) for v, shape in shapes if count in shape}
        axes = {}
        for one, other in zip(results, others, strict=True):
            pairs = list(zip(one.aval.shape, other.aval.shape, strict=True))
            if [pair for pair in pairs if len(set(pair)) > 1] == [(count, count + 1)]:
                axes[one] = pairs.index((count, count + 1))
        return axes

    def view(self, value: hidden_values.HiddenValue) -> _View | None:
        """A value as a map or a vector, if it is one."""
        for variable in value.variables:
            if len(variable.aval.shape) in (2, 4) and variable in self._axes:
                outermost = self._program.outermost.get(variable, variable)
                return _View(outermost, self._axes[variable])
        return None

    def named(self, name: str) -> _View:
        """The value of that name."""
        if name not in self.values:
            known = [n for n, value in self.values.items() if self.view(value)]
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            hint = f"the nearest are {', '.join(near)}" if near else "none is near"
            raise BadInput(
                f"no hidden value {name!r}: {hint} (capture.layers lists all)"
            )
        view = self.view(self.values[name])
        if view is None:
            shape = list(self.values[name].variables[0].aval.shape)
            raise BadInput(
                f"hidden value {name!r} has the shape {shape}: "
                "ask for a map [N, h, w, c] or a vector [N, d]"
            )
        return view


def _arranged(value, axis: int, channels: Channels):
    """The images' axis first, a map's channels last."""
    value = jnp.moveaxis(value, axis, 0)
    is_turned = channels == "first" and value.ndim == 4
    return jnp.moveaxis(value, 1, 3) if is_turned else value


def _arranged_shape(view: _View, channels: Channels) -> tuple[int, ...]:
    shape = list(view.variable.aval.shape)
    shape.insert(0, shape.pop(view.axis))
    if channels == "first" and len(shape) == 4:
        shape.append(shape.pop(1))
    return tuple(shape)


def _check_channels(channels) -> None:
    if channels not in ("first", "last"):
        raise BadInput(f"channels={channels!r}: choose 'first' or 'last'")
