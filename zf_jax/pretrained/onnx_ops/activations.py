"""Nonlinearities, as the functions of `jax.nn` where that has them.

A transform recognises rectifiers and gates by these functions' equations.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax.pretrained.onnx_ops.broadcasting import same_rank
from zf_jax.pretrained.onnx_ops.table import (
    Node,
    is_numpy,
    numpy_of,
    operation,
)


@operation("Relu")
def relu(node: Node, x):
    """max(x, 0)."""
    return jax.nn.relu(x)


@operation("LeakyRelu")
def leaky_relu(node: Node, x):
    """x, times `alpha` where x is negative."""
    return jax.nn.leaky_relu(x, node.get("alpha", 0.01))


@operation("PRelu")
def prelu(node: Node, x, slope):
    """x, times the slope where x is negative."""
    x, slope = same_rank(x, slope)
    return jnp.where(x >= 0, x, slope * x)


@operation("Elu")
def elu(node: Node, x):
    """x, and alpha (exp(x) - 1) where x is negative."""
    return jax.nn.elu(x, node.get("alpha", 1.0))


@operation("Selu")
def selu(node: Node, x):
    """An ELU times `gamma`."""
    # ONNX's own defaults have more digits than float32.
    alpha = node.get("alpha", 1.67326319217681884765625)
    gamma = node.get("gamma", 1.05070102214813232421875)
    return gamma * jax.nn.elu(x, alpha)


@operation("Celu")
def celu(node: Node, x):
    """max(x, 0) + min(0, alpha (exp(x / alpha) - 1))."""
    return jax.nn.celu(x, node.get("alpha", 1.0))


@operation("ThresholdedRelu")
def thresholded_relu(node: Node, x):
    """x where it is greater than `alpha`, else 0."""
    return jnp.where(x > node.get("alpha", 1.0), x, jnp.zeros_like(x))


@operation("Shrink")
def shrink(node: Node, x):
    """x moved towards 0 by `bias`, and 0 within `lambd` of it."""
    bias, bound = node.get("bias", 0.0), node.get("lambd", 0.5)
    moved = x - jnp.sign(x) * np.asarray(bias, x.dtype)
    return jnp.where(abs(x) > bound, moved, jnp.zeros_like(x)).astype(x.dtype)


@operation("Clip")
def clip(node: Node, x, low=None, high=None):
    """x between two bounds, that were attributes before opset 11.

    A lower bound of 0 is a ReLU: with it, a jaxpr shows ReLU6 as `jax.nn.relu6` does.
    """
    if node.opset < 11:
        low, high = node.get("min"), node.get("max")
    if low is not None:
        zero = is_numpy(low) and not np.any(low)
        x = jax.nn.relu(x) if zero else _bound(x, low, "maximum")
    return x if high is None else _bound(x, high, "minimum")


def _bound(x, bound, name: str):
    bound = np.asarray(bound, x.dtype) if is_numpy(bound) else bound
    return getattr(numpy_of(x, bound), name)(x, bound.reshape(()))


@operation("Sigmoid")
def sigmoid(node: Node, x):
    """1 / (1 + exp(-x))."""
    return jax.nn.sigmoid(x)


@operation("HardSigmoid")
def hard_sigmoid(node: Node, x):
    """max(0, min(1, alpha x + beta))."""
    return _hard_sigmoid(x, node.get("alpha", 0.2), node.get("beta", 0.5))


def _hard_sigmoid(x, alpha: float, beta: float):
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return jax.nn.hard_sigmoid(x)
    return jnp.clip(x * np.asarray(alpha, x.dtype) + np.asarray(beta, x.dtype), 0, 1)


@operation("HardSwish")
def hard_swish(node: Node, x):
    """x times its hard sigmoid of slope 1/6."""
    return jax.nn.hard_silu(x)


@operation("Swish")
def swish(node: Node, x):
    """x times the sigmoid of alpha x."""
    alpha = node.get("alpha", 1.0)
    if alpha == 1.0:
        return jax.nn.silu(x)
    return x * jax.nn.sigmoid(x * np.asarray(alpha, x.dtype))


@operation("Gelu")
def gelu(node: Node, x):
    """x times the normal distribution's function of x, or its approximation by tanh."""
    return jax.nn.gelu(x, approximate=node.get("approximate", "none") == "tanh")


@operation("Mish")
def mish(node: Node, x):
    """x times tanh(softplus(x))."""
    return jax.nn.mish(x)


@operation("Softplus")
def softplus(node: Node, x):
    """log(1 + exp(x))."""
    return jax.nn.softplus(x)


@operation("Softsign")
def softsign(node: Node, x):
    """x / (1 + |x|)."""
    return jax.nn.soft_sign(x)


@operation("Tanh")
def tanh(node: Node, x):
    """The hyperbolic tangent."""
    return jnp.tanh(x)


@operation("Erf")
def erf(node: Node, x):
    """The error function."""
    return lax.erf(jnp.asarray(x))


@operation("Softmax")
def softmax(node: Node, x):
    """Normalised exponentials along an axis."""
    return jax.nn.softmax(x, axis=_softmax_axes(node, x))


@operation("LogSoftmax")
def log_softmax(node: Node, x):
    """The softmax' logarithm."""
    return jax.nn.log_softmax(x, axis=_softmax_axes(node, x))


@operation("Hardmax")
def hardmax(node: Node, x):
    """1 at the first of the greatest entries of an axis, else 0."""
    axes = _softmax_axes(node, x)
    first, last = axes[0], axes[-1] + 1
    length = math.prod(x.shape[first:last])
    flat = x.reshape((*x.shape[:first], length, *x.shape[last:]))
    best = jnp.argmax(flat, first)
    ones = jax.nn.one_hot(best, length, dtype=x.dtype, axis=first)
    return ones.reshape(x.shape)


def _softmax_axes(node: Node, x) -> tuple[int, ...]:
    """Since opset 13, one axis; before, that axis and all after it as one."""
    rank = np.ndim(x)
    if node.opset >= 13:
        return (node.get("axis", -1) % rank,)
    return tuple(range(node.get("axis", 1) % (rank + 1), rank))
