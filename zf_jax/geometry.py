"""The arithmetic of a net's windows: nothing is run.

Map sizes, parameter counts, multiply-adds, and the receptive fields of units. Rows and
columns are counted from 0 at the top left; every interval is half open, [first, last).
"""

import math
from typing import NamedTuple

from zf_jax.errors import BadInput
from zf_jax.layers import Conv, Dense, Flatten, Pair, Pool
from zf_jax.spec import Spec

Shape = tuple[int, ...]


class LayerShapes(NamedTuple):
    """Shapes of one layer, without the axis of images.

    Attributes:
      input: what the layer's filter sees, (H, W, C) or (D,).
      maps: after its Relu.
      output: what the next layer sees.
    """

    input: Shape
    maps: Shape
    output: Shape


class ReceptiveField(NamedTuple):
    """The receptive field: which pixels of the image each unit of a map sees.

    The unit at row i sees image rows [start + i * step, start + i * step + size), and
    likewise for columns. Rows and columns outside of the image are padding.

    Attributes:
      size: (rows, columns) of the field, in pixels.
      step: pixels between the fields of neighbouring units.
      start: first pixel of unit 0's field; negative where padding comes first.
    """

    size: Pair
    step: Pair
    start: Pair

    def first(self, axis: int, index):
        """First pixel that unit `index` (a number or an array) sees along `axis`."""
        return self.start[axis] + index * self.step[axis]


def output_length(length: int, size: int, stride: int, padding: Pair) -> int:
    """How many windows of `size` fit along an axis of `length` entries."""
    return (length + sum(padding) - size) // stride + 1


def windows_overlapping(low, high, size: int, stride: int, before: int):
    """The windows that cover any of the entries `low` to `high` (half open) of an axis.

    Windows of `size` begin `stride` entries apart; the first begins `before` entries
    ahead of the axis. Arguments are whole numbers, or arrays of them.

    Returns:
      (first, end), half open: the windows' indices, which may be below 0 or beyond the
      last window.
    """
    return -(-(low + before - size + 1) // stride), (high - 1 + before) // stride + 1


def shapes(net: Spec, size: Pair | None = None) -> dict[str, LayerShapes]:
    """The shapes of every layer for images of `size` (the net's own by default).

    Raises:
      BadInput: a map would be empty, groups do not divide the channels, or `size`
        does not suit the first dense layer.
    """
    size = net.input.size if size is None else size
    shape, found = (*size, net.input.channels), {}
    for layer in net.layers:
        before = shape
        for op in layer.ops_to_maps:
            shape = _output_shape(op, shape, f"{layer.name} of {net.name}")
        maps = shape
        for op in layer.ops_after_maps:
            shape = _output_shape(op, shape, f"{layer.name} of {net.name}")
        found[layer.name] = LayerShapes(before, maps, shape)
    if tuple(size) != net.input.size:
        _check_dense(net, found, size)
    return found


def _output_shape(op, shape: Shape, where: str) -> Shape:
    """The shape that `op` makes of `shape`."""
    match op:
        case Conv() | Pool():
            if len(shape) != 3:
                raise BadInput(f"{where}: {type(op).__name__} cannot follow Dense")
            *size, maps = shape
            rows, columns = map(output_length, size, op.size, op.stride, op.padding)
            if rows < 1 or columns < 1:
                raise BadInput(
                    f"{where}: a {op.size[0]}x{op.size[1]} window does not fit in "
                    f"{size[0]}x{size[1]}; give larger images"
                )
            if isinstance(op, Pool):
                return rows, columns, maps
            if maps % op.groups or op.maps % op.groups:
                raise BadInput(
                    f"{where}: {op.groups} groups do not divide {maps} and {op.maps}"
                )
            return rows, columns, op.maps
        case Flatten():
            return (math.prod(shape),)
        case Dense():
            if len(shape) != 1:
                raise BadInput(f"{where}: Dense needs a Flatten before it")
            return (op.units,)
        case _:
            return shape


def _check_dense(net: Spec, found: dict[str, LayerShapes], size: Pair) -> None:
    own = shapes(net)
    for layer in net.layers:
        want, got = own[layer.name].input, found[layer.name].input
        if isinstance(layer.ops_to_maps[0], Flatten) and want != got:
            raise BadInput(
                f"{layer.name} of {net.name} is dense and takes {_by(want)}, images of "
                f"{_by(size)} give it {_by(got)}: give images of "
                f"{_by(net.input.size)}, or cut the net with upto()"
            )


def _by(lengths) -> str:
    return "x".join(map(str, lengths))


def parameter_shapes(net: Spec) -> dict[str, tuple[Shape, Shape]]:
    """Shapes of every layer's (kernel, bias).

    Kernels are [rows, columns, channels in / groups, channels out], or [inputs, units]
    of a dense layer.
    """
    inputs, found = shapes(net), {}
    for layer in net.layers:
        seen = inputs[layer.name].input
        match layer.filter:
            case Conv(maps=maps, size=size, groups=groups):
                found[layer.name] = (*size, seen[-1] // groups, maps), (maps,)
            case Dense(units=units):
                found[layer.name] = (math.prod(seen), units), (units,)
    return found


def parameters(net: Spec) -> dict[str, int]:
    """How many parameters every layer has, weights and biases."""
    return {
        name: math.prod(kernel) + math.prod(bias)
        for name, (kernel, bias) in parameter_shapes(net).items()
    }


def multiply_adds(net: Spec, size: Pair | None = None) -> dict[str, int]:
    """Multiply-adds of every layer's filter for one image of `size`."""
    positions = {name: math.prod(s.maps[:-1]) for name, s in shapes(net, size).items()}
    return {
        name: math.prod(kernel) * positions[name]
        for name, (kernel, _) in parameter_shapes(net).items()
    }


def receptive_fields(net: Spec) -> dict[str, ReceptiveField]:
    """The receptive field of every layer's maps (the patches of fig. 2).

    A unit of a dense layer, or of one above it, sees the whole image: its field has the
    image's size, step 0.
    """
    found, ops = {}, ()
    for layer in net.layers:
        ops += layer.ops_to_maps
        field = ReceptiveField((1, 1), (1, 1), (0, 0))
        for op in reversed(ops):
            field = _input_field(field, op)
        if any(isinstance(op, Dense) for op in ops):
            field = ReceptiveField(net.input.size, (0, 0), (0, 0))
        found[layer.name] = field
        ops += layer.ops_after_maps
    return found


def _input_field(field: ReceptiveField, op) -> ReceptiveField:
    """What `op` reads to compute `field`."""
    if not isinstance(op, Conv | Pool):
        return field
    axes = range(2)
    return ReceptiveField(
        tuple((field.size[i] - 1) * op.stride[i] + op.size[i] for i in axes),
        tuple(field.step[i] * op.stride[i] for i in axes),
        tuple(field.start[i] * op.stride[i] - op.padding[i][0] for i in axes),
    )


def patch(
    net: Spec, layer: str, position: Pair = (0, 0), size: Pair | None = None
) -> tuple[Pair, Pair]:
    """The image patch that the unit of `layer` at `position` sees, inside the image.

    Args:
      net: the net.
      layer: name of the layer.
      position: (row, column) in its maps; ignored for a dense layer.
      size: rows and columns of the image; the net's own by default.

    Returns:
      ((first row, last row), (first column, last column)) in pixels, half open; empty
      for a unit that sees padding alone.

    Raises:
      BadInput: an unknown layer, or a position outside of its maps.
    """
    net = net.upto(layer)
    size = net.input.size if size is None else size
    field = receptive_fields(net)[layer]
    *extent, _ = shapes(net, size)[layer].maps
    if extent and (
        len(position) != len(extent)
        or any(not 0 <= i < n for i, n in zip(position, extent, strict=True))
    ):
        raise BadInput(f"position {position}: {layer} has {_by(extent)} positions")
    spans = []
    for axis in (0, 1):
        first = field.first(axis, position[axis])
        ends = first, first + field.size[axis]
        spans.append(tuple(min(max(end, 0), size[axis]) for end in ends))
    return tuple(spans)
