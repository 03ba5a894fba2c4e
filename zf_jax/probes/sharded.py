"""A function of images over a whole data set: batch by batch, on several devices."""

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zf_jax.probes import readings


def over(
    read: readings.Read,
    batches: Iterable[np.ndarray],
    *,
    devices: Sequence[jax.Device] | None = None,
) -> Iterator[Any]:
    """What `read` gives for every batch, on the host.

    It is compiled once per function and shape: a short batch is filled up. While the
    devices are at a batch, the one before is given.

    Args:
      read: any JAX function of a batch [N, ...] to a pytree of [N, ...].
      batches: of one size but for the last.
      devices: that share each batch; all local ones by default.

    Yields:
      The pytree of every batch, numpy arrays.

    Raises:
      BadInput: `read` cannot be traced, or does not keep the images' axis.
    """
    devices = tuple(devices or jax.local_devices())
    size, before = None, None
    for batch in batches:
        count = len(batch)
        if size is None:
            size = -(-count // len(devices)) * len(devices)
            program = readings.prepare(read, size, batch.shape[1:], batch.dtype)
            weights = place(program.weights, devices, PartitionSpec())
        given = send(batch, (size,), devices)
        ahead = count, _apply(weights, given, apply=program.apply)
        if before:
            yield _fetch(*before)
        before = ahead
    if before:
        yield _fetch(*before)


@functools.partial(jax.jit, static_argnames="apply")
def _apply(weights, batch, *, apply):
    return apply(weights, batch)


def _fetch(count: int, found):
    return jax.tree.map(lambda leaf: leaf[:count], jax.device_get(found))


def send(
    batch: np.ndarray, axes: tuple[int, ...], devices: tuple[jax.Device, ...]
) -> jax.Array:
    """Copies a batch to the devices, filled up with zeros.

    Returns once it is there, so that the caller may fill its buffer again.

    Args:
      batch: [N, ...].
      axes: to stand in place of N, the first of which the devices share.
      devices: which.
    """
    missing = math.prod(axes) - len(batch)
    if missing or devices[0].platform == "cpu":
        # A CPU reads the host's memory where it is.
        batch = np.pad(batch, [(0, missing)] + [(0, 0)] * (batch.ndim - 1))
    batch = batch.reshape(*axes, *batch.shape[1:])
    return jax.block_until_ready(place(batch, devices, PartitionSpec("devices")))


def place(arrays, devices: tuple[jax.Device, ...], spec: PartitionSpec):
    """The arrays on the devices."""
    if len(devices) == 1:
        return jax.device_put(arrays, devices[0])
    return jax.device_put(arrays, NamedSharding(mesh(devices), spec))


def mesh(devices: tuple[jax.Device, ...]) -> Mesh:
    """The devices in a row, an axis called "devices"."""
    return Mesh(np.array(devices), ("devices",))
