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
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from zf_jax.errors import BadInput
from zf_jax.transforms import (
    flat_program,
    hidden_values,
    map_axes,
    operations,
    receptive_fields,
)
from zf_jax.transforms import jaxpr as jaxprs

Channels = Literal["first", "last"]


class NotAMap(BadInput):
    """A hidden value was asked for that is neither a map nor a vector."""


class Layer(NamedTuple):
    """A hidden value.

    Attributes:
      name: what `maps` knows it by.
      operation: what gave it: conv, relu, max_pool, …
      shape: [N, h, w, c] or [N, d], as `maps` gives it.
      receptive_field: rows and columns of the image that a unit sees, at most the
        image's; None where the images are no [N, H, W, C].
    """

    name: str
    operation: str
    shape: tuple[int, ...]
    receptive_field: tuple[int, int] | None = None


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
                " x ".join(map(str, each.receptive_field or "-")),
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
      channels: as for `maps`; the shapes in the table have them last.

    Returns:
      Rows of name, operation, shape and receptive field, in the order of computation.
    """
    _check_channels(channels)
    traced = _Traced(apply, images, channels)
    found = []
    for value in traced.values.values():
        view = traced.view(value)
        if view:
            found.append(Layer(value.name, value.operation, view.shape))
    fields = {}
    if len(images.shape) == 4:
        hidden = maps(apply, [each.name for each in found], channels=channels)
        image = jax.ShapeDtypeStruct(images.shape, images.dtype)
        fields = receptive_fields.receptive_fields(hidden, image)
    return Layers(
        each._replace(receptive_field=fields.get(each.name)) for each in found
    )


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
      channels: where hidden maps have their channels, [N, h, w, c] or [N, c, h, w], if
        no convolution shows it (`map_axes.py`).

    Returns:
      images -> {name: value}; maps are [N, h, w, c] whatever `channels` is, vectors
      [N, d].

    Raises:
      BadInput: on call, for a name that is not there.
      NotAMap: on call, for a value that is neither a map nor a vector; a BadInput too.
    """
    _check_channels(channels)
    if isinstance(names, str):
        raise BadInput(f"names={names!r}: give a list, [{names!r}]")

    def captured(images):
        images = jnp.asarray(images)
        traced = _Traced(apply, images, channels)
        views = {name: traced.named(name) for name in names}
        wanted = {name: view.variable for name, view in views.items()}
        found = flat_program.evaluate(traced.jaxpr, traced.consts, [images], wanted)
        return {n: jnp.transpose(found[n], view.axes) for n, view in views.items()}

    return captured


def inputs(
    apply: Callable, names: Sequence[str], images, *, channels: Channels = "last"
) -> dict[str, tuple[str, ...]]:
    """Which of some hidden values reach each other one without passing a third.

    Args:
      apply: as in `layers`.
      names: of hidden values.
      images: an array, or its shape and dtype.
      channels: as for `maps`.

    Returns:
      By name, the names in their order; none for a value that is made of the images
      alone.

    Raises:
      BadInput: as `maps`.
    """
    traced = _Traced(apply, images, channels)
    for name in names:
        traced.named(name)
    return traced.inputs(names)


class _View(NamedTuple):
    """A variable that is a map or a vector, and its axes as `maps` arranges them.

    Attributes:
      variable: what is to be computed.
      axes: of the images; of rows and columns, if it is a map; of channels.
    """

    variable: flat_program.Variable
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the arranged value."""
        return tuple(self.variable.aval.shape[axis] for axis in self.axes)


class _Traced:
    """A function of images, traced, and its hidden values by name."""

    def __init__(self, apply: Callable, images, channels: Channels):
        self._apply, self._channels = apply, channels
        images = jaxprs.abstract(images)
        self.jaxpr, self.consts, self._program = self._trace(images)
        found = hidden_values.hidden_values(self._program)
        self.values = {value.name: value for value in found}
        count, *rest = images.shape
        try:
            *_, larger = self._trace(images.update(shape=(count + 1, *rest)))
        except Exception:
            # The function is of one batch size, and fails in any way of its own.
            larger = None
        self._images_axes = map_axes.images_axes(self._program, larger)
        self._channel_axes = map_axes.channel_axes(self._program)

    def _trace(self, images):
        def fresh(images):
            # JAX remembers what it has traced by the function: this one is always new.
            return self._apply(images)

        traced = jax.make_jaxpr(fresh)(images)
        program = flat_program.flatten(
            traced.jaxpr,
            traced.consts,
            lambda equation, _: operations.function_name(equation) is not None,
        )
        return traced.jaxpr, traced.consts, program

    def view(self, value: hidden_values.HiddenValue) -> _View | None:
        """A value as a map or a vector, if it is one."""
        for variable in value.variables:
            rank = len(variable.aval.shape)
            if rank in (2, 4) and variable in self._images_axes:
                outermost = self._program.outermost.get(variable, variable)
                return _View(outermost, self._arranged_axes(variable, rank))
        return None

    def inputs(self, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The names that each of them is made of."""
        own = {v: name for name in names for v in self.values[name].variables}
        made_of: dict = {}
        for equation in self._program.equations:
            found = set()
            for atom in equation.invars:
                if isinstance(atom, flat_program.Variable):
                    found |= {own[atom]} if atom in own else made_of.get(atom, set())
            made_of.update(dict.fromkeys(equation.outvars, found))
        found = {}
        for name in names:
            variables = self.values[name].variables
            reached = set().union(*(made_of.get(v, ()) for v in variables)) - {name}
            found[name] = tuple(other for other in names if other in reached)
        return found

    def _arranged_axes(self, variable, rank: int) -> tuple[int, ...]:
        images = self._images_axes[variable]
        others = [axis for axis in range(rank) if axis != images]
        channel = self._channel_axes.get(variable, images)
        if channel == images or rank == 2:
            channel = others[0 if self._channels == "first" else -1]
        return images, *(axis for axis in others if axis != channel), channel

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
            raise NotAMap(
                f"hidden value {name!r} has the shape {shape}: "
                "ask for a map [N, h, w, c] or a vector [N, d]"
            )
        return view


def _check_channels(channels) -> None:
    if channels not in ("first", "last"):
        raise BadInput(f"channels={channels!r}: choose 'first' or 'last'")
