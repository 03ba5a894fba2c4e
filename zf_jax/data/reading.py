"""Grain reads: this host's part of every batch, in threads or in worker processes."""

import sys
from typing import NamedTuple

import grain

from zf_jax import processes
from zf_jax.data import examples
from zf_jax.errors import BadInput

# Batches are made whole by one thread each; this many are made ahead.
AHEAD = grain.ReadOptions(num_threads=4, prefetch_buffer_size=8)
_NO_WARNING = "ignore:resource_tracker:UserWarning"


class HostShard(NamedTuple):
    """Which part of every batch this host reads: `index` of `count`."""

    index: int = 0
    count: int = 1


class HostPart(grain.MapDataset):
    """The images that a host reads: its part of every whole batch, epoch after epoch.

    Attributes:
      per_batch: images in this host's part of a batch.
    """

    def __init__(self, images: grain.MapDataset, batch_size: int, shard: HostShard):
        super().__init__(images)
        self.per_batch, rest = divmod(batch_size, shard.count)
        if rest:
            raise BadInput(
                f"batch size {batch_size}: does not split over {shard.count} hosts"
            )
        self._images, self._batch_size = images, batch_size
        self._steps = len(images) // batch_size
        self._first = shard.index * self.per_batch

    def __len__(self) -> int:
        return self._steps * self.per_batch

    def __getitem__(self, index: int):
        batch, position = divmod(index, self.per_batch)
        epoch, batch = divmod(batch, self._steps)
        first = epoch * len(self._images) + batch * self._batch_size + self._first
        return self._images[first + position]


def iterate(dataset: grain.MapDataset, workers: int) -> grain.DatasetIterator:
    """Starts to read, in `workers` processes; in threads of this one for 0."""
    ahead = dataset.to_iter_dataset(AHEAD)
    if workers:
        # At its end Python cleans up what is still shared with workers, and warns of it
        # in a process of its own, which gets these options.
        if _NO_WARNING not in sys.warnoptions:
            sys.warnoptions.append(_NO_WARNING)
        ahead = ahead.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers),
            worker_init_fn=processes.end_with_parent,
        )
    return iter(ahead)


def next_batch(stream: grain.DatasetIterator) -> examples.Example | None:
    """The next batch of examples, None at the end.

    Raises:
      BadInput: a worker process ended.
    """
    try:
        return next(stream, None)
    except RuntimeError as error:
        # Grain's words for a worker that was killed; examples raise nothing (`read`).
        raise BadInput(
            f"data: a worker process ended ({examples.line(error)}); if the memory was "
            "full, take fewer --workers and start again"
        ) from error
