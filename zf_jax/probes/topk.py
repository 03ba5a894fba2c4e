"""The images that excite each map most, gathered in one pass over a data set (fig. 2).

`Strongest` is a commutative monoid (`nothing`, `merge`): any split of the data into
batches, on any number of devices, in any order, gives the same answer.
"""

import collections
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

from zf_jax import parallel, xla
from zf_jax.errors import BadInput
from zf_jax.transforms import closure

# Images that are computed together, on any number of devices: float sums depend on how
# many there are, and the answer is to be the same to the bit.
# A CPU's cache holds few.
_PIECE, _PIECE_ON_CPU = 16, 4


class TopK(NamedTuple):
    """The k images that excite each map of a layer most, strongest first.

    An image counts once a map, with its strongest position; equal values stand in the
    order of the images. Where there are fewer than k images: value -inf, image -1.

    Attributes:
      values: [C, K] float32, the activations.
      images: [C, K] int32, index in the data set.
      positions: [C, K, 2] int32, (row, column) in the map; 0 for dense layers.
    """

    values: jax.Array
    images: jax.Array
    positions: jax.Array


def empty(channels: int, k: int) -> TopK:
    """The neutral element of `merge`: no image seen."""
    return TopK(
        jnp.full((channels, k), -jnp.inf, jnp.float32),
        jnp.full((channels, k), -1, jnp.int32),
        jnp.zeros((channels, k, 2), jnp.int32),
    )


def of_batch(maps: jax.Array, images: jax.Array) -> TopK:
    """Every image of a batch with its strongest position in each map.

    Args:
      maps: [N, H, W, C] or [N, D].
      images: [N] int, each image's index in the data set; -1 for what is none.
    """
    count, *places, channels = maps.shape
    flat = maps.astype(jnp.float32).reshape(count, -1, channels)
    values = jnp.where((images >= 0)[:, None], flat.max(axis=1), -jnp.inf)
    at = jnp.unravel_index(flat.argmax(axis=1), tuple(places) if places else (1, 1))
    positions = jnp.stack(at, axis=-1).astype(jnp.int32)
    images = jnp.broadcast_to(images.astype(jnp.int32), (channels, count))
    return TopK(values.T, images, positions.swapaxes(0, 1))


def merge(one: TopK, other: TopK, k: int) -> TopK:
    """The k strongest of both."""
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), one, other)
    values, images, rows, columns = lax.sort(
        (-both.values, both.images, both.positions[..., 0], both.positions[..., 1]),
        num_keys=2,
    )
    return TopK(
        -values[:, :k], images[:, :k], jnp.stack([rows, columns], axis=-1)[:, :k]
    )


class ScanState(NamedTuple):
    """How far a pass over a data set has come.

    Attributes:
      best: of each layer.
      seen: images.
    """

    best: dict[str, TopK]
    seen: int


def scan(
    maps_fn: Callable[[jax.Array], dict[str, jax.Array]],
    batches: Iterable[np.ndarray],
    *,
    k: int = 9,
    devices: Sequence[jax.Device] | None = None,
) -> dict[str, TopK]:
    """The k strongest images of every map, in one pass for all layers.

    `maps_fn` is compiled once per function, as in `occlusion.sweep`.

    Args:
      maps_fn: a batch [N, ...] to the maps of each layer, [N, H, W, C] or [N, D].
      batches: of one size but for the last, in the data set's order.
      k: how many.
      devices: that share each batch; all local ones by default.

    Raises:
      BadInput: no batches, or k below 1.
    """
    passed = scan_states(maps_fn, batches, k=k, devices=devices)
    last = collections.deque(passed, maxlen=1)
    if not last:
        raise BadInput("batches: there are none, so no image is the strongest")
    return last[0].best


def scan_states(
    maps_fn: Callable[[jax.Array], dict[str, jax.Array]],
    batches: Iterable[np.ndarray],
    *,
    k: int = 9,
    start: ScanState | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Iterator[ScanState]:
    """`strongest`, batch by batch, to be kept and gone on from.

    Args:
      maps_fn: as in `strongest`.
      batches: as in `strongest`; those from image `start.seen` on.
      k: how many.
      start: where an earlier pass ended; the beginning by default.
      devices: as in `strongest`.

    Yields:
      How far it has come, after every batch; it holds until the next is asked for.

    Raises:
      BadInput: k below 1, or `start` of other layers, maps or k.
    """
    if k < 1:
        raise BadInput(f"k {k}: starts at 1")
    devices = tuple(devices or jax.local_devices())
    best, seen, size = None, start.seen if start else 0, None
    for batch in batches:
        if size is None:
            on_cpu = devices[0].platform == "cpu"
            piece = min(_PIECE_ON_CPU if on_cpu else _PIECE, len(batch))
            devices = devices[: -(-len(batch) // piece)]
            size = -(-len(batch) // (piece * len(devices))) * piece * len(devices)
        images = np.where(np.arange(size) < len(batch), seen + np.arange(size), -1)
        seen += len(batch)
        shape = piece, *batch.shape[1:]
        read = closure.hoist(maps_fn, jax.ShapeDtypeStruct(shape, batch.dtype))
        if best is None:
            best = _first(read.result, k, start)
            weights, best = parallel.place(
                (read.weights, best), devices, PartitionSpec()
            )
        # A batch that is short is filled up, so that it compiles nothing new.
        pieces = size // piece, piece
        given = [parallel.send(each, pieces, devices) for each in (batch, images)]
        # While a batch is computed the next is read and sent, and no more than that.
        jax.block_until_ready(best)
        best = _absorb(weights, best, *given, apply=read.apply, k=k, devices=devices)
        yield ScanState(best, seen)


def _first(result, k: int, start: ScanState | None) -> dict[str, TopK]:
    """What a pass begins with."""
    fresh = {name: empty(maps.shape[-1], k) for name, maps in result.items()}
    if start is None:
        return fresh
    shapes, given = (
        {name: each.values.shape for name, each in best.items()}
        for best in (fresh, start.best)
    )
    if shapes != given:
        raise BadInput(f"start: is a pass for {given} (maps, k), this one for {shapes}")
    return jax.tree.map(jnp.asarray, start.best)


@functools.partial(
    xla.jit, static_argnames=("apply", "k", "devices"), donate_argnames="best"
)
def _absorb(weights, best, batch, images, *, apply, k: int, devices):
    """`best`, and the strongest of the pieces [P, B, ...] of a batch."""

    def of_piece(best, piece):
        pixels, numbers = piece
        maps = apply(weights, pixels)
        found = {name: of_batch(maps[name], numbers) for name in best}
        return merge_all(best, found), None

    def of_pieces(batch, images):
        fresh = {name: empty(len(each.values), k) for name, each in best.items()}
        return lax.scan(of_piece, fresh, (batch, images))[0]

    def of_devices(batch, images):
        everyones = lax.all_gather(of_pieces(batch, images), "devices")
        shares = [jax.tree.map(lambda x, i=i: x[i], everyones) for i in range(count)]
        return functools.reduce(merge_all, shares)

    def merge_all(one, other):
        return {name: merge(one[name], other[name], k) for name in one}

    count, work = len(devices), of_pieces
    if count > 1:
        spec = PartitionSpec("devices")
        work = jax.shard_map(
            of_devices,
            mesh=parallel.mesh(devices),
            in_specs=(spec, spec),
            out_specs=PartitionSpec(),
            check_vma=False,
        )
    return merge_all(best, work(batch, images))
