"""Local response normalisation (section 3; Krizhevsky et al. 2012, section 3.3)."""

import jax
import jax.numpy as jnp
from jax import lax

from zf_jax.layers import LRN


def normalise(op: LRN, x: jax.Array) -> jax.Array:
    """x / (k + alpha * sum of the neighbouring channels' squares)^beta.

    The neighbours of channel i are the channels from i - (size - 1) // 2 to
    i + size // 2 that exist, as in ONNX.

    Args:
      op: the constants.
      x: [..., C], float.

    Returns:
      An array of x's shape and dtype.
    """
    before, after = (op.size - 1) // 2, op.size // 2
    square = jnp.square(x)
    padded = lax.pad(
        square,
        jnp.zeros((), x.dtype),
        (*((0, 0, 0),) * (x.ndim - 1), (before, after, 0)),
    )
    channels = x.shape[-1]
    nearby = sum(
        lax.slice_in_dim(padded, shift, shift + channels, axis=-1)
        for shift in range(op.size)
    )
    total = op.k + op.alpha * nearby
    if op.beta == 0.75:
        # Two roots are several times cheaper than a power.
        root = lax.rsqrt(total)
        return x * root * jnp.sqrt(root)
    return x * total**-op.beta
