"""What training draws at random for each image: dropout, and which image is mirrored.

An image's random bits are a function of the key and of its position in the whole batch.
So they do not depend on how many devices or hosts share the batch, nor on the parts
that it is computed in.
"""

import jax
import jax.numpy as jnp


def dropout(
    key: jax.Array, x: jax.Array, positions: jax.Array, *, rate: float
) -> jax.Array:
    """Sets entries to zero with probability `rate`, scales the rest by 1 / (1 - rate).

    Args:
      key: a typed key.
      x: [N, ...] float.
      positions: [N] int32, of the images in the whole batch.
      rate: in 0..1, 1 excluded.

    Returns:
      An array of x's shape and dtype.
    """
    kept = jax.vmap(lambda each: jax.random.bernoulli(each, 1 - rate, x.shape[1:]))(
        _keys(key, positions)
    )
    return jnp.where(kept, x / (1 - rate), 0)


def mirror(key: jax.Array, images: jax.Array, positions: jax.Array) -> jax.Array:
    """Mirrors each image left to right with probability 1/2.

    Args:
      key: a typed key.
      images: [N, H, W, C].
      positions: [N] int32, of the images in the whole batch.

    Returns:
      An array of the images' shape and dtype.
    """
    mirrored = jax.vmap(jax.random.bernoulli)(_keys(key, positions))
    return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def _keys(key: jax.Array, positions: jax.Array) -> jax.Array:
    """A key for each image."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, positions)
