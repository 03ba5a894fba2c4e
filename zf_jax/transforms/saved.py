"""What the backward pass of a unit reads of the forward pass."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax

from zf_jax.transforms import cpu_forms, gates, jaxpr
from zf_jax.transforms.crop_regions import Regions
from zf_jax.transforms.jaxpr import TracedFunction

# A saved value: the number of its equation, and its own in the equation.
Key = tuple[int, int]


class Saved(NamedTuple):
    """A value of the forward pass that the backward pass may read.

    Attributes:
      key: tells it from the function's others.
      of_whole: operands of its equation on the whole image -> the value.
      whole: its shape and dtype on the whole image.
      regions: the part of it that the unit needs.
      fill: what lies beyond its border.
      gate: the gate whose switches or mask it is; None for an operand.
    """

    key: Key
    of_whole: Callable[[list], jax.Array]
    whole: jax.ShapeDtypeStruct
    regions: Regions
    fill: Any
    gate: gates.Gate | None

    @property
    def part(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of what one unit needs."""
        sizes = {axis: region.size for axis, region in self.regions.items()}
        shape = [sizes.get(a, length) for a, length in enumerate(self.whole.shape)]
        return jax.ShapeDtypeStruct(tuple(shape), self.whole.dtype)


class PoolPart(NamedTuple):
    """The part of a pool with switches that one unit needs.

    Attributes:
      key: of its switches.
      gate: the pool, of an operand that holds the padding along the axes of the part.
      shape: of the switches.
      operand: the shape of what it pools.
      starts: where each window begins in the operand's map, [entries] by axis.
      lengths: of the axes of the operand's map.
    """

    key: Key
    gate: gates.Gate
    shape: tuple[int, ...]
    operand: tuple[int, ...]
    starts: tuple[jax.Array, ...]
    lengths: tuple[int, ...]

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Of the window, over all axes."""
        return self.gate.window[0]

    def first(self, axis: int) -> jax.Array:
        """Where `operand` begins in its map."""
        return self.starts[axis][0] + self.gate.window[2][axis][0]


def save_whole(
    traced: TracedFunction,
    saved: Collection[Saved],
    weights: Sequence,
    image: jax.Array,
    platform: str,
) -> dict[Key, jax.Array]:
    """Saved values of a whole image [1, H, W, C].

    They are those of crops of the same function, which may be of several hidden values.
    """
    atoms = [a for each in saved for a in traced.equations[each.key[0]].invars]
    given = [*traced.constants, *weights, image]
    values = dict(zip(traced.inputs, given, strict=True))
    equations = jaxpr.needed_equations(traced.equations, atoms)
    jaxpr.run(equations, values, handle=cpu_forms.handler(platform))
    found = {}
    for each in saved:
        operands = traced.equations[each.key[0]].invars
        operands = [jaxpr.value_of(atom, values) for atom in operands]
        found[each.key] = each.of_whole(operands)
    return found
