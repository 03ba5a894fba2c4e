"""A function of images, applied to a whole data set on one or more devices."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from zf_jax import parallel, xla
from zf_jax.errors import BadInput
from zf_jax.probes import model_functions


def map_batches(
    model_fn: model_functions.ModelFn,
    batches: Iterable[np.ndarray],
    *,
    devices: Sequence[jax.Device] | None = None,
) -> Iterator[Any]:
    """Yields the outputs of every batch, on the host.

    `model_fn` is compiled once: a short batch is filled up. The weights that it closes
    over are those it has when the first batch is read. While the devices compute one
    batch, the caller gets the outputs of the batch before.

    Args:
      model_fn: any JAX function of a batch [N, ...] to a pytree of [N, ...].
      batches: of examples of one shape. No batch has more of them than the first.
      devices: those that share each batch; all local ones by default.

    Yields:
      The pytree of every batch, NumPy arrays.

    Raises:
      BadInput: `model_fn` is refused by `model_functions.prepare`, or a batch is larger
        than the first or has another shape.
    """
    devices = tuple(devices or jax.local_devices())
    size, before = None, None
    for number, batch in enumerate(batches):
        count = len(batch)
        if size is None:
            first, size = batch.shape, -(-count // len(devices)) * len(devices)
            program = model_functions.prepare(
                model_fn, size, batch.shape[1:], batch.dtype
            )
            weights = parallel.replicate(program.weights, devices)
        if batch.shape[1:] != first[1:] or count > first[0]:
            raise BadInput(
                f"batches: batch {number} has shape {batch.shape}, the first {first}; "
                "give examples of one shape, and no batch larger than the first"
            )
        given = parallel.shard_batch(batch, (size,), devices)
        ahead = count, _apply(weights, given, apply=program.apply)
        if before:
            yield _fetch(*before)
        before = ahead
    if before:
        yield _fetch(*before)


@functools.partial(xla.jit, static_argnames="apply")
def _apply(weights, batch, *, apply):
    return apply(weights, batch)


def _fetch(count: int, found):
    return jax.tree.map(lambda leaf: leaf[:count], jax.device_get(found))
