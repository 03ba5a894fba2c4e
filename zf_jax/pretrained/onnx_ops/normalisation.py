"""Normalisations, as they are in inference."""

import jax
import jax.numpy as jnp
import numpy as np
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
    gain = gain * lax.rsqrt(variance + np.asarray(_epsilon(node), variance.dtype))
    shift = shift - mean * gain
    return (x * _by_channel(gain, x) + _by_channel(shift, x)).astype(x.dtype)


@operation("InstanceNormalization")
def instance_normalization(node: Node, x: Array, gain: Array, shift: Array) -> Array:
    """Each channel of each image by its own mean and variance."""
    found = _standardised(x, tuple(range(2, x.ndim)), _epsilon(node))[0]
    return found * _by_channel(gain, x) + _by_channel(shift, x)


@operation("GroupNormalization")
def group_normalization(node: Node, x: Array, gain: Array, shift: Array) -> Array:
    """Groups of channels of each image; before opset 21 one gain a group."""
    images, channels, *rest = x.shape
    groups = node.get("num_groups")
    parted = x.reshape(images, groups, channels // groups, *rest)
    axes = tuple(range(2, parted.ndim))
    found = _standardised(parted, axes, _epsilon(node))[0]
    if node.opset < 21:
        found = found * _by_channel(gain, found) + _by_channel(shift, found)
        return found.reshape(x.shape)
    return found.reshape(x.shape) * _by_channel(gain, x) + _by_channel(shift, x)


@operation("LayerNormalization")
def layer_normalization(
    node: Node, x: Array, gain: Array, shift: Array | None = None
) -> tuple[Array, Array, Array]:
    """All axes from `axis` on; the mean and 1 / standard deviation are outputs too."""
    axes = tuple(range(node.get("axis", -1) % x.ndim, x.ndim))
    found, mean, inverse = _standardised(x, axes, _epsilon(node))
    out = found * _last_axes(gain, x)
    out = out if shift is None else out + _last_axes(shift, x)
    return out.astype(x.dtype), mean, inverse


@operation("RMSNormalization")
def rms_normalization(node: Node, x: Array, gain: Array) -> Array:
    """All axes from `axis` on, by the root of their mean square."""
    axes = tuple(range(node.get("axis", -1) % x.ndim, x.ndim))
    square = jnp.mean(jnp.square(x), axis=axes, keepdims=True)
    return (x * lax.rsqrt(square + _epsilon(node)) * _last_axes(gain, x)).astype(
        x.dtype
    )


@operation("MeanVarianceNormalization")
def mean_variance_normalization(node: Node, x: Array) -> Array:
    """By the mean and the standard deviation along `axes`."""
    # In ONNX's definition of the operation it is no attribute.
    epsilon = 1e-9
    return _standardised(x, tuple(node.get("axes", (0, 2, 3))), epsilon)[0]


@operation("LpNormalization")
def lp_normalization(node: Node, x: Array) -> Array:
    """By the 1-norm or 2-norm along `axis`; zeros stay zeros."""
    norm = jnp.linalg.norm(x, node.get("p", 2), node.get("axis", -1), keepdims=True)
    return jnp.where(norm == 0, 0, x / jnp.where(norm == 0, 1, norm))


@operation("LRN")
def lrn(node: Node, x: Array) -> Array:
    """Each entry by a power of the sum of squares of the channels around it."""
    size = node.get("size")
    before = (size - 1) // 2
    inner = x.ndim - 2
    sums = lax.reduce_window(
        jnp.square(x),
        np.zeros((), x.dtype),
        lax.add,
        (1, size, *(1,) * inner),
        (1,) * x.ndim,
        ((0, 0), (before, size - 1 - before), *((0, 0),) * inner),
    )
    alpha, beta = node.get("alpha", 1e-4), node.get("beta", 0.75)
    return x / (node.get("bias", 1.0) + alpha / size * sums) ** beta


def _epsilon(node: Node) -> float:
    return node.get("epsilon", 1e-5)


def _standardised(
    x: Array, axes: tuple[int, ...], epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """x minus its mean along the axes, over its deviation; the mean; 1 / deviation."""
    mean = jnp.mean(x, axis=axes, keepdims=True)
    inverse = lax.rsqrt(jnp.var(x, axis=axes, keepdims=True) + epsilon)
    return (x - mean) * inverse, mean, inverse


def _by_channel(value: Array, x: Array) -> Array:
    """[C] for [N, C, ...]."""
    return value.reshape(1, -1, *(1,) * (x.ndim - 2))


def _last_axes(value: Array, x: Array) -> Array:
    """The value with leading axes of length 1."""
    return value.reshape((1,) * (x.ndim - value.ndim) + value.shape)
