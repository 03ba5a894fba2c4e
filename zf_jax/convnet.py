"""The convnet: images to logits, and to everything the deconvnet needs (section 2)."""

import functools
import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from zf_jax import geometry, xla
from zf_jax.errors import BadInput
from zf_jax.layers import LRN, Conv, Dense, Dropout, Flatten, Layer, Op, Pool, Relu
from zf_jax.ops import conv, lrn, pooling, stochastic
from zf_jax.spec import Input, Spec
from zf_jax.transforms import gates


class Trace(NamedTuple):
    """All that a forward pass computed; the dicts have one entry for each layer.

    Under jit, what the caller does not use is not computed.

    Attributes:
      images: [N, H, W, C], the net's input.
      maps: each layer's feature maps, rectified and before pooling, [N, H', W', maps]
        or [N, units]; the last layer's are the logits.
      outputs: what the next layer sees.
      switches: uint8 in the shape of the pooled maps, for layers with a pool only.
    """

    images: jax.Array
    maps: dict[str, jax.Array]
    outputs: dict[str, jax.Array]
    switches: dict[str, jax.Array]


class ValidMask(NamedTuple):
    """Which entries of maps are real, where images are padded to a common size.

    What lies beyond an image's own maps is padding: it never wins in a pool, and is
    zero for a filter.

    Attributes:
      maps: [N, H', W', 1] bool by layer: true for entries of the layer's maps.
      outputs: the same for its outputs.
    """

    maps: dict[str, jax.Array]
    outputs: dict[str, jax.Array]


class Filter(nn.Module):
    """One layer's filters and biases."""

    op: Conv | Dense
    kernel_shape: tuple[int, ...]
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", self.kernel_init, self.kernel_shape)
        bias = self.param("bias", nn.initializers.zeros, self.kernel_shape[-1:])
        filtered = conv.conv(self.op, x, kernel.astype(x.dtype))
        # The bias's leading axes are spelled out: no rank is promoted silently.
        return filtered + bias.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


class ConvNet(nn.Module):
    """The forward pass of a `Spec`.

    Attributes:
      net: the architecture.
      dtype: of the computation, float32 or bfloat16; parameters stay float32.
      kernel_init: of the weights; biases start at 0 (section 3: 10^-2, read as the
        standard deviation of a normal distribution, since a constant would not break
        symmetry).
    """

    net: Spec
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.01)

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        *,
        train: bool = False,
        positions: jax.Array | None = None,
        valid: ValidMask | None = None,
    ) -> tuple[jax.Array, Trace]:
        """Logits and trace of a batch.

        Args:
          images: [N, H, W, C] float, as `prepare` gives them.
          train: applies dropout, with the random stream "dropout".
          positions: [N] int32, of the images in the whole batch of a training step,
            which choose the random bits of each; None where these are all of it.
          valid: which entries of the maps are no padding; None where all are real.

        Returns:
          logits: [N, L] float32 (of the net's last layer, whatever it is).
          trace: in the dtype of the computation, except for its images.

        Raises:
          BadInput: the images' shape does not suit the net.
        """
        if images.ndim != 4 or images.shape[-1] != self.net.input.channels:
            raise BadInput(
                f"images of shape {images.shape}: {self.net.name} takes [N, H, W, "
                f"{self.net.input.channels}], channels last"
            )
        geometry.shapes(self.net, images.shape[1:3])
        kernels = geometry.parameter_shapes(self.net)
        trace = Trace(images, {}, {}, {})
        x = images.astype(self.dtype)
        if not train:
            positions = None
        elif positions is None:
            positions = jnp.arange(len(images))
        for layer in self.net.layers:
            for op in layer.ops_to_maps:
                if isinstance(op, Conv | Dense):
                    kernel_shape, _ = kernels[layer.name]
                    x = Filter(op, kernel_shape, self.kernel_init, name=layer.name)(x)
                else:
                    x = self._apply(op, x, layer, trace, positions)
            x = checkpoint_name(x, layer.name)
            trace.maps[layer.name] = x
            for op in layer.ops_after_maps:
                if isinstance(op, Pool) and valid and layer.name in valid.maps:
                    x = jnp.where(valid.maps[layer.name], x, -jnp.inf)
                x = self._apply(op, x, layer, trace, positions)
            if valid and layer.name in valid.outputs:
                x = jnp.where(valid.outputs[layer.name], x, 0)
            trace.outputs[layer.name] = x
        return x.astype(jnp.float32), trace

    def _apply(self, op: Op, x, layer: Layer, trace: Trace, positions):
        """One op; dropout only where there are positions."""
        match op:
            case Relu():
                return jax.nn.relu(x)
            case Pool():
                x, trace.switches[layer.name] = _marked_pool(op)(x)
                return x
            case LRN():
                return _marked_lrn(op)(x)
            case Dropout():
                if positions is None:
                    return x
                key = self.make_rng("dropout")
                return stochastic.dropout(key, x, positions, rate=op.rate)
            case Flatten():
                return x.reshape(len(x), math.prod(x.shape[1:]))


# The backward rules of the two are the default of `deconvnet.reconstruct`, so that
# `rectify` gives its projections. Every other use of the net has their derivatives.
@functools.cache
def _marked_pool(op: Pool):
    """`pooling.pool`, in a jaxpr recognisable as max pooling with switches."""
    around = ((0, 0), *op.padding, (0, 0))
    gate = gates.max_pool((1, *op.size, 1), (1, *op.stride, 1), around)
    return gates.mark(gate, functools.partial(pooling.pool, op))


@functools.cache
def _marked_lrn(op: LRN):
    """`lrn.normalise`, which lets a deconvnet's signal pass unchanged."""
    function = functools.partial(lrn.normalise, op)
    return gates.mark(gates.identity(str(op), function), function)


def prepare(images: jax.Array, given: Input) -> jax.Array:
    """Pixels as a net takes them: (pixels - mean) * scale.

    Args:
      images: [..., C] of any real dtype, RGB pixels in 0..255.
      given: the net's input.

    Returns:
      [..., C] float32.

    Raises:
      BadInput: the pixels have another number of channels, or are no numbers.
    """
    shape = np.shape(images)
    if shape[-1:] != (given.channels,):
        raise BadInput(
            f"images of shape {shape}: give [..., {given.channels}], as many channels "
            "as the net's mean has, and the channels last"
        )
    dtype = getattr(images, "dtype", None) or np.asarray(images).dtype
    if not jnp.isdtype(dtype, ("bool", "integral", "real floating")):
        raise BadInput(f"images of {dtype}: give pixels, real numbers in 0..255")
    return _prepare(jnp.asarray(images), given)


@functools.partial(xla.jit, static_argnames="given")
def _prepare(images: jax.Array, given: Input) -> jax.Array:
    mean, scale = (
        jnp.asarray(each, jnp.float32).reshape((1,) * (images.ndim - 1) + (-1,))
        for each in (given.mean, given.scale)
    )
    return (images.astype(jnp.float32) - mean) * scale
