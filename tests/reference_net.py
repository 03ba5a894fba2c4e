"""An independent net to compare with: JAX's own operations, none of `zf_jax.ops`.

Max pooling is `lax.reduce_window` (whose gradient is select_and_scatter_add), LRN is
Krizhevsky's formula as a matrix, and the gradient of the ReLU is replaced by a rule
(Simonyan et al. 2013, section 4).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax.layers import LRN, Conv, Dense, Flatten, Pool, Relu


def make_relu(rule: str):
    @jax.custom_vjp
    def relu(x):
        return jax.nn.relu(x)

    def backward(x, signal):
        if rule == "deconvnet":
            return (jnp.maximum(signal, 0),)
        if rule == "guided":
            return (jnp.maximum(signal, 0) * (x > 0),)
        return (signal * (x > 0),)

    relu.defvjp(lambda x: (relu(x), x), backward)
    return relu


def lrn_by_band(op: LRN, x):
    """Krizhevsky et al. 2012, section 3.3: a band matrix sums the neighbours."""
    channels = np.arange(x.shape[-1])
    band = np.abs(np.subtract.outer(channels, channels)) <= op.size // 2
    total = x**2 @ band.astype(np.float32)
    return x / (op.k + op.alpha * total) ** op.beta


def straight_through(op: LRN, x):
    """LRN in the forward pass, the identity in the backward pass."""
    return x + lax.stop_gradient(lrn_by_band(op, x) - x)


def apply(net, params, x, *, rule: str = "gradient", lrn: str = "gradient"):
    """Each layer's maps and outputs, by name."""
    relu, maps, outputs = make_relu(rule), {}, {}
    normalise = lrn_by_band if lrn == "gradient" else straight_through
    for layer in net.layers:
        kernel, bias = params[layer.name]["kernel"], params[layer.name]["bias"]
        for op in layer.ops:
            if isinstance(op, Conv):
                x = lax.conv_general_dilated(
                    x,
                    kernel,
                    op.stride,
                    op.padding,
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                    feature_group_count=op.groups,
                )
                x = x + bias[None, None, None]
            elif isinstance(op, Dense):
                x = x @ kernel + bias[None]
            elif isinstance(op, Flatten):
                x = x.reshape(len(x), -1)
            elif isinstance(op, Relu):
                x = relu(x)
            elif isinstance(op, LRN):
                x = normalise(op, x)
            elif isinstance(op, Pool):
                window, steps = (1, *op.size, 1), (1, *op.stride, 1)
                padding = ((0, 0), *op.padding, (0, 0))
                x = lax.reduce_window(x, -jnp.inf, lax.max, window, steps, padding)
            if op is layer.ops_to_maps[-1]:
                maps[layer.name] = x
        outputs[layer.name] = x
    return maps, outputs
