"""SGD as the paper has it (section 3), as a chain of optax transforms."""

import jax
import jax.numpy as jnp
import optax

from zf_jax.training.recipe import Recipe


def make_optimizer(
    recipe: Recipe, steps_per_epoch: int
) -> optax.GradientTransformationExtraArgs:
    """The recipe's optimizer. Its `update` takes the validation error as `value`."""
    chain = []
    if recipe.weight_decay:
        chain.append(optax.add_decayed_weights(recipe.weight_decay, mask=_kernels))
    chain.append(optax.trace(decay=recipe.momentum))
    chain.append(optax.scale_by_learning_rate(make_schedule(recipe, steps_per_epoch)))
    if recipe.schedule == "plateau":
        # Every step of an epoch is told the error that the last epoch ended with, so
        # the mean over an epoch's steps is that error.
        chain.append(
            optax.contrib.reduce_on_plateau(
                factor=recipe.factor,
                patience=recipe.patience,
                accumulation_size=steps_per_epoch,
            )
        )
    if recipe.filter_rms:
        chain.append(clip_filters(recipe.filter_rms))
    return optax.with_extra_args_support(optax.chain(*chain))


def make_schedule(recipe: Recipe, steps_per_epoch: int) -> optax.Schedule:
    """Learning rate by step, before what a plateau takes off it."""
    if recipe.schedule != "cosine":
        return optax.constant_schedule(recipe.learning_rate)
    steps = recipe.epochs * steps_per_epoch
    return optax.warmup_cosine_decay_schedule(
        0.0, recipe.learning_rate, min(steps_per_epoch, steps - 1), steps
    )


def clip_filters(rms: float) -> optax.GradientTransformation:
    """Scales a filter whose RMS is above `rms` back to it, after the update.

    A filter is the part of a convolution's kernel that makes one map. To be the last
    of a chain: it sees what the weights would become.
    Not in the paper: how often. Here after every update.
    """

    def update(updates, state, params):
        def clip(change, weights):
            if weights.ndim != 4:
                return change
            new = weights + change
            size = jnp.sqrt(jnp.mean(jnp.square(new), axis=(0, 1, 2), keepdims=True))
            return new * jnp.minimum(1.0, rms / jnp.maximum(size, 1e-30)) - weights

        return jax.tree.map(clip, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _kernels(params):
    return jax.tree.map(lambda weights: weights.ndim > 1, params)
