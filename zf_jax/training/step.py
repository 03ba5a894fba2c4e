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
from zf_jax.ops import stochastic
from zf_jax.training import objective

_DEVICES = "devices"


class State(NamedTuple):
    """All that training carries from step to step, and a checkpoint holds.

    Attributes:
      params: {layer: {"kernel": ..., "bias": ...}} float32.
      optimizer: optax's state.
      step: [] int32, steps done.
      key: [2] uint32, random bits for dropout and mirroring; the step and an image's
        position in the batch are folded in.
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
    model: convnet.ConvNet,
    optimizer: optax.GradientTransformationExtraArgs,
    *,
    accumulate: int = 1,
) -> Callable[[State, Batch], State]:
    """The step: (state, batch of `shard_batch`) -> state. The old state is given up.

    Args:
      model: the net.
      optimizer: its `update` takes the validation error as `value`.
      accumulate: parts that each device computes its images in, one after the other,
        adding the gradients. More parts take less memory; what the step computes stays
        the same, to rounding.
    """

    def train_step(state: State, batch: Batch) -> State:
        # All images of a batch may be damaged.
        count = jnp.maximum(jax.lax.psum(batch.mask.sum(), _DEVICES), 1)

        def gradient_and_sums(batch: Batch, positions: jax.Array):
            def loss(params):
                sums = _score(model, params, state, batch, positions)
                return sums.loss / count, sums

            return jax.grad(loss, has_aux=True)(state.params)

        images = batch, _positions(len(batch.mask))
        total = _sum_over_parts(gradient_and_sums, images, accumulate)
        gradient, sums = jax.lax.psum(total, _DEVICES)
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


def _positions(count: int) -> jax.Array:
    """[count] int32: where this device's images lie among those of all devices."""
    return jax.lax.axis_index(_DEVICES) * count + jnp.arange(count)


def _score(
    model: convnet.ConvNet, params, state: State, batch: Batch, positions: jax.Array
) -> objective.Sums:
    """The sums over images as a step sees them: half of them mirrored, with dropout."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    mirror, dropout = jax.random.split(key)
    images = stochastic.mirror(mirror, batch.images, positions)
    logits, _ = model.apply(
        {"params": params},
        convnet.prepare(images, model.net.input),
        train=True,
        positions=positions,
        rngs={"dropout": dropout},
    )
    return objective.score(logits, batch.labels, batch.mask)


def _sum_over_parts(function: Callable, images: Any, parts: int) -> Any:
    """The sum of function(*part) over equal parts of the arrays' first axis."""
    if parts == 1:
        return function(*images)
    split = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), images)
    first = jax.tree.map(lambda x: x[0], split)
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(function, *first))

    def add(total, part):
        return jax.tree.map(jnp.add, total, function(*part)), None

    return jax.lax.scan(add, zeros, split)[0]


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
    """The batch [N, ...] as [D, N / D, ...], a part on each local device."""
    devices = tuple(jax.local_devices())
    sharding = NamedSharding(parallel.mesh(devices), parallel.SHARDED)
    split = jax.tree.map(
        lambda part: np.reshape(part, (len(devices), -1, *part.shape[1:])), batch
    )
    return jax.device_put(split, sharding)


def check_divisible(batch_size: int, accumulate: int = 1) -> None:
    """Raises BadInput where devices, or their parts, cannot share a batch evenly."""
    devices = jax.device_count()
    shares = devices * accumulate
    if batch_size % shares:
        lower = batch_size // shares * shares
        among = f"{devices} devices"
        if accumulate > 1:
            among += f" with {accumulate} parts each (accumulate)"
        raise BadInput(
            f"batch_size {batch_size}: does not split over {among}; take "
            f"{lower or shares} or {lower + shares}"
        )
