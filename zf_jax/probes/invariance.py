"""Invariance (section 4.1, fig. 5): how features change as the image is transformed.

`measure` gives, for each image and warp, the distance between the features of the
warped image and those of the image itself, and the probability of its class.
"""

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax import xla
from zf_jax.errors import BadInput
from zf_jax.probes import model_functions, warps

FeaturesFn = Callable[[jax.Array], tuple[dict[str, jax.Array], jax.Array | None]]


class Invariance(NamedTuple):
    """The measurements of N images under A warps.

    Attributes:
      distances: by name of the features, [N, A] float32: the Euclidean distance
        between those of the warped image and of the image itself.
      norms: by name, [N]: the Euclidean norm of the image's own features.
      probability: [N, A], of the image's class; None where there are no classes.
      labels: [N] int32, that class; None where there are no classes.
    """

    distances: dict[str, np.ndarray]
    norms: dict[str, np.ndarray]
    probability: np.ndarray | None
    labels: np.ndarray | None

    def relative(self) -> dict[str, np.ndarray]:
        """The distances over the norm; NaN where the image's own features are 0."""
        return {
            name: found
            / np.where(self.norms[name] > 0, self.norms[name], np.nan)[:, None]
            for name, found in self.distances.items()
        }


def measure(
    model_fn: FeaturesFn,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    matrices: jax.Array,
    *,
    border: warps.Border = "mean",
) -> Invariance:
    """Every image under every warp, a batch of images in one compiled call.

    `model_fn` is compiled once per function and shapes, as in `occlusion.sweep`. It
    takes the memory of a batch's features twice, however many warps there are.

    Args:
      model_fn: a batch [B, H, W, C] to a dict of features [B, ...], and to the classes'
        probabilities [B, L], or None.
      batches: of images [N, H, W, C] float, prepared, and their classes [N] int; -1:
        the one that `model_fn` finds most probable in the image itself. All
        batches are as large as the first, except for the last.
      matrices: [A, 2, 3] warps, as `warps.translate` and others make them.
      border: as in `warps.apply`.

    Raises:
      BadInput: there are no batches, images have several sizes, `matrices` have
        another shape, a class does not exist, or `occlusion.sweep` would refuse
        `model_fn`.
    """
    matrices = jnp.asarray(matrices, jnp.float32)
    if matrices.shape[1:] != (2, 3) or not jnp.isfinite(matrices).all():
        raise BadInput(
            f"matrices of shape {matrices.shape}: give [A, 2, 3] of finite numbers"
        )
    found, first = [], None
    for images, labels in batches:
        if first is None:
            first, image = images.shape, jnp.asarray(images[0])
            one = model_functions.prepare(model_fn, 1, image.shape, image.dtype)
            model_functions.check_independent(model_fn, one, image)
            program = model_functions.prepare(
                model_fn, *first[:1], first[1:], images.dtype
            )
        if images.shape[1:] != first[1:] or len(images) > first[0]:
            raise BadInput(
                f"images of shape {images.shape} after {first}: they have one size, "
                "and no batch is larger than the first"
            )
        _check(program.result, labels)
        # A batch that is short is filled up, so that it compiles nothing new.
        filled = np.minimum(np.arange(first[0]), len(images) - 1)
        given = images[filled], np.asarray(labels, np.int32)[filled], matrices
        # While a batch is computed the next is read, and no more than that.
        jax.block_until_ready(found)
        measured = _measure(program.weights, *given, apply=program.apply, border=border)
        found.append((len(images), measured))
    if not found:
        raise BadInput("batches: there are none, so nothing is measured")
    found = [
        jax.tree.map(lambda leaf, count=count: leaf[:count], jax.device_get(batch))
        for count, batch in found
    ]
    whole = jax.tree.map(lambda *parts: np.concatenate(parts), *found)
    model_functions.check_clean(whole.norms)
    return whole


def early_response(amounts: np.ndarray, curve: np.ndarray) -> tuple[float, float]:
    """The share of a curve's largest value that is reached at once, and half-way.

    A curve that jumps at the smallest transformation and then is flat gives 1 and 1. A
    line through the origin gives its smallest amount over its largest, and 0.5.

    Args:
      amounts: [A], 0 where nothing is changed; of either sign.
      curve: [A], distances.

    Returns:
      At the smallest amount but 0, and at that next to half of the largest; the mean
      of those of both signs, over the curve's maximum. 0 where nothing changes.
    """
    size, largest = np.abs(amounts), curve.max()
    if largest == 0:
        return 0.0, 0.0
    away = size[size > 0].min(), size.max() / 2
    nearest = [np.abs(size - each) for each in away]
    at = [curve[near <= near.min() * (1 + 1e-6)].mean() for near in nearest]
    return tuple(float(each / largest) for each in at)


def _check(result, labels) -> None:
    """Checks what `model_fn` gives, and that it knows the classes."""
    if not (isinstance(result, tuple) and len(result) == 2):
        raise BadInput(
            "model_fn gives no pair: return (features, probabilities or None)"
        )
    if not isinstance(result[0], dict):
        raise BadInput(f"model_fn gives features as {type(result[0]).__name__}: a dict")
    if result[1] is not None and np.max(labels) >= result[1].shape[1]:
        raise BadInput(
            f"class {np.max(labels)}: model_fn gives 0 to {result[1].shape[1] - 1}"
        )


@functools.partial(xla.jit, static_argnames=("apply", "border"))
def _measure(weights, images, labels, matrices, *, apply, border) -> Invariance:
    own, probabilities = apply(weights, images)
    if probabilities is not None:
        labels = jnp.where(labels < 0, probabilities.argmax(axis=-1), labels)

    def measure_one(warp):
        features, probabilities = apply(weights, warps.apply(images, warp, border))
        distances = jax.tree.map(lambda a, b: _norm(_flat(a) - _flat(b)), features, own)
        if probabilities is None:
            return distances, None
        return distances, probabilities[jnp.arange(len(images)), labels]

    distances, probability = lax.map(measure_one, matrices)
    return Invariance(
        {name: each.T for name, each in distances.items()},
        {name: _norm(_flat(each)) for name, each in own.items()},
        None if probability is None else probability.T,
        None if probability is None else labels,
    )


def _flat(features: jax.Array) -> jax.Array:
    return features.astype(jnp.float32).reshape(len(features), -1)


def _norm(features: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.square(features).sum(axis=-1))
