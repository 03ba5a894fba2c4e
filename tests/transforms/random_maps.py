"""Operations on maps whose parameters are drawn: random nets are made of them.

Each takes a map [N, h, w, c], c a multiple of 4, and a NumPy generator, and gives
another map. The same generator gives the same function.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def weights(rng, *shape):
    """Of a scale that keeps maps at order 1."""
    scale = 1 / np.sqrt(np.prod(shape[:-1]))
    return jnp.asarray(rng.normal(size=shape) * scale, jnp.float32)


def convolved(x, kernel, stride=(1, 1), padding="SAME", **options):
    """`lax.conv_general_dilated`, channels last."""
    return lax.conv_general_dilated(
        x,
        kernel,
        stride,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        **options,
    )


def _pair(rng, least, most):
    return tuple(int(n) for n in rng.integers(least, most + 1, 2))


def _window(rng, x, largest):
    """Size, stride, padding and dilation that leave something of the map."""
    size, stride, dilation = (
        _pair(rng, 1, largest),
        _pair(rng, 1, 3),
        _pair(rng, 1, 2),
    )
    # A window sees the map in any case.
    pads = [tuple(int(p) for p in rng.integers(0, s, 2)) for s in size]
    reach = [(s - 1) * d + 1 for s, d in zip(size, dilation, strict=True)]
    room = [n + sum(p) for n, p in zip(x.shape[1:3], pads, strict=True)]
    if any(r > n for r, n in zip(reach, room, strict=True)):
        return (1, 1), (1, 1), [(0, 0), (0, 0)], (1, 1)
    return size, stride, pads, dilation


def conv(x, rng):
    size, stride, pads, dilation = _window(rng, x, 4)
    groups = int(rng.integers(1, 3))
    kernel = weights(rng, *size, x.shape[-1] // groups, 4)
    return convolved(
        x, kernel, stride, pads, rhs_dilation=dilation, feature_group_count=groups
    )


def depthwise(x, rng):
    size, stride, pads, dilation = _window(rng, x, 4)
    kernel, count = weights(rng, *size, 1, x.shape[-1]), x.shape[-1]
    return convolved(
        x, kernel, stride, pads, rhs_dilation=dilation, feature_group_count=count
    )


def conv_transposed(x, rng):
    kernel = weights(rng, *_pair(rng, 1, 4), x.shape[-1], 4)
    padding = ("SAME", "VALID")[rng.integers(2)]
    return lax.conv_transpose(
        x,
        kernel,
        _pair(rng, 2, 3),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def residual(x, rng):
    kernel = weights(rng, 3, 3, x.shape[-1], x.shape[-1])
    return x + convolved(jax.nn.relu(x), kernel)


def joined_channels(x, rng):
    return jnp.concatenate([x, convolved(x, weights(rng, 3, 1, x.shape[-1], 4))], -1)


def joined_rows(x, rng):
    axis = int(rng.integers(1, 3))
    return jnp.concatenate(
        [x, 2 * x, -x[:, :3, :3] if min(x.shape[1:3]) < 3 else x], axis
    )


def max_pool(x, rng):
    size, stride, pads, _ = _window(rng, x, 3)
    return _pooled(x, -jnp.inf, lax.max, size, stride, pads)


def dilated_pool(x, rng):
    size, stride, pads, dilation = _window(rng, x, 2)
    return _pooled(x, 0.0, lax.add, size, stride, pads, dilation)


def _pooled(x, start, function, size, stride, pads, dilation=(1, 1)):
    return lax.reduce_window(
        x,
        start,
        function,
        (1, *size, 1),
        (1, *stride, 1),
        ((0, 0), *pads, (0, 0)),
        window_dilation=(1, *dilation, 1),
    )


def mean_pool(x, rng):
    """What the padding counts as is drawn."""
    size, stride, pads, _ = _window(rng, x, 3)
    total = _pooled(x, 0.0, lax.add, size, stride, pads)
    if rng.integers(2):
        return total / np.prod(size)
    ones = jnp.ones((1, *x.shape[1:3], 1), x.dtype)
    counts = _pooled(ones, 0.0, lax.add, size, stride, pads)
    return total / jnp.broadcast_to(counts, total.shape)


def padded(x, rng):
    mode = ("reflect", "edge", "constant", "wrap", "symmetric")[rng.integers(5)]
    pads = [tuple(int(p) for p in rng.integers(0, 3, 2)) for _ in range(2)]
    if min(x.shape[1:3]) < 3:
        mode = "edge"
    return jnp.pad(x, [(0, 0), *pads, (0, 0)], mode=mode)


def padded_between(x, rng):
    """Constants around entries and between them; or entries taken away."""
    config = [
        (int(rng.integers(-1, 3)), int(rng.integers(-1, 3)), int(rng.integers(3)))
        for _ in range(2)
    ]
    if min(x.shape[1:3]) < 3:
        return x
    return lax.pad(x, jnp.float32(0.5), [(0, 0, 0), *config, (0, 0, 0)])


def resized(x, rng):
    method = ("nearest", "bilinear", "cubic")[rng.integers(3)]
    scale = rng.choice([0.6, 1.5, 2.0], 2)
    sizes = [max(1, round(n * s)) for n, s in zip(x.shape[1:3], scale, strict=True)]
    return jax.image.resize(x, (x.shape[0], *sizes, x.shape[-1]), method)


def repeated(x, rng):
    return jnp.repeat(x, 2, axis=int(rng.integers(1, 3)))


def taken(x, rng):
    axis = int(rng.integers(1, 3))
    index = rng.integers(0, x.shape[axis], x.shape[axis])
    return jnp.take(x, index, axis)


def flipped(x, rng):
    axes = [(1,), (2,), (1, 2), (1, 3)][rng.integers(4)]
    return jnp.flip(x, axes)


def transposed(x, rng):
    return x.swapaxes(1, 2)


def depth_to_space(x, rng):
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
    return convolved(x.reshape(n, 2 * h, 2 * w, c // 4), weights(rng, 1, 1, c // 4, 4))


def space_to_depth(x, rng):
    n, h, w, c = x.shape
    if min(h, w) < 2:
        return x
    x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 2, w // 2, 4 * c)


def across_channels(x, rng):
    """Krizhevsky's normalisation."""
    power = lax.reduce_window(x**2, 0.0, lax.add, (1, 1, 1, 3), (1, 1, 1, 1), "SAME")
    return x / (1 + power) ** 0.75


def gated(x, rng):
    return x * jax.nn.sigmoid(
        convolved(x, weights(rng, 3, 3, x.shape[-1], x.shape[-1]))
    )


def excited(x, rng):
    """Each channel by what its mean says: every pixel is seen."""
    return x * (1 + x.mean((1, 2), keepdims=True))


def strided(x, rng):
    (top, left), (down, across) = _pair(rng, 0, 1), _pair(rng, 1, 2)
    return x[:, top::down, left::across] if min(x.shape[1:3]) > 1 else x


def placed(x, rng):
    """A factor for each position."""
    return x * jnp.linspace(1, 2, x.shape[1])[None, :, None, None]


def normalised(x, rng):
    """The batch normalisation of a trained net, biases and all."""
    scale, bias = (jnp.asarray(rng.normal(size=x.shape[-1]), x.dtype) for _ in "ab")
    return x * scale[None, None, None] + bias[None, None, None]


def product(x, rng):
    return jnp.einsum("nhwc,cd->ndhw", x, weights(rng, x.shape[-1], 4)).transpose(
        0, 2, 3, 1
    )


def relu(x, rng):
    return jax.nn.relu(x)


OPERATIONS = {
    each.__name__: each
    for each in (
        conv,
        depthwise,
        conv_transposed,
        residual,
        joined_channels,
        joined_rows,
        max_pool,
        dilated_pool,
        mean_pool,
        padded,
        padded_between,
        resized,
        repeated,
        taken,
        flipped,
        transposed,
        depth_to_space,
        space_to_depth,
        across_channels,
        gated,
        excited,
        strided,
        placed,
        normalised,
        product,
        relu,
    )
}


def make(names, seed):
    """A function of images [N, H, W, 3]: convolutions around the named operations."""

    def net(images):
        rng = np.random.default_rng(seed)
        x = jax.nn.relu(convolved(images, weights(rng, 3, 3, 3, 4), padding="VALID"))
        for name in names:
            x = OPERATIONS[name](x, rng)
        kernel = weights(rng, 2, 3, x.shape[-1], 4)
        return jax.nn.relu(convolved(x, kernel) + 0.1)

    return net
