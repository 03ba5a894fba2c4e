"""Batches and weights on several devices: the one place that makes meshes."""

import math

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


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
