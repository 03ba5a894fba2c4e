"""Projections of any JAX function's units back to pixels (section 2.1).

The unit's layer is a hidden value of the function (`transforms.capture`); the backward
pass is the deconvnet's, by `transforms.rectify`.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from zf_jax import seeds, xla
from zf_jax.errors import BadInput
from zf_jax.transforms import (
    capture,
    closure,
    gates,
    jaxpr,
    rectify,
    upper_bounds,
)

# How many projections of a batch are computed together.
_BATCH = 16


def project(
    apply: Callable,
    images: jax.Array,
    *,
    layer: str,
    channel: jax.Array | int,
    position: jax.Array | tuple[int, int] | None = None,
    rule: gates.Rule = "deconvnet",
    channels: capture.Channels = "last",
    nonlinear: rectify.Nonlinear | None = None,
) -> jax.Array:
    """Projects a unit of each image, or several, back to the image's pixels.

    The forward pass of an image is done once for all its units. It composes with
    `jax.jit`, `vmap`, `grad`, `shard_map` and `jax.export`; within them, what needs
    values is not checked. Each call traces the function; it is compiled once.

    Args:
      apply: any JAX function of images to a pytree, which closes over its weights.
      images: [N, H, W, C] float, as the function takes them.
      layer: a hidden value of the function, a map or a vector, by its name in
        `capture.layers`.
      channel: of each image's unit: one for all images, [N], or, for U units of each
        image, [N, U].
      position: (row, column) in the map, one pair for all, or [N, 2], or [N, U, 2]; by
        default the channel's maximum in each image, the first in row order. A layer
        [N, d] has none.
      rule: what rectifiers do in the backward pass.
      channels: where hidden maps have their channels: [N, h, w, c] or [N, c, h, w].
      nonlinear: what other nonlinearities do, as of `rectify`.

    Returns:
      [N, H, W, C], or [N, U, H, W, C] for U units of each image: signed, in the axes,
      dtype and units of `images`. The seed is the activation's own value, so that the
      rule "gradient" gives the gradient of half its square. With the other rules a seed
      passes the upper bound of its own activation (relu6), whose derivative is zero
      where the unit is at the bound.

    Raises:
      BadInput: the images are no floats of four axes; the layer is unknown, or is
        neither a map nor a vector; a channel or position is outside of it; the function
        has no rectifier, or another nonlinearity while `nonlinear` is None.
    """
    images = _checked_images(images)
    captured = capture.maps(apply, [layer], channels=channels)
    rectified = rectify.rectify(
        lambda images: captured(images)[layer],
        rule,
        nonlinear=nonlinear,
        may_have_none=True,
    )
    opened = upper_bounds.open_own(rectified, rule)
    units, is_several = _columns(len(images), channel, position)

    def pixels(images, *columns):
        maps, backward = jax.vjp(opened, images)
        for column in zip(*units, strict=True):
            seeds.check(maps.shape, *column)

        def of_column(column):
            return backward(seeds.isolate(maps, **_named(column)))[0]

        return _map(of_column, columns, len(images))

    program = closure.hoist(pixels, *jaxpr.abstract([images, *units]))
    if not rectified.rectifiers:
        # There are none below the layer: then there are to be some above.
        jax.eval_shape(rectify.rectify(apply, "gradient"), images)
    is_traced = xla.is_traced(program.weights, images, units)
    run = program.apply if is_traced else functools.partial(closure.run, program.apply)
    found = run(program.weights, images, *units)
    return jnp.moveaxis(found, 0, 1) if is_several else found[0]


def _checked_images(images) -> jax.Array:
    images = jnp.asarray(images)
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise BadInput(
            f"{images.dtype} images of shape {images.shape}: give [N, H, W, C] floats, "
            "as the function takes them"
        )
    return images


def _columns(count: int, channel, position) -> tuple[list, bool]:
    """Channels [U, N] and, if given, positions [U, N, 2]; whether U are asked for."""
    channel = _as_array(channel)
    is_several = channel.ndim == 2
    if channel.shape not in ((), (count,), (count, *channel.shape[1:2])):
        raise BadInput(
            f"channel of shape {channel.shape}: give one, [N] or [N, U] for "
            f"{count} images"
        )
    shape = channel.shape if is_several else (count, 1)
    if channel.ndim == 1:
        channel = channel[:, None]
    units = [_broadcast(channel, shape).T]
    if position is not None:
        position = _as_array(position)
        if position.shape not in ((2,), (count, 2), (*shape, 2)):
            raise BadInput(
                f"position of shape {position.shape}: give (row, column), [N, 2] or, "
                f"like channel, {(*shape, 2)}"
            )
        if position.ndim == 2:
            position = position[:, None]
        units.append(_broadcast(position, (*shape, 2)).swapaxes(0, 1))
    return units, is_several


def _as_array(index):
    return index if isinstance(index, jax.core.Tracer) else np.asarray(index)


def _broadcast(index, shape):
    if isinstance(index, np.ndarray):
        return np.broadcast_to(index, shape)
    leading = (1,) * (len(shape) - index.ndim)
    return jnp.broadcast_to(index.reshape(*leading, *index.shape), shape)


def _named(column) -> dict:
    return dict(zip(("channel", "position"), column, strict=False))


def _map(function: Callable, columns, count: int) -> jax.Array:
    """The function of every column, as many together as make a fair batch."""
    batch_size = max(1, _BATCH // count)
    if len(columns[0]) <= batch_size:
        return jax.vmap(function)(columns)
    return jax.lax.map(function, columns, batch_size=batch_size)
