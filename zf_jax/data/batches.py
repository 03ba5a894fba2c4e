"""Batches of crops, read, shuffled and cut by grain.

Training batch b is a function of the seed and b alone: a run resumes at any step with
the batches it would have had. Under several hosts each reads its own shard.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import grain
import numpy as np

from zf_jax import processes
from zf_jax.data import crops
from zf_jax.data.sources import Source
from zf_jax.errors import BadInput
from zf_jax.layers import Pair

# Batches are made whole by one thread each; this many are made ahead.
_AHEAD = grain.ReadOptions(num_threads=4, prefetch_buffer_size=8)


class Batch(NamedTuple):
    """Images as they are cut, before the mean is taken off.

    Attributes:
      images: [N, H, W, 3] uint8, RGB; [N, 10, H, W, 3] of ten crops.
      labels: [N] int32.
      mask: [N] bool, False for what fills up the last batch.
    """

    images: np.ndarray
    labels: np.ndarray
    mask: np.ndarray


class HostShard(NamedTuple):
    """Which part of the examples this host reads: `index` of `count`."""

    index: int = 0
    count: int = 1


def steps_per_epoch(
    source: Source, batch_size: int, shard: HostShard = HostShard()
) -> int:
    """Whole batches of `batch_size` in this host's shard.

    Raises:
      BadInput: there is none.
    """
    steps = len(source.examples) // shard.count // batch_size
    if not steps:
        raise BadInput(
            f"batch size {batch_size}: {source.split} of {source.name} has only "
            f"{len(source.examples)} examples for {shard.count} hosts"
        )
    return steps


def training(
    source: Source,
    *,
    size: Pair,
    resize: int,
    batch_size: int,
    seed: int,
    start: int = 0,
    workers: int = 0,
    shard: HostShard = HostShard(),
) -> Iterator[Batch]:
    """Shuffled batches of random crops without end, each epoch in a new order.

    Args:
      source: the split.
      size: (rows, columns) of a crop, pixels.
      resize: the images' smaller side before the crop, pixels.
      batch_size: of this host.
      seed: of the order and the crops.
      start: number of the first batch.
      workers: processes that decode; 0 decodes in threads of this one, which is
        enough for small images.
      shard: this host's.
    """
    steps_per_epoch(source, batch_size, shard)
    even = len(source.examples) // shard.count * shard.count
    dataset = (
        grain.MapDataset.range(shard.index, even, shard.count)
        # Hosts draw from streams of their own.
        .seed(int(np.random.SeedSequence([seed, shard.index]).generate_state(1)[0]))
        .shuffle()
        .map(functools.partial(_example, source.examples, resize=resize))
        .random_map(functools.partial(_random_crop, size=size))
        # What an epoch drops differs from epoch to epoch.
        .batch(batch_size, drop_remainder=True)
        .repeat()
    )
    batches = _read(dataset, workers)
    if start:
        grain.experimental.set_next_index(batches, start)
    for images, labels in batches:
        yield Batch(images, labels, np.ones(len(labels), bool))


def evaluation(
    source: Source,
    *,
    size: Pair,
    resize: int,
    batch_size: int,
    start: int = 0,
    workers: int = 0,
    shard: HostShard = HostShard(),
    cut: Callable[[np.ndarray, Pair], np.ndarray] = crops.centre,
) -> Iterator[Batch]:
    """The split once, in its order, centre crops; the last batch is filled up.

    Every host gets as many batches as every other, from its image `start` on.
    `cut=crops.ten` gives the ten crops of each image.
    """
    total = len(source.examples)
    length = -(-total // shard.count) - start
    dataset = (
        grain.MapDataset.range(shard.index + start * shard.count, total, shard.count)
        .map(functools.partial(_example, source.examples, resize=resize))
        .map(functools.partial(_cut, size=size, cut=cut))
        .batch(batch_size)
    )
    batches = _read(dataset, workers)
    of_one = cut(np.zeros((*size, 3), np.uint8), size).shape
    empty = np.zeros((0, *of_one), np.uint8), np.zeros(0, np.int32)
    for _ in range(-(-length // batch_size)):
        images, labels = next(batches, empty)
        missing = batch_size - len(labels)
        yield Batch(
            np.pad(images, [(0, missing)] + [(0, 0)] * len(of_one)),
            np.pad(labels, (0, missing)),
            np.arange(batch_size) < len(labels),
        )


def _read(dataset: grain.MapDataset, workers: int) -> grain.DatasetIterator:
    ahead = dataset.to_iter_dataset(_AHEAD)
    if workers:
        ahead = ahead.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers),
            worker_init_fn=processes.end_with_parent,
        )
    return iter(ahead)


def image_at(source: Source, index: int, *, size: Pair, resize: int) -> np.ndarray:
    """One centre crop, [H, W, 3] uint8: what `evaluation` has at that index."""
    return _cut(_example(source.examples, index, resize=resize), size=size)[0]


def _example(examples, index: int, *, resize: int) -> tuple[np.ndarray, np.ndarray]:
    example = examples[int(index)]
    image = crops.resize(crops.to_rgb(example["image"]), resize)
    return image, np.int32(example["label"])


def _random_crop(example, rng: np.random.Generator, *, size: Pair):
    image, label = example
    return np.ascontiguousarray(crops.random(image, size, rng)), label


def _cut(example, *, size: Pair, cut=crops.centre):
    image, label = example
    return np.ascontiguousarray(cut(image, size)), label
