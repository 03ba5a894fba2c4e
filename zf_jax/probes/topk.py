"""The images that excite each channel most, gathered in one pass over a data set.

The top k of each channel are the images of the paper's fig. 2. Any split of the data
into batches, on any number of devices, in any order, gives the same answer, since
`TopK` is a commutative monoid (`topk_monoid.py`).
"""

import collections
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax import parallel, xla
from zf_jax.errors import BadInput
from zf_jax.probes import model_functions
from zf_jax.probes.topk_monoid import TopK, empty, merge, of_batch, step
from zf_jax.transforms import cpu_forms

__all__ = [
    "ScanState",
    "TopK",
    "empty",
    "merge",
    "of_batch",
    "scan",
    "scan_states",
    "step",
]

# Images that are computed together, on any number of devices: float sums depend on how
# many there are, and the answer is to be the same to the bit.
# A CPU's cache holds few.
_MICROBATCH, _MICROBATCH_ON_CPU = 16, 4

MapsFn = Callable[..., dict[str, jax.Array]]
Batch = np.ndarray | tuple[np.ndarray, ...]


class ScanState(NamedTuple):
    """How far a pass over a data set has come.

    Attributes:
      best: the top k of each layer.
      seen: how many images were read; of several processes, as if the last batch of
        each were a whole one.
    """

    best: dict[str, TopK]
    seen: int


def scan(
    maps_fn: MapsFn,
    batches: Iterable[Batch],
    *,
    k: int = 9,
    devices: Sequence[jax.Device] | None = None,
) -> dict[str, TopK]:
    """The k strongest images of every channel, in one pass for all layers.

    `maps_fn` is compiled once for each shape of images. The weights that it closes over
    are those it has when the pass begins.

    Args:
      maps_fn: any JAX function of a batch [N, ...] to the maps of each layer,
        {layer: [N, H, W, C] or [N, D]}.
      batches: of images in the data set's order. No batch has more images than the
        first. A batch may be a tuple of arrays [N, ...], which `maps_fn` then takes as
        its arguments.
      k: how many images are kept for each channel.
      devices: those that share each batch; all local ones by default.

    Returns:
      The top k of each layer, by the names that `maps_fn` gives.

    Raises:
      BadInput: there are no batches, one is larger than the first, k is below 1, or
        `maps_fn` is refused by `model_functions.prepare`.
    """
    states = scan_states(maps_fn, batches, k=k, devices=devices)
    last = collections.deque(states, maxlen=1)
    if not last:
        raise BadInput("batches: there are none, so no image is the strongest")
    return last[0].best


def scan_states(
    maps_fn: MapsFn,
    batches: Iterable[Batch],
    *,
    k: int = 9,
    start: ScanState | None = None,
    batch_size: int | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Iterator[ScanState]:
    """`scan`, batch by batch: its states can be saved, and a pass resumed from one.

    Args:
      maps_fn: as in `scan`.
      batches: as in `scan`; those from image `start.seen` on. Where `devices` are those
        of several processes, every process gives as many batches: of each that all
        share the next `batch_size` images, or the fewer that are left.
      k: how many images are kept for each channel.
      start: where an earlier pass ended; the beginning by default.
      batch_size: images in a whole batch, where the first may be a short one: a resumed
        pass then adds up floats as the whole pass does. The first batch's by default.
      devices: as in `scan`; of several processes, equally many of each.

    Yields:
      The state after every batch. Its arrays are valid until the next is asked for.

    Raises:
      BadInput: as in `scan`, or `start` has other layers, channels or k.
    """
    if k < 1:
        raise BadInput(f"k {k}: starts at 1")
    devices = tuple(devices or jax.local_devices())
    processes = sorted({device.process_index for device in devices})
    best, seen, programs = None, start.seen if start else 0, None
    for number, batch in enumerate(batches):
        batch = batch if isinstance(batch, tuple) else (batch,)
        count = len(batch[0])
        if programs is None:
            first, on_cpu = batch_size or count, devices[0].platform == "cpu"
            microbatch = min(_MICROBATCH_ON_CPU if on_cpu else _MICROBATCH, first)
            devices = _first_of_each(devices, -(-first // microbatch))
            own = microbatch * len(devices) // len(processes)
            size = -(-first // own) * own
            part = processes.index(jax.process_index()) * first
            programs = _Programs(maps_fn, microbatch, devices)
        if count > first:
            raise BadInput(
                f"batches: batch {number} has {count} images, the first has {first}; "
                "give none that is larger than the first"
            )
        apply, weights, result = programs.of(batch)
        if best is None:
            best = parallel.replicate(_initial_topk(result, k, start), devices)
        # A batch that is short is filled up, so that it compiles nothing new.
        images = np.where(np.arange(size) < count, seen + part + np.arange(size), -1)
        seen += count if len(processes) == 1 else first * len(processes)
        given = [
            parallel.shard_batch(each, (size // microbatch, microbatch), devices)
            for each in (*batch, images)
        ]
        # While a batch is computed the next is read and sent, and no more than that.
        jax.block_until_ready(best)
        best = _merge_batch(weights, best, *given, apply=apply, k=k, devices=devices)
        yield ScanState(best, seen)


def _first_of_each(devices: parallel.Devices, count: int) -> parallel.Devices:
    """The first devices of each process, so many."""
    by_process = itertools.groupby(devices, lambda device: device.process_index)
    return tuple(each for _, own in by_process for each in [*own][:count])


class _Programs:
    """`maps_fn`, prepared for each shape of batches once in a pass."""

    def __init__(self, maps_fn: MapsFn, microbatch: int, devices):
        self._maps_fn, self._microbatch, self._devices = maps_fn, microbatch, devices
        self._known, self._placed = {}, {}

    def of(self, batch: tuple[np.ndarray, ...]):
        """The function of weights and a batch, its weights, its result's shapes."""
        key = tuple((each.shape[1:], each.dtype) for each in batch)
        if key not in self._known:
            program = model_functions.prepare_arguments(
                self._maps_fn,
                *(
                    jax.ShapeDtypeStruct((self._microbatch, *s), dtype)
                    for s, dtype in key
                ),
            )
            if not isinstance(program.result, dict):
                found = type(program.result).__name__
                raise BadInput(f"maps_fn gives a {found}: return {{layer: maps}}")
            weights = [self._place(each) for each in program.weights]
            self._known[key] = program.apply, weights, program.result
        return self._known[key]

    def _place(self, array: jax.Array) -> jax.Array:
        """The array on the devices: once, however many shapes of images there are."""
        if id(array) not in self._placed:
            placed = parallel.replicate(array, self._devices)
            # The array itself is kept, so that no other has its id.
            self._placed[id(array)] = array, placed
        return self._placed[id(array)][1]


def _initial_topk(result, k: int, start: ScanState | None) -> dict[str, TopK]:
    """What a pass begins with."""
    fresh = {name: empty(maps.shape[-1], k) for name, maps in result.items()}
    if start is None:
        return fresh
    shapes, given = (
        {name: each.values.shape for name, each in best.items()}
        for best in (fresh, start.best)
    )
    if shapes != given:
        raise BadInput(
            f"start: is a pass for {given} (channels, k), this one for {shapes}"
        )
    return jax.tree.map(jnp.asarray, start.best)


@functools.partial(
    xla.jit, static_argnames=("apply", "k", "devices"), donate_argnames="best"
)
def _merge_batch(weights, best, *batch, apply, k: int, devices):
    """`best`, merged with the top k of a batch.

    A batch is what `apply` takes, [P, B, ...] each for P pieces of B images, and last
    the images' indices [P, B].
    """
    apply = cpu_forms.depthwise(apply, devices[0].platform)

    def of_microbatch(best, microbatch):
        *arguments, indices = microbatch
        return step(best, apply(weights, *arguments), indices), None

    def of_pieces(*batch):
        fresh = {name: empty(len(each.values), k) for name, each in best.items()}
        return lax.scan(of_microbatch, fresh, batch)[0]

    def of_devices(*batch):
        gathered = lax.all_gather(of_pieces(*batch), parallel.AXIS)
        shares = [jax.tree.map(lambda x, i=i: x[i], gathered) for i in range(count)]
        return functools.reduce(merge_all, shares)

    def merge_all(one, other):
        return {name: merge(one[name], other[name], k) for name in one}

    count, work = len(devices), of_pieces
    if count > 1:
        work = jax.shard_map(
            of_devices,
            mesh=parallel.mesh(devices),
            in_specs=(parallel.SHARDED,) * len(batch),
            out_specs=parallel.REPLICATED,
            check_vma=False,
        )
    return merge_all(best, work(*batch))
