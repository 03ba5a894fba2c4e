"""Seeds of projections: one activation of each image, all others zero (section 2.1)."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from zf_jax import xla
from zf_jax.errors import BadInput


def isolate(
    maps: jax.Array,
    *,
    channel: jax.Array | int,
    position: jax.Array | tuple[int, int] | None = None,
) -> jax.Array:
    """The seed of a projection: one activation of each image, all others zero.

    Args:
      maps: [N, H, W, C], or [N, D] of a dense layer: `trace.maps[layer]`.
      channel: the channel (of a dense layer: the unit) in each image, [N] int, or one
        for all.
      position: (row, column) in the map, [N, 2] int, or one pair for all; by default
        the map's maximum, the first in row order. Dense layers have none.

    Returns:
      An array of the maps' shape and dtype, which holds the activation's own value.

    Raises:
      BadInput: a channel or position has another shape, or lies outside of the maps
        (only checked where it is not traced).
    """
    return _isolate(maps, *check(maps.shape, channel, position))


def check(
    shape: tuple[int, ...], channel, position=None
) -> tuple[jax.Array, jax.Array | None]:
    """The unit of each image, as `isolate` takes them: [N], and [N, 2] or None.

    Raises:
      BadInput: as of `isolate`, for maps of this shape.
    """
    count, *size, channels = shape
    channel = _each("channel", channel, count, (channels,))[:, 0]
    if position is not None:
        if not size:
            raise BadInput("position: a dense layer has none, give the channel alone")
        position = _each("position", position, count, tuple(size))
    return channel, position


@xla.jit
def _isolate(maps: jax.Array, channel: jax.Array, position: jax.Array | None):
    count, *size, _ = maps.shape
    images = jnp.arange(count)
    if not size:
        at = images, channel
    elif position is None:
        chosen = maps[images, :, :, channel].reshape(count, math.prod(size))
        at = images, *jnp.unravel_index(chosen.argmax(axis=1), size), channel
    else:
        at = images, *position.T, channel
    return jnp.zeros_like(maps).at[at].set(maps[at])


def _each(name: str, index, count: int, sizes: tuple[int, ...]) -> jax.Array:
    """Checks an index, given for each image or once for all: [count, len(sizes)]."""
    index = index if isinstance(index, jax.core.Tracer) else np.asarray(index)
    one = () if name == "channel" else (len(sizes),)
    if index.shape not in (one, (count, *one)):
        raise BadInput(f"{name} of shape {index.shape}: give {one} or {(count, *one)}")
    index = index.reshape(-1, len(sizes))
    for axis, size in enumerate(sizes):
        # A traced index has no value that could be checked.
        if isinstance(index, np.ndarray):
            wrong = index[(index[:, axis] < 0) | (index[:, axis] >= size), axis]
            if len(wrong):
                raise BadInput(f"{name} {wrong[0]}: the maps have 0 to {size - 1}")
    return jnp.broadcast_to(jnp.asarray(index), (count, len(sizes)))
