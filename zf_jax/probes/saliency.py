"""Saliency maps [N, H, W]: where in an image a class is seen.

`occluded` finds it by occlusion (section 4.2), `projected` projects the class's logit
to pixels with one of the deconvnet's rules. The class is seen most where a map is
largest. `centre` and `noise` are baselines that do not look at the image, for
`saliency_metrics.py` to compare with.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zf_jax import deconvnet, xla
from zf_jax.layers import Pair
from zf_jax.probes import model_functions, occlusion
from zf_jax.transforms import rectify


@functools.partial(xla.jit, static_argnames=("apply", "rule", "nonlinear"))
def projected(
    apply: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    images: jax.Array,
    labels: jax.Array,
    *,
    rule: deconvnet.Rule,
    nonlinear: rectify.Nonlinear | None = None,
) -> jax.Array:
    """The projection of each image's class logit: the largest magnitude of a channel.

    With rule "gradient" it is the saliency map of Simonyan et al. 2013.

    Args:
      apply: (params, images) -> logits [N, L]. Calls with the same function compile
        once.
      params: a pytree of arrays.
      images: [N, H, W, C] float, as `apply` takes them.
      labels: [N] int, one class an image.
      rule: what a rectifier does in the backward pass.
      nonlinear: what other nonlinearities do, as `rectify.rectify` takes it.

    Returns:
      [N, H, W] float32, 0 or above.

    Raises:
      BadInput: as `rectify.rectify` does.
    """
    function = rectify.rectify(
        functools.partial(apply, params),
        rule,
        nonlinear=nonlinear,
        may_have_none=rule == "gradient",
    )
    logits, backward = jax.vjp(function, images)
    # The seed is 1, not the logit: a logit below zero would turn the signs.
    (pixels,) = backward(jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype))
    return jnp.abs(pixels).max(axis=-1)


def occluded(
    model_fn: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    labels: jax.Array,
    *,
    side: int | Pair,
    stride: int | Pair,
) -> jax.Array:
    """What each pixel's occlusion takes off the score of the image's class, on average.

    Args:
      model_fn: images [B, H, W, C] to scores of the classes, [B, L].
      images: [N, H, W, C] float, as `model_fn` takes them.
      labels: [N] int, one class an image.
      side: of the square, as `occlusion.sweep` takes it.
      stride: between its positions, at most the side.

    Returns:
      [N, H, W] float32, as `occlusion.attribution` gives it: below zero where the
      square raises the score.

    Raises:
      BadInput: as `occlusion.sweep` and `occlusion.attribution` do.
    """

    def of_class(scores, axis):
        where = labels.reshape(-1, *(1,) * (scores.ndim - 1))
        return jnp.take_along_axis(scores, where, axis=axis)[..., 0]

    labels = jnp.asarray(labels)
    clean = of_class(_clean(model_fn, images), 1)
    swept = occlusion.sweep(model_fn, images, side=side, stride=stride)
    grids = jnp.moveaxis(of_class(swept, 3), 0, -1)
    found = occlusion.attribution(
        clean, grids, side=side, stride=stride, shape=images.shape[1:3]
    )
    return jnp.moveaxis(found, -1, 0)


def predicted(
    model_fn: Callable[[jax.Array], jax.Array], images: jax.Array
) -> np.ndarray:
    """The most probable class of each image, [N] int; arguments as in `occluded`."""
    return np.asarray(_clean(model_fn, images).argmax(axis=1))


def _clean(model_fn, images):
    program = model_functions.prepare(
        model_fn, len(images), images.shape[1:], images.dtype
    )
    return _apply(program.apply, program.weights, images)


@functools.partial(xla.jit, static_argnames="apply")
def _apply(apply, weights, images):
    return apply(weights, images)


def centre(count: int, shape: Pair) -> np.ndarray:
    """`count` equal maps: 1 in the image's middle, falling to 0 in its corners."""
    rows, columns = (np.linspace(-1, 1, n) for n in shape)
    distance = np.hypot(rows[:, None] * shape[0], columns[None] * shape[1])
    return np.tile(1 - distance / distance.max(), (count, 1, 1)).astype(np.float32)


def noise(count: int, shape: Pair, rng: np.random.Generator) -> np.ndarray:
    """`count` maps of pixels drawn uniformly from 0 to 1."""
    return rng.random((count, *shape), dtype=np.float32)
