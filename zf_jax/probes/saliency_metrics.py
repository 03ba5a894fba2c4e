"""Metrics of saliency maps: how well a map tells where in an image its class is seen.

Where the object's region is annotated (`data/annotations.py`), a map is compared with
it: the pointing game (Zhang et al. 2016), and the share of the map's energy that lies
in the region (Wang et al. 2020). Deletion and insertion (Petsiuk et al., RISE, BMVC
2018) need no annotation: they measure how fast the class's probability falls as the
map's strongest pixels are removed, and rises as they are added.

A constant map, all zeros too, says nothing and scores as a guess.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy import ndimage

from zf_jax import xla
from zf_jax.errors import BadInput
from zf_jax.probes import model_functions, occlusion_engine


def pointing_game(
    maps: np.ndarray, regions: np.ndarray, *, tolerance: float = 0.0
) -> np.ndarray:
    """Whether each map's maximum lies in its region: the pointing game.

    Args:
      maps: [N, H, W], any scale.
      regions: [N, H, W] bool.
      tolerance: how far outside of the region still counts, pixels; Zhang et al. 2016
        allow 15 in images whose sides are about 500.

    Returns:
      [N] float, 0 or 1; the share in the region where several pixels are the maximum.

    Raises:
      BadInput: maps and regions have different shapes, or a map holds NaN.
    """
    _check(maps, regions)
    hits = []
    for each, region in zip(maps, regions, strict=True):
        if tolerance and region.any():
            region = ndimage.distance_transform_edt(~region) <= tolerance
        hits.append(region[each == each.max()].mean())
    return np.array(hits)


def energy_fraction(maps: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """The share of each map's positive values that lies in its region.

    Args:
      maps: [N, H, W]; values below zero count as zero.
      regions: [N, H, W] bool.

    Returns:
      [N] float in 0..1; the region's share of the image where nothing is above zero.

    Raises:
      BadInput: maps and regions have different shapes, or a map holds NaN.
    """
    _check(maps, regions)
    above = np.maximum(maps, 0).astype(float)
    # The largest is 1, so that no sum is too small to divide by.
    most = above.max(axis=(1, 2), keepdims=True)
    above = np.where(most > 0, above / np.where(most > 0, most, 1), 1.0)
    return (above * regions).sum(axis=(1, 2)) / above.sum(axis=(1, 2))


def _check(maps: np.ndarray, regions: np.ndarray) -> None:
    if maps.ndim != 3 or maps.shape != regions.shape:
        raise BadInput(
            f"maps of shape {maps.shape}, regions of {regions.shape}: give [N, H, W]"
        )
    if np.isnan(maps).any():
        raise BadInput("maps: some values are NaN")


def deletion(
    model_fn: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    maps: jax.Array,
    labels: jax.Array,
    *,
    step: int,
    fill: float = 0.0,
    batch_size: int = 64,
) -> jax.Array:
    """The class's score as the map's strongest pixels are removed, `step` at a time.

    Args:
      model_fn: images [B, H, W, C] to scores of the classes, [B, L].
      images: [N, H, W, C] float, as `model_fn` takes them.
      maps: [N, H, W]; of equal values the first in row order goes first.
      labels: [N] int, the class of each image whose score is read: in RISE, the one
        predicted for it.
      step: pixels that are removed at a time.
      fill: what replaces a pixel; 0 is the mean colour for images that had their mean
        taken off, as in RISE.
      batch_size: images computed together, at the most.

    Returns:
      [N, T + 1] with T = ceil(H * W / step): the score of the image itself, and after
      each step; at last no pixel is left.

    Raises:
      BadInput: a step below 1, or a `model_fn` that `model_functions.prepare` refuses.
    """
    last = jnp.full_like(images, fill)
    return _curves(model_fn, images, last, maps, labels, step, batch_size)


def insertion(
    model_fn: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    maps: jax.Array,
    labels: jax.Array,
    *,
    step: int,
    batch_size: int = 64,
) -> jax.Array:
    """The class's score as the strongest pixels replace those of the blurred image.

    Arguments, result and errors are those of `deletion`: from the blurred image to the
    image itself.
    """
    first = jnp.asarray(blur(np.asarray(images)))
    return _curves(model_fn, first, jnp.asarray(images), maps, labels, step, batch_size)


def blur(images: np.ndarray) -> np.ndarray:
    """Blurs images [N, H, W, C] with RISE's kernel.

    It is an 11 x 11 Gaussian of standard deviation 5; around the image there are zeros.

    Its tails are folded back at the kernel's edges, as scipy does by default.
    """
    peak = np.zeros(11)
    peak[5] = 1.0
    kernel = ndimage.gaussian_filter1d(peak, 5)
    for axis in (1, 2):
        images = ndimage.convolve1d(images, kernel, axis=axis, mode="constant")
    return images


def auc(curves: np.ndarray) -> np.ndarray:
    """Areas [N] under curves [N, T + 1] over 0 to 1, by trapezoids."""
    curves = np.asarray(curves)
    return np.trapezoid(curves, dx=1 / (curves.shape[1] - 1), axis=1)


def _curves(
    model_fn, first, last, maps, labels, step: int, batch_size: int
) -> jax.Array:
    """Scores as the first images turn into the last ones, step by step."""
    if step < 1:
        raise BadInput(f"step {step}: starts at 1 pixel")
    if len(first) == 0 or maps.shape != first.shape[:3]:
        raise BadInput(
            f"maps of shape {maps.shape}, images of {first.shape}: give [N, H, W] and "
            "[N, H, W, C]"
        )
    count = math.ceil(maps.shape[1] * maps.shape[2] / step) + 1
    size = occlusion_engine.balanced_chunk_size(batch_size, count)
    program = model_functions.prepare(model_fn, size, first.shape[1:], first.dtype)
    given = first, last, jnp.asarray(maps), jnp.asarray(labels)
    return _replace_pixels(
        program.apply, program.weights, *given, step=step, count=count, size=size
    )


@functools.partial(xla.jit, static_argnames=("apply", "step", "count", "size"))
def _replace_pixels(apply, weights, first, last, maps, labels, *, step, count, size):
    # Further steps, which fill up the last batch, change nothing.
    numbers = jnp.arange(math.ceil(count / size) * size).reshape(-1, size)

    def one(given):
        first, last, strength, label = given
        order = jnp.argsort(-strength.ravel(), stable=True)
        ranks = jnp.argsort(order).reshape(1, *strength.shape, 1)

        def states(numbers):
            turned = ranks < step * numbers[:, None, None, None]
            return apply(weights, jnp.where(turned, last[None], first[None]))[:, label]

        return lax.map(states, numbers).ravel()[:count]

    return lax.map(one, (first, last, maps, labels))
