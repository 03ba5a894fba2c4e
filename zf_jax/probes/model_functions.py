"""What is read of a net: any JAX function of images, made ready and checked."""

import weakref
from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax import xla
from zf_jax.errors import BadInput
from zf_jax.transforms import closure

ModelFn = Callable[[jax.Array], Any]

# How far a reading may lie from itself in another batch, of the largest: roundings that
# add up, of half precision somewhere in the net or of TF32 on a GPU. What mixes images
# that differ as much as those compared changes its readings by far more.
_ROUNDING = 0.05
# By function and shape, those that were found to treat images one by one.
_checked: weakref.WeakKeyDictionary[Callable, set] = weakref.WeakKeyDictionary()


def prepare(model_fn: ModelFn, count: int, shape, dtype) -> closure.Hoisted:
    """The function for `count` images, its weights made arguments.

    Raises:
      BadInput: it cannot be traced, or its results do not begin with the images' axis.
    """
    try:
        program = closure.hoist(model_fn, jax.ShapeDtypeStruct((count, *shape), dtype))
    except (
        jax.errors.TracerArrayConversionError,
        jax.errors.TracerBoolConversionError,
        jax.errors.TracerIntegerConversionError,
        jax.errors.ConcretizationTypeError,
        jax.errors.NonConcreteBooleanIndexError,
    ) as error:
        reason = str(error).split("\n")[0]
        raise BadInput(
            f"model_fn cannot be traced by JAX, its code needs values ({reason}): use "
            "jax.numpy in it, and no branches on values"
        ) from None
    except flax.errors.TraceContextError as error:
        reason = str(error).split(" (http")[0]
        raise BadInput(
            f"model_fn changes its own state ({reason}): put the model into evaluation "
            "mode, as with model.eval()"
        ) from None
    leaves = jax.tree.leaves(program.result)
    if not leaves:
        raise BadInput("model_fn gives nothing: return an array, or a pytree of arrays")
    for leaf in leaves:
        if leaf.shape[:1] != (count,):
            raise BadInput(
                f"model_fn gives {leaf.shape} for {count} images: every result must "
                "begin with the axis of images"
            )
    return program


def check_independent(model_fn: ModelFn, image: jax.Array) -> None:
    """Whether images are read one by one: once per function and shape.

    Raises:
      BadInput: an image's reading depends on the others of its batch, as with batch
        normalisation in training mode.
    """
    one = prepare(model_fn, 1, image.shape, image.dtype)
    key, seen = (image.shape, image.dtype), _checked.setdefault(one.apply, set())
    if key in seen:
        return
    two = prepare(model_fn, 2, image.shape, image.dtype)
    alone, beside = jax.device_get(
        _alone_and_beside(one.apply, two.apply, one.weights, two.weights, image)
    )
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(beside), strict=True):
        if not jnp.issubdtype(a.dtype, jnp.floating):
            continue
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        # The largest of both images: a reading of one alone may be near 0, as a change
        # from the clean image is.
        most = max(np.abs(x[np.isfinite(x)]).max(initial=0) for x in (a, b))
        if not np.isclose(a, b, rtol=0, atol=_ROUNDING * most, equal_nan=True).all():
            raise BadInput(
                "model_fn mixes the images of a batch: an image's reading changes with "
                "another beside it (batch normalisation in training mode?)"
            )
    seen.add(key)


@xla.jit(static_argnames=("one", "two"))
def _alone_and_beside(one, two, weights_one, weights_two, image):
    """The readings of an image and of a very different one, alone and together."""
    # Different from one that is the same everywhere, too.
    ramp = jnp.linspace(0, 1, image.shape[0], dtype=image.dtype)[:, None, None]
    images = jnp.stack([image, image[::-1, ::-1] * 0.25 + ramp])
    alone = lax.map(lambda image: one(weights_one, image[None]), images)
    return jax.tree.map(lambda leaf: leaf[:, 0], alone), two(weights_two, images)


def check_clean(clean) -> None:
    """Whether the readings of the clean images are numbers.

    Raises:
      BadInput: one is NaN.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(clean):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and jnp.isnan(leaf).any():
            name = jax.tree_util.keystr(path)
            raise BadInput(
                f"the clean image's reading{name} is NaN: look at the image and the "
                "weights for values that are no numbers"
            )
