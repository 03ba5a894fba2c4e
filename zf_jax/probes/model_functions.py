"""The model as the probes see it: any JAX function of images, traced and checked."""

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

# How far an image's output may move when another image joins the batch, relative to the
# largest output. Roundings add up with half precision in the net, or TF32 on a GPU. A
# function that mixes images changes its outputs by far more, since the two images that
# are compared differ as much.
_ROUNDING = 0.05
# By function, the shapes and dtypes it was found to treat images independently for.
_independent: weakref.WeakKeyDictionary[Callable, set] = weakref.WeakKeyDictionary()

_NEEDS_VALUES = (
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
)


def prepare(model_fn: ModelFn, count: int, shape, dtype) -> closure.Hoisted:
    """The function for `count` images, with its weights made arguments.

    Args:
      model_fn: any JAX function of images [count, *shape] to a pytree of [count, ...].
      count: how many images.
      shape: of one image.
      dtype: of the images.

    Raises:
      BadInput: JAX cannot trace the function, or it fails on images of this shape, or a
        result does not begin with the axis of images.
    """
    return prepare_arguments(model_fn, jax.ShapeDtypeStruct((count, *shape), dtype))


def prepare_arguments(
    model_fn: Callable[..., Any],
    *examples: jax.ShapeDtypeStruct,
    **options: bool,
) -> closure.Hoisted:
    """`prepare` for a function of several arrays that all begin with the images' axis.

    `examples` are the shapes and dtypes of its arguments, `options` those of
    `closure.hoist`.
    """
    program = _trace(model_fn, examples, options)
    count = examples[0].shape[0]
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


def _trace(model_fn, examples, options: dict) -> closure.Hoisted:
    if not callable(model_fn):
        raise BadInput(
            f"model_fn is a {type(model_fn).__name__}: give a JAX function of images"
        )
    try:
        return closure.hoist(model_fn, *examples, **options)
    except BadInput:
        raise
    except _NEEDS_VALUES as error:
        raise BadInput(
            f"model_fn cannot be traced by JAX, its code needs values "
            f"({_first_line(error)}): use jax.numpy in it, and no branches on values"
        ) from None
    except flax.errors.TraceContextError as error:
        reason = str(error).split(" (http")[0]
        raise BadInput(
            f"model_fn changes its own state ({reason}): put the model into evaluation "
            "mode, as with model.eval()"
        ) from None
    except (TypeError, ValueError, flax.errors.FlaxError) as error:
        given = ", ".join(f"{each.dtype}{list(each.shape)}" for each in examples)
        raise BadInput(
            f"model_fn fails on {given} ({_first_line(error)}): give images of the "
            "size, channels and dtype that the model takes"
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__


def check_independent(
    model_fn: ModelFn, one: closure.Hoisted, image: jax.Array
) -> None:
    """Checks that the images of a batch do not mix, once per program and shape.

    `one` is what `prepare` gives for one image, `image` any [H, W, C].

    Raises:
      BadInput: an image's outputs depend on the others of its batch, as with batch
        normalisation in training mode.
    """
    key, seen = (image.shape, image.dtype), _independent.setdefault(one.apply, set())
    if key in seen:
        return
    two = prepare(model_fn, 2, image.shape, image.dtype)
    alone, joined = jax.device_get(
        _alone_and_joined(one.apply, two.apply, one.weights, two.weights, image)
    )
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(joined), strict=True):
        if not jnp.issubdtype(a.dtype, jnp.floating):
            continue
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        # The largest of both images: one image's output alone may be near 0, as a
        # change from the clean image is.
        most = max(np.abs(x[np.isfinite(x)]).max(initial=0) for x in (a, b))
        if not np.isclose(a, b, rtol=0, atol=_ROUNDING * most, equal_nan=True).all():
            raise BadInput(
                "model_fn mixes the images of a batch: an image's output changes when "
                "another joins it (batch normalisation in training mode?)"
            )
    seen.add(key)


@xla.jit(static_argnames=("one", "two"))
def _alone_and_joined(one, two, weights_one, weights_two, image):
    """The outputs of an image and of a very different one, alone and in one batch."""
    # The ramp makes it different from an image that is the same everywhere, too.
    ramp = jnp.linspace(0, 1, image.shape[0], dtype=image.dtype)[:, None, None]
    images = jnp.stack([image, image[::-1, ::-1] * 0.25 + ramp])
    alone = lax.map(lambda image: one(weights_one, image[None]), images)
    return jax.tree.map(lambda leaf: leaf[:, 0], alone), two(weights_two, images)


def check_clean(clean) -> None:
    """Checks that the outputs of the clean images, a pytree of arrays, are numbers.

    Raises:
      BadInput: one is NaN.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(clean):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and jnp.isnan(leaf).any():
            name = jax.tree_util.keystr(path)
            raise BadInput(
                f"the clean image's output{name} is NaN: look at the image and the "
                "weights for values that are no numbers"
            )
