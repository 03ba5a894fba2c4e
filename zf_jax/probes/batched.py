"""A function of images over a whole data set: batch by batch, on several devices."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec

from zf_jax import parallel, xla
from zf_jax.probes import model_functions


def over(
    model_fn: model_functions.ModelFn,
    batches: Iterable[np.ndarray],
    *,
    devices: Sequence[jax.Device] | None = None,
) -> Iterator[Any]:
    """What `model_fn` gives for every batch, on the host.

    It is compiled once per function and shape: a short batch is filled up. While the
    devices are at a batch, the one before is given.

    Args:
      model_fn: any JAX function of a batch [N, ...] to a pytree of [N, ...].
      batches: of one size but for the last.
      devices: that share each batch; all local ones by default.

    Yields:
      The pytree of every batch, numpy arrays.

    Raises:
      BadInput: `model_fn` cannot be traced, or does not keep the images' axis.
    """
    devices = tuple(devices or jax.local_devices())
    size, before = None, None
    for batch in batches:
        count = len(batch)
        if size is None:
            size = -(-count // len(devices)) * len(devices)
            program = model_functions.prepare(
                model_fn, size, batch.shape[1:], batch.dtype
            )
            weights = parallel.place(program.weights, devices, PartitionSpec())
        given = parallel.send(batch, (size,), devices)
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
