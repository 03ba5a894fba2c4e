"""Top-1 and top-5 errors, averaged over crops and nets (Table 2)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax.probes import model_functions


def make_probabilities(
    logits_fn: model_functions.ModelFn,
    activation: Callable[[jax.Array], jax.Array] = jax.nn.softmax,
) -> model_functions.ModelFn:
    """Makes a function that gives the classes' probabilities in every crop.

    Crops are computed one after the other, so that they need no more memory than one.

    Args:
      logits_fn: any JAX function of images [N, H, W, C] to logits [N, L].
      activation: logits [N, L] float32 to probabilities; the sigmoid for a net of
        independent classes.

    Returns:
      A function of crops [N, V, H, W, C], V of each image, to probabilities
      [N, V, L] float32; for `batched.map_batches`.
    """

    def probabilities(crops: jax.Array) -> jax.Array:
        def of_crop(images):
            return activation(logits_fn(images).astype(jnp.float32))

        return jnp.moveaxis(lax.map(of_crop, jnp.moveaxis(crops, 1, 0)), 0, 1)

    return probabilities


def ranks(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The rank of each label among the classes; 0 is the most probable.

    Classes as probable as the label come before it: a tie counts as an error, and so
    does NaN.

    Args:
      probabilities: [..., N, L], averaged over crops and nets as needed.
      labels: [N] int.

    Returns:
      [..., N] int.
    """
    own = np.take_along_axis(
        probabilities,
        np.broadcast_to(labels[:, None], (*probabilities.shape[:-1], 1)),
        axis=-1,
    )
    return np.sum(~(probabilities < own), axis=-1) - 1


def error(ranks: np.ndarray, k: int) -> np.ndarray:
    """The share of images whose label is not among the k most probable classes.

    Args:
      ranks: [..., N], as `ranks` gives them.
      k: 1 for the top-1 error, 5 for the top-5 error.

    Returns:
      [...] float64 in 0..1.
    """
    return np.mean(ranks >= k, axis=-1)
