"""The top k of each channel as a commutative monoid: `empty` and `merge`.

All of them are functions of arrays, to be used within `jax.jit` and other transforms.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class TopK(NamedTuple):
    """The k images that excite each channel of a layer most, strongest first.

    Every image counts once in a channel, with its strongest position. Images with equal
    values stand in the order of the data set. Where there are fewer than k images, the
    remaining entries have the value -inf and the image -1.

    Attributes:
      values: [C, K] float32, the activations.
      images: [C, K] int32, index in the data set.
      positions: [C, K, 2] int32, (row, column) in the map; 0 for dense layers.
    """

    values: jax.Array
    images: jax.Array
    positions: jax.Array


def empty(channels: int, k: int) -> TopK:
    """The neutral element of `merge`: no image seen."""
    return TopK(
        jnp.full((channels, k), -jnp.inf, jnp.float32),
        jnp.full((channels, k), -1, jnp.int32),
        jnp.zeros((channels, k, 2), jnp.int32),
    )


def of_batch(maps: jax.Array, images: jax.Array) -> TopK:
    """Every image of a batch with its strongest position in each channel.

    Args:
      maps: [N, H, W, C] or [N, D].
      images: [N] int, each image's index in the data set; -1 for an entry that only
        fills up the batch.
    """
    count, *size, channels = maps.shape
    flat = maps.astype(jnp.float32).reshape(count, -1, channels)
    values = jnp.where((images >= 0)[:, None], flat.max(axis=1), -jnp.inf)
    at = jnp.unravel_index(flat.argmax(axis=1), tuple(size) if size else (1, 1))
    positions = jnp.stack(at, axis=-1).astype(jnp.int32)
    images = jnp.broadcast_to(images.astype(jnp.int32), (channels, count))
    return TopK(values.T, images, positions.swapaxes(0, 1))


def merge(one: TopK, other: TopK, k: int) -> TopK:
    """The k strongest of both."""
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), one, other)
    values, images, rows, columns = lax.sort(
        (-both.values, both.images, both.positions[..., 0], both.positions[..., 1]),
        num_keys=2,
    )
    return TopK(
        -values[:, :k], images[:, :k], jnp.stack([rows, columns], axis=-1)[:, :k]
    )


def step(
    best: dict[str, TopK], maps: dict[str, jax.Array], images: jax.Array
) -> dict[str, TopK]:
    """The top k of every layer, a batch later.

    Args:
      best: so far, of the layers that count; first `empty`, which says how many are
        kept.
      maps: of the batch, each as `of_batch` takes them; of other layers, too.
      images: [N] int, as `of_batch` takes them.
    """
    return {
        name: merge(each, of_batch(maps[name], images), each.values.shape[1])
        for name, each in best.items()
    }
