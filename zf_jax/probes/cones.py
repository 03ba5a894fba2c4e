"""Parts of images and traces: what the units of a layer are computed from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax import convnet, geometry
from zf_jax.layers import Pair
from zf_jax.spec import Spec


def inside(
    net: Spec, cone: geometry.Cone, sizes: list[Pair], positions: np.ndarray
) -> convnet.Inside:
    """What of the units' cones lies in images of these sizes, and in their maps.

    Args:
      net: the net up to the units' layer.
      cone: of that layer.
      sizes: (rows, columns) of each unit's image.
      positions: [N, 2] int, of the units in their maps.
    """
    shapes = [geometry.shapes(net, size) for size in sizes]

    def lies_in(name: str, field: geometry.Field, kind: str) -> np.ndarray:
        ends = np.array([getattr(each[name], kind)[:2] for each in shapes])
        down, across = (
            (at >= 0) & (at < ends[:, axis, None])
            for axis, at in enumerate(_entries(field, positions))
        )
        return (down[:, :, None] & across[:, None, :])[..., None]

    return convnet.Inside(
        {n: lies_in(n, field, "maps") for n, field in cone.maps.items()},
        {n: lies_in(n, field, "output") for n, field in cone.outputs.items()},
    )


def _entries(field: geometry.Field, positions: np.ndarray) -> list[np.ndarray]:
    """Rows and columns that the units at `positions` [N, 2] see: two [N, size]."""
    return [
        field.first(axis, positions[:, axis, None]) + np.arange(field.size[axis])
        for axis in (0, 1)
    ]


def cut(image: np.ndarray, first, size: Pair) -> np.ndarray:
    """`size` pixels of the image from `first` on, zero where it has none."""
    cut = np.zeros((*size, image.shape[-1]), np.float32)
    (top, left), (height, width) = (int(n) for n in first), image.shape[:2]
    rows = slice(max(top, 0), max(min(top + size[0], height), 0))
    columns = slice(max(left, 0), max(min(left + size[1], width), 0))
    seen = image[rows, columns]
    row, column = rows.start - top, columns.start - left
    cut[row : row + seen.shape[0], column : column + seen.shape[1]] = seen
    return cut


@functools.partial(jax.jit, static_argnames=("net", "layer", "rule"))
def cut_trace(net: Spec, whole: convnet.Trace, positions, inside, *, layer, rule):
    """The traces of the units' cones, cut out of that of their image.

    Args:
      net: the net up to the units' layer.
      whole: the trace of one image, of the net's own size.
      positions: [N, 2] int, of the units in their maps.
      inside: of their cones, as `inside` gives it.
      layer: the units'.
      rule: of the deconvnet, which tells what of the maps is wanted.

    Returns:
      A `Trace` of N parts, as the cone's net gives it; outputs are zero.
    """
    cone, shapes = geometry.cone(net, layer), geometry.shapes(net)
    count = len(positions)

    def part(array, field: geometry.Field):
        *places, maps = array.shape[1:]
        least, most = _reach(field, shapes[layer].maps)
        padding = [
            (max(0, -low), max(0, high - n))
            for low, high, n in zip(least, most, places, strict=True)
        ]
        padded = jnp.pad(array[0], [*padding, (0, 0)])

        def of_unit(position):
            start = [
                field.first(axis, position[axis]) + padding[axis][0] for axis in (0, 1)
            ]
            return lax.dynamic_slice(padded, (*start, 0), (*field.size, maps))

        return lax.map(of_unit, positions)

    maps = {layer: part(whole.maps[layer], geometry.Field((1, 1), (1, 1), (0, 0)))}
    outputs, switches = {layer: maps[layer]}, {}
    for name, field in cone.maps.items():
        shape = count, *field.size, shapes[name].maps[-1]
        # The deconvnet's rule asks for no more than the shape.
        silent = jnp.zeros(shape, jnp.uint8)
        maps[name] = silent if rule == "deconvnet" else part(whole.maps[name], field)
    for name, field in cone.outputs.items():
        shape = count, *field.size, shapes[name].output[-1]
        outputs[name] = jnp.zeros(shape, jnp.uint8)
        if name in whole.switches:
            found = part(whole.switches[name], field)
            switches[name] = inside.only(name, found)
    images = part(whole.images, geometry.fields(net)[layer])
    return convnet.Trace(images, maps, outputs, switches)


def _reach(field: geometry.Field, maps: geometry.Shape):
    """The first entries that any unit of the maps sees, and the ends of the last."""
    least = [field.first(axis, 0) for axis in (0, 1)]
    most = [field.first(axis, maps[axis] - 1) + field.size[axis] for axis in (0, 1)]
    return least, most
