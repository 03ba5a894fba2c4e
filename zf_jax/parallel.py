"""Arrays on several devices: the one place that makes meshes.

The devices may be those of several processes, equally many of each: then every process
makes the same calls, with its own part of what is shared out.
"""

import math

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# The mesh's only axis, and how an array lies along it: whole on each device, or its
# first axis shared out.
AXIS = "devices"
REPLICATED, SHARDED = PartitionSpec(), PartitionSpec(AXIS)

Devices = tuple[jax.Device, ...]


def mesh(devices: Devices) -> Mesh:
    """The devices in a row, along `AXIS`."""
    return Mesh(np.array(devices), (AXIS,))


def replicate(arrays, devices: Devices):
    """A pytree of arrays, whole on each of the devices."""
    return _put(arrays, devices, REPLICATED)


def shard_batch(
    batch: np.ndarray, leading: tuple[int, ...], devices: Devices
) -> jax.Array:
    """Copies a batch, or this process's part of it, to the devices.

    It is filled up with zeros.

    Returns once it is there, so that the caller may fill its buffer again.

    Args:
      batch: [N, ...].
      leading: lengths of the axes that replace N, of at least N entries. The devices
        share the first of them: those of this process, its part.
      devices: one or several.
    """
    missing = math.prod(leading) - len(batch)
    if missing or devices[0].platform == "cpu":
        # A CPU device reads the host's memory in place, so the batch is copied first.
        batch = np.pad(batch, [(0, missing)] + [(0, 0)] * (batch.ndim - 1))
    batch = batch.reshape(*leading, *batch.shape[1:])
    return jax.block_until_ready(_put(batch, devices, SHARDED))


def _put(arrays, devices: Devices, spec: PartitionSpec):
    if len(devices) == 1:
        return jax.device_put(arrays, devices[0])
    sharding = NamedSharding(mesh(devices), spec)
    if sharding.is_fully_addressable:
        return jax.device_put(arrays, sharding)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)),
        arrays,
    )
