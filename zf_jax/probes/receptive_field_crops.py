"""Parts of images and traces: what the units of a layer are projected from."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax import convnet, geometry, xla
from zf_jax.layers import Pair
from zf_jax.spec import Spec


def valid_mask(
    net: Spec, cone: geometry.Crop, sizes: list[Pair], positions: np.ndarray
) -> convnet.ValidMask:
    """What of the units' cones lies in images of these sizes, and in their maps.

    Args:
      net: the net up to the units' layer.
      cone: of that layer.
      sizes: (rows, columns) of each unit's image.
      positions: [N, 2] int, of the units in their maps.
    """
    shapes = {size: geometry.shapes(net, size) for size in set(sizes)}

    def lies_in(name: str, field: geometry.Field, kind: str) -> np.ndarray:
        ends = {size: getattr(each[name], kind)[:2] for size, each in shapes.items()}
        ends = np.array([ends[size] for size in sizes])
        down, across = (
            (at >= 0) & (at < ends[:, axis, None])
            for axis, at in enumerate(_entries(field, positions))
        )
        return (down[:, :, None] & across[:, None, :])[..., None]

    return convnet.ValidMask(
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


def kept(net: Spec, trace: convnet.Trace, rule) -> convnet.Trace:
    """What the deconvnet asks of a trace: the rest is left out, and so not computed.

    Args:
      net: the net up to the units' layer.
      trace: of it.
      rule: of the deconvnet. Its own asks for the switches alone, "guided" for where a
        map is active too, "gradient" for the maps.

    Returns:
      A trace without images and outputs, with the switches of the layers below the
      last one, and with maps for some rules alone, bool for "guided".
    """
    lower = [layer.name for layer in net.layers[:-1]]
    switches = {n: trace.switches[n] for n in lower if n in trace.switches}
    maps = {} if rule == "deconvnet" else trace.maps
    if rule == "guided":
        maps = {name: each > 0 for name, each in maps.items()}
    return convnet.Trace(None, maps, {}, switches)


def filled(net: Spec, trace: convnet.Trace, count: int) -> convnet.Trace:
    """A trace for the deconvnet, with zeros for what `kept` left out.

    Args:
      net: of the images' own size.
      trace: of `count` images.
      count: how many they are.
    """

    def silent(shape: geometry.Shape) -> jax.Array:
        return jnp.zeros((count, *shape))

    shapes, images = geometry.shapes(net), trace.images
    if images is None:
        images = silent((*net.input.size, net.input.channels))
    maps = {name: silent(each.maps) for name, each in shapes.items()}
    outputs = {name: silent(each.output) for name, each in shapes.items()}
    return convnet.Trace(images, maps | trace.maps, outputs, trace.switches)


@functools.partial(xla.jit, static_argnames=("net", "layer"))
def cut_traces(
    net: Spec, wholes: Sequence[convnet.Trace], positions, valid, *, layer
) -> convnet.Trace:
    """The traces of the units' cones, cut out of those of their images.

    Args:
      net: the net up to the units' layer.
      wholes: N traces of one image each, of the net's own size, as `kept` leaves them.
      positions: [N, 2] int, of the units in their maps.
      valid: of the crops, as `valid_mask` gives it; None takes the traces as they are.
      layer: the units'.

    Returns:
      A trace of N parts, as the cone's net gives it.
    """
    lower = [each.name for each in net.layers[:-1]]
    fields = None if valid is None else geometry.receptive_field_crop(net, layer)
    last = geometry.shapes(net)[layer].maps

    def joined(arrays, field: geometry.Field | None) -> jax.Array:
        if field is not None:
            both = zip(arrays, positions, strict=True)
            arrays = [_part(array, field, at, last) for array, at in both]
        return jnp.concatenate(arrays)

    maps, switches = {}, {}
    # In order: what is compiled is the same in every process, and so found again.
    for name in sorted(wholes[0].maps.keys() & {*lower, layer}):
        unit = geometry.Field((1, 1), (1, 1), (0, 0))
        field = fields and fields.maps.get(name, unit)
        maps[name] = joined([each.maps[name] for each in wholes], field)
    for name in sorted(wholes[0].switches.keys() & {*lower}):
        field = fields and fields.outputs[name]
        found = joined([each.switches[name] for each in wholes], field)
        switches[name] = found if valid is None else valid.mask_switches(name, found)
    return convnet.Trace(None, maps, {}, switches)


def _part(array, field: geometry.Field, position, last: geometry.Shape) -> jax.Array:
    """What the unit at `position` of the `last` maps sees of [1, H, W, C]."""
    # The first entries that any unit sees, and the ends of what the last ones do.
    padding = [
        (
            max(0, -field.first(axis, 0)),
            max(0, field.first(axis, last[axis] - 1) + field.size[axis] - n),
        )
        for axis, n in enumerate(array.shape[1:3])
    ]
    padded = jnp.pad(array, [(0, 0), *padding, (0, 0)])
    start = [field.first(axis, position[axis]) + padding[axis][0] for axis in (0, 1)]
    return lax.dynamic_slice(padded, (0, *start, 0), (1, *field.size, array.shape[3]))
