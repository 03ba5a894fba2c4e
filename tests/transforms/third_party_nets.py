"""Nets as other people write them, in several libraries and styles; all small.

Each maker gives a function of [N, 40, 36, 3] images to a pytree
of [N, ...] outputs. Weights are drawn so that values stay near 1.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

SHAPE = (40, 36, 3)


class ThirdPartyNet(NamedTuple):
    """A net and what is to be expected of it.

    Attributes:
      make: gives the function of images.
      speed_up: there is at least so much less to compute, for an occluder of side 6 at
        strides 9 and 11; 0 for nets that gain nothing.
      tolerance: of the largest output.
    """

    make: Callable[[], Callable]
    speed_up: float
    tolerance: float = 1e-4


class Draws:
    """Weights, one after the other."""

    def __init__(self, seed: int):
        self._rng = np.random.default_rng(seed)

    def normal(self, *shape, scale=1.0):
        return jnp.asarray(self._rng.normal(size=shape) * scale, jnp.float32)

    def kernel(self, *shape):
        """Rows, columns, channels in (of the group) and out; or only the last two."""
        return self.normal(*shape, scale=np.sqrt(2 / np.prod(shape[:-1])))

    def positive(self, *shape):
        return jnp.abs(self.normal(*shape)) + 0.5


def conv(x, kernel, stride=1, padding="SAME", **options):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        **options,
    )


def max_pool(x, size=3, stride=2, padding="SAME"):
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, size, size, 1), (1, stride, stride, 1), padding
    )


def residual():
    """ResNet: batch norm as it is after training, shortcuts of stride 2."""
    draw = Draws(0)

    def batch_norm(maps):
        mean, var = draw.normal(maps), draw.positive(maps)
        scale, bias = draw.positive(maps), draw.normal(maps)
        shape = (1, 1, 1, maps)

        def apply(x):
            normed = (x - mean.reshape(shape)) * lax.rsqrt(var.reshape(shape) + 1e-5)
            return normed * scale.reshape(shape) + bias.reshape(shape)

        return apply

    def block(before, maps, stride):
        one, two = draw.kernel(3, 3, before, maps), draw.kernel(3, 3, maps, maps)
        norms = [batch_norm(maps) for _ in range(3)]
        across = draw.kernel(1, 1, before, maps)

        def apply(x):
            y = jax.nn.relu(norms[0](conv(x, one, stride)))
            y = norms[1](conv(y, two))
            if stride > 1:
                x = norms[2](conv(x, across, stride))
            return jax.nn.relu(x + y)

        return apply

    stem, norm = draw.kernel(5, 5, 3, 8), batch_norm(8)
    blocks, head = [block(8, 8, 1), block(8, 16, 2)], draw.kernel(16, 5)

    def model_fn(images):
        x = max_pool(jax.nn.relu(norm(conv(images, stem, 2))), 3, 1)
        for each in blocks:
            x = each(x)
        return x.mean(axis=(1, 2)) @ head

    return model_fn


def mobile():
    """MobileNet: depthwise convolutions, SAME padding, relu6."""
    draw = Draws(1)
    stem, head = draw.kernel(3, 3, 3, 8), draw.kernel(12, 4)
    blocks = [
        (draw.kernel(3, 3, 1, maps), draw.kernel(maps, after), stride)
        for maps, after, stride in ((8, 8, 1), (8, 12, 2))
    ]

    def model_fn(images):
        x = jax.nn.relu6(conv(images, stem, 2))
        for depth, point, stride in blocks:
            x = conv(x, depth, stride, feature_group_count=x.shape[-1])
            x = jax.nn.relu6(jax.nn.relu6(x) @ point)
        return jax.nn.softmax(x.mean(axis=(1, 2)) @ head)

    return model_fn


def squeeze_and_excite():
    """All channels are weighed by the mean of the whole image."""
    draw = Draws(2)
    one, two = draw.kernel(3, 3, 3, 12), draw.kernel(3, 3, 12, 6)
    down, up = draw.kernel(12, 4), draw.kernel(4, 12)

    def model_fn(images):
        x = jax.nn.swish(conv(images, one))
        gate = jax.nn.sigmoid(jax.nn.relu(x.mean(axis=(1, 2)) @ down) @ up)
        x = jax.nn.swish(conv(x * gate[:, None, None, :], two, 2))
        return x.mean(axis=(1, 2))

    return model_fn


def dilated():
    draw = Draws(3)
    kernels = [draw.kernel(3, 3, n, 6) for n in (3, 6, 6)]

    def model_fn(images):
        x = images
        for kernel, dilation in zip(kernels, (1, 2, 4), strict=True):
            x = jnp.tanh(conv(x, kernel, rhs_dilation=(dilation, dilation)))
        return x.max(axis=(1, 2)), x.mean(axis=(1, 2))

    return model_fn


def transformer():
    """A vision transformer: each patch attends to all others."""
    draw, width = Draws(4), 16
    embed, positions = draw.kernel(4, 4, 3, width), draw.normal(1, 90, width, scale=0.1)
    heads = draw.kernel(width, 3, 2, width // 2)
    out, wide, narrow = (
        draw.kernel(width // 2, 2, width) / 2,
        draw.kernel(width, 32),
        draw.kernel(32, width),
    )

    def norm(x):
        x = x - x.mean(axis=-1, keepdims=True)
        return x * lax.rsqrt(jnp.square(x).mean(axis=-1, keepdims=True) + 1e-5)

    def model_fn(images):
        x = conv(images, embed, 4, "VALID")
        x = x.reshape(len(x), -1, width) + positions
        q, k, v = jnp.moveaxis(jnp.einsum("npc,cthd->npthd", norm(x), heads), 2, 0)
        seen = jax.nn.softmax(jnp.einsum("nphd,nqhd->nhpq", q, k))
        x = x + jnp.einsum("nhpq,nqhd,dhc->npc", seen, v, out)
        x = x + jax.nn.gelu(norm(x) @ wide) @ narrow
        return norm(x).mean(axis=1)

    return model_fn


class _Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (5, 5), strides=2, padding="VALID")(x)
        x = nn.BatchNorm(use_running_average=True)(x)
        x = nn.max_pool(nn.relu(x), (3, 3), strides=(2, 2), padding="SAME")
        x = nn.GroupNorm(num_groups=None, group_size=4, reduction_axes=-1)(x)
        x = nn.remat(nn.Conv)(12, (3, 3))(x)
        x = nn.avg_pool(
            nn.gelu(x), (2, 2), strides=(2, 2), padding="SAME", count_include_pad=False
        )
        x = nn.Dense(10)(x.reshape(len(x), -1))
        return nn.Dropout(0.5, deterministic=True)(x)


def linen():
    """Flax's linen, in evaluation mode."""
    model, draw = _Linen(), Draws(20)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *SHAPE)))
    # Kernels, and vectors: variances among them.
    variables = jax.tree.map(
        lambda leaf: (draw.kernel if leaf.ndim > 1 else draw.positive)(*leaf.shape),
        shapes,
    )
    return functools.partial(model.apply, variables)


class _Nnx(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(8, use_running_average=True, rngs=rngs)
        self.deep = nnx.Conv(8, 8, (3, 3), feature_group_count=2, rngs=rngs)
        self.layer_norm = nnx.LayerNorm(8, rngs=rngs)
        self.linear = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.conv(x)))
        x = self.layer_norm(x + nnx.relu(self.deep(x)))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        return {"logits": self.linear(x.mean(axis=(1, 2))), "map": x}


@functools.cache
def nnx_module():
    """Flax's nnx: the module itself is the function."""
    return nnx.jit(lambda: _Nnx(nnx.Rngs(0)))()


def plain():
    """No convolution in it: padded, shifted, strided slices and products."""
    draw = Draws(5)
    one, two = draw.kernel(3, 3, 3, 8), draw.kernel(3, 3, 8, 6)

    def filtered(x, kernel, stride):
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        last = [(n - 3) // stride * stride + 1 for n in x.shape[1:3]]
        return sum(
            x[:, i : i + last[0] : stride, j : j + last[1] : stride] @ kernel[i, j]
            for i in range(3)
            for j in range(3)
        )

    def pooled(x):
        x = jnp.pad(x, ((0, 0), (1, 0), (0, 1), (0, 0)), constant_values=-jnp.inf)
        x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
        x = jnp.maximum(x[:, ::2], x[:, 1::2])
        return jnp.maximum(x[:, :, ::2], x[:, :, 1::2])

    def model_fn(images):
        x = pooled(jax.nn.relu(filtered(images, one, 1)))
        x = jax.nn.relu(filtered(x, two, 2))
        return x.reshape(len(x), -1).sum(axis=1), x

    return model_fn


def channels_first():
    """One image [C, H, W], vmapped: what Equinox and ports of PyTorch nets do."""
    draw = Draws(6)
    kernels = [draw.normal(8, n, 3, 3, scale=np.sqrt(2 / n / 9)) for n in (3, 8)]
    head = draw.kernel(8, 4)

    def one(image):
        x = image.transpose(2, 0, 1)
        for kernel, stride in zip(kernels, (2, 1), strict=True):
            x = lax.conv_general_dilated(
                x[None],
                kernel,
                (stride, stride),
                [(1, 1), (1, 1)],
                dimension_numbers=("NCHW", "OIHW", "NCHW"),
            )[0]
            x = jax.nn.leaky_relu(x)
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2), (1, 2, 2), "VALID")
        return head.T @ x.mean(axis=(1, 2))

    return jax.vmap(one)


def pooled_context():
    """Average pools, then the map joined to its mean, and a convolution of both."""
    draw = Draws(7)
    one, point, two = (
        draw.kernel(3, 3, 3, 8),
        draw.kernel(1, 1, 8, 4),
        draw.kernel(3, 3, 12, 6),
    )

    def mean_pool(x):
        window, strides = (1, 3, 3, 1), (1, 2, 2, 1)
        return lax.reduce_window(x, 0.0, lax.add, window, strides, "SAME") / 9

    def model_fn(images):
        x = mean_pool(jax.nn.elu(conv(images, one)))
        context = conv(x.mean(axis=(1, 2), keepdims=True), point)
        context = jnp.broadcast_to(context, (*x.shape[:3], 4))
        x = conv(jnp.concatenate([x, context], axis=-1), two)
        return x.max(axis=(1, 2))

    return model_fn


def shuffled():
    """Convolutions in groups, their channels shuffled (ShuffleNet)."""
    draw = Draws(8)
    stem, one, two = (
        draw.kernel(3, 3, 3, 12),
        draw.kernel(3, 3, 4, 12),
        draw.kernel(3, 3, 4, 6 * 3),
    )

    def model_fn(images):
        x = jax.nn.relu(conv(images, stem, 2))
        x = jax.nn.relu(conv(x, one, feature_group_count=3))
        n, h, w, c = x.shape
        x = x.reshape(n, h, w, 3, c // 3).swapaxes(3, 4).reshape(n, h, w, c)
        a, b = jnp.split(conv(x, two, feature_group_count=3), 2, axis=-1)
        return (a * jax.nn.sigmoid(b)).mean(axis=(1, 2))

    return model_fn


def branched():
    """Parallel branches of several receptive fields (Inception), and all that came
    before (DenseNet)."""
    draw = Draws(9)
    stem = draw.kernel(3, 3, 3, 8)
    kernels = [draw.kernel(size, size, 8, 4) for size in (1, 3, 5)]
    dense = draw.kernel(3, 3, 20, 4)

    def model_fn(images):
        x = jax.nn.relu(conv(images, stem, 2))
        found = [conv(x, kernel) for kernel in kernels]
        found = jnp.concatenate([*found, max_pool(x, 3, 1)], axis=-1)
        found = jax.nn.relu(found)
        found = jnp.concatenate([found, conv(found, dense)], axis=-1)
        return max_pool(found, 3, 2).mean(axis=(1, 2))

    return model_fn


@jax.custom_jvp
def _smooth(x):
    return x * jax.nn.sigmoid(1.7 * x)


_smooth.defjvp(lambda primals, tangents: (_smooth(*primals), tangents[0]))


@jax.custom_vjp
def _clipped(x):
    return jnp.clip(x, -1, 2)


_clipped.defvjp(lambda x: (_clipped(x), None), lambda _, signal: (signal,))


def wrapped():
    """Calls in calls: jit, checkpoint, custom_jvp, custom_vjp."""
    draw = Draws(10)
    one, two = draw.kernel(3, 3, 3, 8), draw.kernel(3, 3, 8, 8)

    @jax.jit
    def inner(x):
        return _smooth(conv(x, two, 2))

    @jax.checkpoint
    def block(x):
        return _clipped(inner(x)) + jax.jit(lambda x: x[:, ::2, ::2])(x)

    @jax.jit
    def model_fn(images):
        return block(_smooth(conv(images, one, 2))).mean(axis=(1, 2))

    return model_fn


def looped():
    """A convolution, then layers in a scan, as deep nets are often compiled."""
    draw = Draws(11)
    stem, layers = draw.kernel(5, 5, 3, 6), draw.kernel(2, 3, 3, 6, 6)

    def model_fn(images):
        x = jax.nn.relu(conv(images, stem, 3))
        x, seen = lax.scan(
            lambda x, kernel: (x + jnp.tanh(conv(x, kernel)), x.mean(axis=(1, 2))),
            x,
            2 * layers,
        )
        return x.mean(axis=(1, 2)), jnp.moveaxis(seen, 0, 1)

    return model_fn


def instance_normed():
    """Instance normalisation: each map by its mean and standard deviation."""
    draw = Draws(12)
    one, two = draw.kernel(3, 3, 3, 6), draw.kernel(3, 3, 6, 6)

    def model_fn(images):
        x = conv(images, one, 2)
        mean = x.mean(axis=(1, 2), keepdims=True)
        x = (x - mean) * lax.rsqrt(x.var(axis=(1, 2), keepdims=True) + 1e-3)
        return conv(jax.nn.relu(x), two).max(axis=(1, 2))

    return model_fn


def across_channels():
    """Local response and layer normalisation, running sums: along channels alone."""
    draw = Draws(13)
    one, two = draw.kernel(3, 3, 3, 10), draw.kernel(3, 3, 10, 6)
    scale, bias = draw.positive(1, 1, 1, 10), draw.normal(1, 1, 1, 10)

    def model_fn(images):
        x = jax.nn.relu(conv(images, one))
        power = lax.reduce_window(
            x**2, 0.0, lax.add, (1, 1, 1, 5), (1, 1, 1, 1), "SAME"
        )
        x = x / (1 + power / 5) ** 0.75
        mean = x.mean(axis=-1, keepdims=True)
        x = (x - mean) / jnp.sqrt(x.var(axis=-1, keepdims=True) + 1e-3)
        x = jnp.cumsum((x * scale + bias)[..., ::-1], axis=-1)
        return max_pool(conv(x, two), 2, 2, "VALID").mean(axis=(1, 2))

    return model_fn


def many_outputs():
    """Labels, the top-k, maps, a pixel; some that the occluder does not reach."""
    draw = Draws(14)
    one, two, head = (
        draw.kernel(3, 3, 3, 6),
        draw.kernel(3, 3, 6, 8),
        draw.kernel(6 * 10 * 9, 7),
    )

    def model_fn(images):
        first = jax.nn.relu(conv(images, one, 2))
        second = max_pool(first)
        logits = second.reshape(len(images), -1) @ head
        values, labels = lax.top_k(logits, 3)
        corner = conv(images[:, :20, :18], one).sum(axis=(1, 2))
        deep = conv(second, two)
        return {
            "label": jnp.argmax(logits, axis=-1),
            "top": (values, labels),
            "maps": [first, deep[..., 3]],
            "best map": jnp.argmax(deep, axis=-1),
            "pixel": images[:, 17, 3],
            "corner": corner,
            "active": (deep > 0.1).any(axis=(1, 2)),
            "constant": jnp.ones((len(images), 2)),
            "count": jnp.full(len(images), 7, jnp.int32),
        }

    return model_fn


def half_precision():
    """bfloat16 within, float32 at both ends."""
    draw = Draws(15)
    kernels = [draw.kernel(3, 3, n, 8).astype(jnp.bfloat16) for n in (3, 8, 8)]

    def model_fn(images):
        x = images.astype(jnp.bfloat16)
        for kernel, stride in zip(kernels, (2, 1, 2), strict=True):
            x = jax.nn.relu(conv(x, kernel, stride))
        return x.astype(jnp.float32).mean(axis=(1, 2))

    return model_fn


def masks():
    """Booleans and whole numbers, pooled and counted."""
    kernel = Draws(16).kernel(3, 3, 3, 4)

    def model_fn(images):
        x = conv(images, kernel) > 0.3
        grown = lax.reduce_window(
            x, False, lax.bitwise_or, (1, 3, 3, 1), (1, 2, 2, 1), "SAME"
        )
        shrunk = lax.reduce_window(
            x, False, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME"
        )
        levels = jnp.round(4 * images[..., :2]).astype(jnp.int32)
        lowest = -max_pool_of_whole_numbers(-levels)
        return {
            "grown": grown.sum(axis=(1, 2)),
            "both": (grown ^ shrunk).any(axis=(1, 2, 3)),
            "lowest": lowest.sum(axis=(1, 2, 3)),
        }

    return model_fn


def max_pool_of_whole_numbers(x):
    least = jnp.iinfo(x.dtype).min
    return lax.reduce_window(x, least, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")


def padded_otherwise():
    """Padding that is not 0; pools with an initial value; mirrored borders."""
    draw = Draws(17)
    one, two = draw.kernel(5, 5, 3, 6), draw.kernel(3, 3, 6, 4)

    def model_fn(images):
        x = jnp.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), constant_values=-7.0)
        x = conv(x, one, 2, "VALID")
        x = jnp.pad(x, ((0, 0), (0, 3), (3, 0), (0, 0)), constant_values=2.0)
        x = lax.reduce_window(x, 1.5, lax.max, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")
        x = lax.pad(x, -1.0, ((0, 0, 0), (-1, 0, 0), (0, -2, 0), (0, 0, 0)))
        x = jnp.pad(conv(x, two), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        return x[:, ::3, ::3].sum(axis=(1, 2)), x[:, -2:, -4:]

    return model_fn


def up_and_down(maps=6):
    """An encoder, a decoder of transposed convolutions, a skip connection (U-Net)."""
    draw = Draws(18)
    down, up, last = (
        draw.kernel(3, 3, 3, maps),
        draw.kernel(2, 2, maps, 4),
        draw.kernel(3, 3, 7, 2),
    )

    def model_fn(images):
        x = jax.nn.relu(conv(images, down, 2))
        x = lax.conv_transpose(x, up, (2, 2), "SAME")
        x = conv(jnp.concatenate([images, x], axis=-1), last)
        return x + x[:, :, ::-1]

    return model_fn


def transposed_twice():
    """One kernel, transposed at two strides."""
    draw = Draws(20)
    first, up = draw.kernel(5, 5, 3, 16), draw.kernel(6, 6, 16, 8)

    def model_fn(images):
        x = jax.nn.relu(conv(images, first, 4))
        return [conv(x, up, 1, [(5, 5)] * 2, lhs_dilation=(n, n)) for n in (2, 3)]

    return model_fn


def products_alone():
    """Dense layers alone: from the first on, everything depends on everything."""
    draw = Draws(19)
    one, two = draw.kernel(int(np.prod(SHAPE)), 12), draw.kernel(12, 5)

    def model_fn(images):
        return jax.nn.relu(images.reshape(len(images), -1) @ one) @ two

    return model_fn


# Speed-ups are lower bounds, some half of what `explain` predicts.
NETS = {
    "residual": ThirdPartyNet(residual, 1.5),
    "mobile": ThirdPartyNet(mobile, 3),
    "squeeze and excite": ThirdPartyNet(squeeze_and_excite, 1.5),
    "dilated": ThirdPartyNet(dilated, 2.5),
    "transformer": ThirdPartyNet(transformer, 0),
    "linen": ThirdPartyNet(linen, 1.5),
    "nnx": ThirdPartyNet(nnx_module, 3),
    "plain": ThirdPartyNet(plain, 4),
    "channels first": ThirdPartyNet(channels_first, 4),
    "pooled context": ThirdPartyNet(pooled_context, 1.8),
    "shuffled": ThirdPartyNet(shuffled, 2.5),
    "branched": ThirdPartyNet(branched, 2),
    "wrapped": ThirdPartyNet(wrapped, 4),
    "looped": ThirdPartyNet(looped, 1),
    "instance normed": ThirdPartyNet(instance_normed, 1),
    "across channels": ThirdPartyNet(across_channels, 5),
    "many outputs": ThirdPartyNet(many_outputs, 2),
    # bfloat16 keeps 8 bits: a value that rounds the other way is off by 1 in 256, and
    # three layers hand that on.
    "half precision": ThirdPartyNet(half_precision, 4, 2e-2),
    "masks": ThirdPartyNet(masks, 5),
    "padded otherwise": ThirdPartyNet(padded_otherwise, 1),
    "up and down": ThirdPartyNet(up_and_down, 1),
    "up and down, many channels": ThirdPartyNet(functools.partial(up_and_down, 16), 1),
    "transposed twice": ThirdPartyNet(transposed_twice, 1),
    "products alone": ThirdPartyNet(products_alone, 0),
}
