"""Normalisations, as they are in inference."""

import jax.numpy as jnp
from jax import lax

from zf_jax.errors import BadInput
from zf_jax.pretrained.onnx_ops.table import Array, Node, operation


@operation("BatchNormalization")
def batch_normalization(
    node: Node, x: Array, gain: Array, shift: Array, mean: Array, variance: Array
) -> Array:
    """Each channel of [N, C, ...] by the mean and the variance of training."""
    if node.get("training_mode", 0):
        raise BadInput("is in training mode; export the model in inference mode")
    # One multiplication and one addition an entry.
    gain = gain * lax.rsqrt(variance + jnp.asarray(node.get("epsilon", 1e-5), x.dtype))
    shape = (1, -1, *(1,) * (x.ndim - 2))
    return x * gain.reshape(shape) + (shift - mean * gain).reshape(shape)
