"""What is minimised and what is counted: masked sums, never means of means."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class Sums(NamedTuple):
    """Sums over images, which add up over batches, devices and hosts.

    Attributes:
      loss: of the cross-entropies.
      top1: images whose label has the largest logit.
      top5: images whose label is among the five largest.
      count: images.
    """

    loss: jax.Array
    top1: jax.Array
    top5: jax.Array
    count: jax.Array

    def means(self) -> dict[str, float]:
        """Loss, top1 and top5 per image; 0 of none."""
        loss, top1, top5, count = map(float, jax.device_get(self))
        sums = {"loss": loss, "top1": top1, "top5": top5}
        return {name: value / max(count, 1.0) for name, value in sums.items()}


def zero() -> Sums:
    """The sums over no images."""
    return Sums(*jnp.zeros((4,), jnp.float32))


def score(logits: jax.Array, labels: jax.Array, mask: jax.Array) -> Sums:
    """The sums over a batch.

    A label's rank counts the logits that are not smaller, so equal logits are no
    success, nor is NaN.

    Args:
      logits: [N, L] float32.
      labels: [N] int32.
      mask: [N] bool; the others do not count.
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)
    rank = jnp.sum(~(logits < own), axis=1) - 1
    return Sums(
        jnp.sum(jnp.where(mask, losses, 0.0)),
        jnp.sum(mask & (rank < 1), dtype=jnp.float32),
        jnp.sum(mask & (rank < 5), dtype=jnp.float32),
        jnp.sum(mask, dtype=jnp.float32),
    )
