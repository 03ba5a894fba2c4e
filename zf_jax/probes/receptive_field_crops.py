"""Receptive-field crops of images and traces (`geometry.Crop` tells what a crop is).

A unit is projected from the crop that it sees. The crop is cut out of the image
(`crop_with_zeros`) or, where the whole image's forward pass was computed, out of its
trace (`cut_traces`).
"""

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
    net: Spec, crop: geometry.Crop, sizes: list[Pair], positions: np.ndarray
) -> convnet.ValidMask:
    """Which entries of the units' crops lie in their images' maps.

    `sizes` are the rows and columns of each unit's image, `positions` [N, 2] int those
    of the units in their maps.
    """
    shapes = {size: geometry.shapes(net, size) for size in set(sizes)}

    def mask(name: str, field: geometry.ReceptiveField, part: str) -> np.ndarray:
        ends = {size: getattr(each[name], part)[:2] for size, each in shapes.items()}
        ends = np.array([ends[size] for size in sizes])
        down, across = (
            (at >= 0) & (at < ends[:, axis, None])
            for axis, at in enumerate(_entries(field, positions))
        )
        return (down[:, :, None] & across[:, None, :])[..., None]

    return convnet.ValidMask(
        {n: mask(n, field, "maps") for n, field in crop.maps.items()},
        {n: mask(n, field, "output") for n, field in crop.outputs.items()},
    )


def _entries(field: geometry.ReceptiveField, positions: np.ndarray) -> list[np.ndarray]:
    """The rows and columns that units at `positions` [N, 2] see, two [N, size]."""
    return [
        field.first(axis, positions[:, axis, None]) + np.arange(field.size[axis])
        for axis in (0, 1)
    ]


def crop_with_zeros(image: np.ndarray, first, size: Pair) -> np.ndarray:
    """`size` pixels of the image from `first` on, zero where the image has none."""
    cut = np.zeros((*size, image.shape[-1]), np.float32)
    (top, left), (height, width) = (int(n) for n in first), image.shape[:2]
    rows = slice(max(top, 0), max(min(top + size[0], height), 0))
    columns = slice(max(left, 0), max(min(left + size[1], width), 0))
    seen = image[rows, columns]
    row, column = rows.start - top, columns.start - left
    cut[row : row + seen.shape[0], column : column + seen.shape[1]] = seen
    return cut


def prune_trace(net: Spec, trace: convnet.Trace, rule) -> convnet.Trace:
    """The part of a trace that the backward pass needs; the rest is not computed.

    Args:
      net: the net up to the units' layer.
      trace: the net's.
      rule: of the backward pass. "deconvnet" needs the switches alone, "guided" where a
        map is active too, "gradient" the maps.

    Returns:
      A trace without images and outputs. It has the switches of the layers below the
      last one, and maps only for some rules, bool for "guided".
    """
    lower = [layer.name for layer in net.layers[:-1]]
    switches = {n: trace.switches[n] for n in lower if n in trace.switches}
    maps = {} if rule == "deconvnet" else trace.maps
    if rule == "guided":
        maps = {name: each > 0 for name, each in maps.items()}
    return convnet.Trace(None, maps, {}, switches)


def with_zeros(net: Spec, trace: convnet.Trace, count: int) -> convnet.Trace:
    """A trace of `count` images, with zeros for what `prune_trace` left out."""

    def zeros(shape: geometry.Shape) -> jax.Array:
        return jnp.zeros((count, *shape))

    shapes, images = geometry.shapes(net), trace.images
    if images is None:
        images = zeros((*net.input.size, net.input.channels))
    maps = {name: zeros(each.maps) for name, each in shapes.items()}
    outputs = {name: zeros(each.output) for name, each in shapes.items()}
    return convnet.Trace(images, maps | trace.maps, outputs, trace.switches)


@functools.partial(xla.jit, static_argnames=("net", "layer"))
def cut_traces(
    net: Spec, image_traces: Sequence[convnet.Trace], positions, valid, *, layer
) -> convnet.Trace:
    """The traces of the units' crops, cut out of the traces of whole images.

    Args:
      net: the net up to the units' layer.
      image_traces: N traces of one image each, of the net's own size, as `prune_trace`
        leaves them.
      positions: [N, 2] int, of the units in their maps.
      valid: of the crops, as `valid_mask` gives it; None takes the traces as they are.
      layer: the units' layer.

    Returns:
      A trace of N crops, as the crop's net gives it.
    """
    lower = [each.name for each in net.layers[:-1]]
    fields = None if valid is None else geometry.receptive_field_crop(net, layer)
    last = geometry.shapes(net)[layer].maps

    def joined(arrays, field: geometry.ReceptiveField | None) -> jax.Array:
        if field is not None:
            both = zip(arrays, positions, strict=True)
            arrays = [_part(array, field, at, last) for array, at in both]
        return jnp.concatenate(arrays)

    maps, switches = {}, {}
    # Sorted, so that every process compiles the same and finds it in the cache.
    for name in sorted(image_traces[0].maps.keys() & {*lower, layer}):
        unit = geometry.ReceptiveField((1, 1), (1, 1), (0, 0))
        field = fields and fields.maps.get(name, unit)
        maps[name] = joined([each.maps[name] for each in image_traces], field)
    for name in sorted(image_traces[0].switches.keys() & {*lower}):
        field = fields and fields.outputs[name]
        found = joined([each.switches[name] for each in image_traces], field)
        switches[name] = found if valid is None else valid.mask_switches(name, found)
    return convnet.Trace(None, maps, {}, switches)


def _part(
    array, field: geometry.ReceptiveField, position, last: geometry.Shape
) -> jax.Array:
    """The part of [1, H, W, C] that the unit at `position` of the `last` maps sees."""
    # How far the first units see ahead of the array, and the last ones beyond it.
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
