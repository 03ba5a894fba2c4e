"""Local response normalisation (section 3; Krizhevsky et al. 2012, section 3.3)."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from zf_jax.layers import LRN


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
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
    _, scale = _denominator(op, x)
    return x * scale


def _forward(op: LRN, x: jax.Array):
    return normalise(op, x), x


def _backward(op: LRN, x: jax.Array, cotangent: jax.Array):
    # Derived by JAX, the sums over neighbours would be spread out slice by slice, which
    # takes three to ten times as long on a CPU.
    total, scale = _denominator(op, x)
    after, before = _reach(op)
    inner = _sum_of_neighbours(cotangent * x * scale / total, before, after)
    return (cotangent * scale - 2 * op.alpha * op.beta * x * inner,)


normalise.defvjp(_forward, _backward)


def _denominator(op: LRN, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """k + alpha * sum of squares, and that to the power of -beta."""
    total = op.k + op.alpha * _sum_of_neighbours(jnp.square(x), *_reach(op))
    if op.beta == 0.75:
        # Two roots are several times cheaper than a power.
        root = lax.rsqrt(total)
        return total, root * jnp.sqrt(root)
    return total, total**-op.beta


def _reach(op: LRN) -> tuple[int, int]:
    """How many channels before and after a channel are its neighbours."""
    return (op.size - 1) // 2, op.size // 2


def _sum_of_neighbours(x: jax.Array, before: int, after: int) -> jax.Array:
    zero = jnp.zeros((), x.dtype)
    around = (*((0, 0, 0),) * (x.ndim - 1), (before, after, 0))
    padded, channels = lax.pad(x, zero, around), x.shape[-1]
    return sum(
        lax.slice_in_dim(padded, shift, shift + channels, axis=-1)
        for shift in range(before + after + 1)
    )
