"""The compiled occlusion sweeps: from the pixels up, or only what the occluder changes.

Positions of the occluder are computed in chunks, in a loop on the device, so that the
chunk bounds the memory. Several devices share the positions.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax import parallel, xla
from zf_jax.parallel import Devices
from zf_jax.probes.occluder_grid import Grid
from zf_jax.transforms import costs, cpu_forms, jaxpr
from zf_jax.transforms.incremental import Plan
from zf_jax.transforms.jaxpr import TracedFunction

# Bytes that the values of one chunk may take, by backend, and the most positions of the
# occluder that are computed together.
_BUDGET = {"cpu": 24 << 20}
_BUDGET_ACCELERATOR = 2 << 30
_LARGEST_CHUNK = 256
# Positions whose layers behind the last window are computed together.
_BLOCK = 128


class Planned(NamedTuple):
    """A function, and what the occluder changes in it."""

    traced: TracedFunction
    plan: Plan

    @property
    def gain(self) -> float:
        """How many times less there is to do than from the pixels up."""
        return costs.of_function(self.traced) / (costs.of_plan(self.plan) or 1)


def plan(
    apply, weights, image: jax.ShapeDtypeStruct, grid: Grid, platform: str
) -> Planned:
    """Plans a sweep of an image [1, H, W, C]; `weights` are shapes and dtypes."""
    traced = jaxpr.trace(apply, weights, image)
    rows, columns = grid.covered(image.shape[1:3])
    return Planned(traced, Plan(traced, rows, columns, platform))


# `weights` is a tuple.
plan_once = functools.lru_cache(maxsize=32)(plan)


@functools.partial(xla.jit, static_argnames=("apply", "grid", "chunk", "devices"))
def incremental(
    apply,
    weights,
    images,
    fill,
    grid: Grid,
    chunk: int | None,
    devices: Devices,
):
    """Sweeps that recompute only what the occluder changes.

    Args:
      apply: (weights, images) -> pytree, for one image.
      weights: its arrays.
      images: [N, H, W, C].
      fill: [N or 1, H or 1, W or 1, C or 1].
      grid: the occluder's positions.
      chunk: positions computed together; None for what fits.
      devices: those that share the positions.

    Returns:
      Lists of the pytree's leaves: [N, R, S, ...], and of the clean images, [N, ...].
    """
    abstract, one = tuple(jaxpr.abstract(weights)), jaxpr.abstract(images[:1])
    planned = plan_once(apply, abstract, one, grid, devices[0].platform)
    return run_planned(planned, weights, images, fill, grid, chunk, devices)


def run_planned(
    planned: Planned, weights, images, fill, grid: Grid, chunk, devices: Devices
):
    """`incremental` by a plan, as a function that JAX can trace."""
    handle = cpu_forms.handler(devices[0].platform)

    def sweep(image, fill):
        clean = planned.traced.values(weights, image[None], handle)
        leaves = _incremental(planned.plan, clean, fill, chunk, devices)
        results = planned.traced.results
        return leaves, [jaxpr.value_of(atom, clean)[0] for atom in results]

    outputs, clean = _by_image(sweep, images, fill)
    return [_on_grid(leaf, grid) for leaf in outputs], clean


def _incremental(plan: Plan, clean, fill, chunk: int | None, devices: Devices):
    """The leaves at all positions of a plan, [T, ...]."""
    prepared, total = plan.prepare(clean), math.ceil(plan.positions / len(devices))
    dense = _fitting(costs.peak_bytes_dense(plan), devices)
    chunk = chunk or min(dense, _fitting(costs.peak_bytes_windowed(plan), devices))
    chunk = balanced_chunk_size(chunk, total)
    chunks = math.ceil(total / chunk)
    chunks_per_block = balanced_chunk_size(max(1, min(_BLOCK, dense) // chunk), chunks)

    def block(offsets):
        offsets = offsets.reshape(chunks_per_block, chunk, -1)
        windowed = jax.vmap(lambda each: plan.windowed(clean, prepared, each, fill))
        live = jax.tree.map(_flat, lax.map(windowed, offsets))
        dense = jax.vmap(
            lambda values: plan.dense(clean, prepared, values),
            axis_size=chunks_per_block * chunk,
        )
        return [leaf[:, 0] for leaf in dense(live)]

    return _map_positions(block, plan.offsets, chunks_per_block * chunk, devices)


def run_full(apply, weights, images, fill, grid: Grid, chunk: int, devices: Devices):
    """Sweeps from the pixels up, as a function that JAX can trace.

    `apply` is for `chunk` images; arguments and results are otherwise those of
    `incremental`.
    """
    apply = cpu_forms.depthwise(apply, devices[0].platform)
    rows, columns = grid.covered(images.shape[1:3])
    bounds = np.stack([rows.low, rows.high, columns.low, columns.high], axis=1)
    # The first is the image itself.
    bounds = np.concatenate([np.zeros_like(bounds[:1]), bounds])

    def sweep(image, fill):
        down, across = (jnp.arange(n)[:, None] for n in image.shape[:2])

        def occlude(bound):
            covered = (down >= bound[0]) & (down < bound[1])
            covered &= ((across >= bound[2]) & (across < bound[3])).T
            return jnp.where(covered[..., None], fill[0], image)

        def outputs_at(bounds):
            return jax.tree.leaves(apply(weights, jax.vmap(occlude)(bounds)))

        # The derivative computes a chunk's hidden values again: all would not fit.
        outputs_at = jax.checkpoint(outputs_at, prevent_cse=False)
        leaves = _map_positions(outputs_at, bounds, chunk, devices)
        return [leaf[1:] for leaf in leaves], [leaf[0] for leaf in leaves]

    outputs, clean = _by_image(sweep, images, fill)
    return [_on_grid(leaf, grid) for leaf in outputs], clean


full = xla.jit(run_full, static_argnames=("apply", "grid", "chunk", "devices"))


def _by_image(sweep: Callable, images, fill):
    """`sweep` of one image and its fill, for all images, one after the other."""
    if len(images) == 1:
        return jax.tree.map(lambda leaf: leaf[None], sweep(images[0], fill))
    if len(fill) == 1:
        return lax.map(lambda image: sweep(image, fill), images)
    return lax.map(lambda pair: sweep(pair[0], pair[1][None]), (images, fill))


def _map_positions(
    function: Callable, positions: np.ndarray, chunk: int, devices: Devices
):
    """`function` of [chunk, ...] positions for all of them [T, ...], chunk by chunk."""
    total = len(positions)
    chunks = math.ceil(total / (chunk * len(devices))) * len(devices)
    # The last chunk is filled up with its last position, computed again.
    filled = np.minimum(np.arange(chunks * chunk), total - 1)
    positions = jnp.asarray(positions[filled].reshape(chunks, chunk, -1), jnp.int32)

    def run(positions):
        return lax.map(function, positions)

    def run_and_gather(positions):
        return lax.all_gather(run(positions), parallel.AXIS, tiled=True)

    if len(devices) > 1:
        # Gathered, so that every process has the outputs of all.
        run_all = jax.shard_map(
            run_and_gather,
            mesh=parallel.mesh(devices),
            in_specs=parallel.SHARDED,
            out_specs=parallel.REPLICATED,
            check_vma=False,
        )
    else:
        run_all = run
    return jax.tree.map(lambda leaf: _flat(leaf)[:total], run_all(positions))


def _flat(leaf: jax.Array) -> jax.Array:
    """[A, B, ...] as [A * B, ...]."""
    return leaf.reshape(-1, *leaf.shape[2:])


def _on_grid(leaf: jax.Array, grid: Grid) -> jax.Array:
    """[N, T, ...] as [N, R, S, ...]."""
    return leaf.reshape(len(leaf), *grid.shape, *leaf.shape[2:])


def balanced_chunk_size(most: int, total: int) -> int:
    """At most so many of a total at a time, as evenly as can be."""
    return math.ceil(total / math.ceil(total / most))


def full_chunk_size(
    apply, weights, image, grid: Grid, devices: Devices, wanted: int | None
) -> int:
    """How many positions a device computes together from the pixels up.

    Args:
      apply: for one image.
      weights: its arrays.
      image: ShapeDtypeStruct of one, [1, H, W, C].
      grid: the occluder's positions.
      devices: those that share them.
      wanted: the most; None for what fits the backend.
    """
    if wanted is None:
        traced = jaxpr.trace(apply, weights, image)
        # Filters from the pixels up do best by a few images, not by one.
        wanted = _fitting(costs.peak_bytes(traced) // 3, devices)
    return balanced_chunk_size(wanted, math.ceil(grid.count / len(devices)))


def _fitting(largest: int, devices: Devices) -> int:
    """How many positions fit the backend's budget, by the most bytes that one holds."""
    budget = _BUDGET.get(devices[0].platform, _BUDGET_ACCELERATOR)
    return max(1, min(_LARGEST_CHUNK, budget // max(1, largest)))
