"""One training step over all local devices, by `jax.pmap`.

The state is never replicated by hand: it goes in and comes out as one
(`in_axes=(None, 0)`, `out_axes=None`), the batch is split along its first axis.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding

from zf_jax import convnet, parallel, xla
from zf_jax.data.batches import Batch
from zf_jax.errors import BadInput
from zf_jax.training import objective

_DEVICES = "devices"


class State(NamedTuple):
    """All that training carries from step to step, and a checkpoint holds.

    Attributes:
      params: {layer: {"kernel": ..., "bias": ...}} float32.
      optimizer: optax's state.
      step: [] int32, steps done.
      key: [2] uint32, random bits for dropout; the step and the device are folded in.
      error: [] float32 in 0..1, the last top-1 validation error; 1 before there is one.
      seen: sums over the epoch's training images so far.
    """

    params: Any
    optimizer: Any
    step: jax.Array
    key: jax.Array
    error: jax.Array
    seen: objective.Sums


def first_state(
    model: convnet.ConvNet, optimizer: optax.GradientTransformation, seed: int
) -> State:
    """The state before the first step."""
    weights, dropout = jax.random.split(jax.random.key(seed))
    images = jnp.zeros((1, *model.net.input.size, model.net.input.channels))
    params = xla.jit(model.init)(weights, images)["params"]
    return State(
        params,
        optimizer.init(params),
        jnp.zeros((), jnp.int32),
        jax.random.key_data(dropout),
        jnp.ones((), jnp.float32),
        objective.zero(),
    )


def replicate(state: State) -> State:
    """The state where the step leaves it, so that its first call compiles the last."""
    mesh = parallel.mesh(tuple(jax.local_devices()))
    return jax.device_put(state, NamedSharding(mesh, parallel.REPLICATED))


def end_epoch(state: State, error: float) -> State:
    """The state with the epoch's validation error, and its sums begun anew."""
    return state._replace(
        error=jnp.full_like(state.error, error),
        seen=jax.tree.map(jnp.zeros_like, state.seen),
    )


def make_train_step(
    model: convnet.ConvNet, optimizer: optax.GradientTransformationExtraArgs
) -> Callable[[State, Batch], State]:
    """The step: (state, batch of `shard_batch`) -> state. The old state is given up."""

    def train_step(state: State, batch: Batch) -> State:
        key = jax.random.wrap_key_data(state.key)
        key = jax.random.fold_in(key, state.step)
        key = jax.random.fold_in(key, jax.lax.axis_index(_DEVICES))
        count = jax.lax.psum(batch.mask.sum(), _DEVICES)

        def loss(params):
            images = convnet.prepare(batch.images, model.net.input)
            logits, _ = model.apply(
                {"params": params}, images, train=True, rngs={"dropout": key}
            )
            sums = objective.score(logits, batch.labels, batch.mask)
            return sums.loss / count, sums

        gradient, sums = jax.grad(loss, has_aux=True)(state.params)
        gradient, sums = jax.lax.psum((gradient, sums), _DEVICES)
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer, state.params, value=state.error
        )
        return state._replace(
            params=optax.apply_updates(state.params, updates),
            optimizer=optimizer_state,
            step=state.step + 1,
            seen=jax.tree.map(jnp.add, state.seen, sums),
        )

    return jax.pmap(
        train_step,
        axis_name=_DEVICES,
        in_axes=(None, 0),
        out_axes=None,
        donate_argnums=(0,),
    )


def make_eval_step(
    model: convnet.ConvNet,
) -> Callable[[Any, Batch], objective.Sums]:
    """(parameters, batch of `shard_batch`) -> the batch's sums."""

    def eval_step(params, batch: Batch) -> objective.Sums:
        images = convnet.prepare(batch.images, model.net.input)
        logits, _ = model.apply({"params": params}, images)
        sums = objective.score(logits, batch.labels, batch.mask)
        return jax.lax.psum(sums, _DEVICES)

    return jax.pmap(eval_step, axis_name=_DEVICES, in_axes=(None, 0), out_axes=None)


def shard_batch(batch: Batch) -> Batch:
    """The batch [N, ...] as [D, N / D, ...], a part for each local device."""
    devices = jax.local_device_count()
    return jax.tree.map(
        lambda part: np.reshape(part, (devices, -1, *part.shape[1:])), batch
    )


def check_divisible(batch_size: int) -> None:
    """Raises BadInput where the devices cannot share a batch evenly."""
    devices = jax.device_count()
    if batch_size % devices:
        lower = batch_size // devices * devices
        raise BadInput(
            f"batch_size {batch_size}: does not split over {devices} devices; take "
            f"{lower or devices} or {lower + devices}"
        )
