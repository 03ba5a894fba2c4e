"""Batches of crops, read, shuffled and cut by grain.

Training batch b is a function of the seed and b alone: a run resumes at any step, and
on any number of hosts, with the batches it would have had. Each host reads its part of
every batch.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import grain
import numpy as np

from zf_jax.data import crops, examples, reading, sources
from zf_jax.data.damaged import DamagedImages
from zf_jax.data.reading import HostShard
from zf_jax.data.sources import Source
from zf_jax.errors import BadInput
from zf_jax.layers import Pair


class Batch(NamedTuple):
    """Images as they are cut, before the mean is taken off.

    Attributes:
      images: [N, H, W, 3] uint8, RGB; [N, 10, H, W, 3] of ten crops.
      labels: [N] int32.
      mask: [N] bool, False for damaged images, and for what fills up the last batch:
        these images are black, and their label is 0.
    """

    images: np.ndarray
    labels: np.ndarray
    mask: np.ndarray


def steps_per_epoch(source: Source, batch_size: int) -> int:
    """Whole batches of `batch_size`, of all hosts together, in a split.

    Raises:
      BadInput: there is none.
    """
    steps = len(source.examples) // batch_size
    if not steps:
        raise BadInput(
            f"batch size {batch_size}: {source.split} of {source.name} has only "
            f"{len(source.examples)} examples"
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
    damaged: DamagedImages | None = None,
) -> Iterator[Batch]:
    """Shuffled batches of random crops without end, each epoch in a new order.

    Args:
      source: the split.
      size: (rows, columns) of a crop, pixels.
      resize: the images' smaller side before the crop, pixels.
      batch_size: of all hosts together; of each batch a host gets its equal part, the
        first host the first images.
      seed: of the order and the crops.
      start: number of the first batch.
      workers: processes that decode; 0 decodes in threads of this one, which is
        enough for small images.
      shard: this host's.
      damaged: counts the images that cannot be read, and limits them; None refuses the
        first.

    Raises:
      BadInput: the split has not one whole batch; the hosts cannot share a batch
        evenly; too many images are damaged.
    """
    steps_per_epoch(source, batch_size)
    encoded = sources.encoded(source.examples)
    black = np.zeros((*size, 3), np.uint8)

    def read(index: int, rng: np.random.Generator) -> examples.Example:
        cut = functools.partial(crops.random, size=size, rng=rng, short_side=resize)
        return examples.read(encoded, index, cut, black, short_side=resize)

    images = (
        grain.MapDataset.range(len(encoded))
        .seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        .shuffle()
        .random_map(read)
    )
    # What an epoch drops differs from epoch to epoch.
    own = reading.HostPart(images, batch_size, shard)
    stream = reading.iterate(own.batch(own.per_batch).repeat(), workers)
    if start:
        grain.experimental.set_next_index(stream, start)
    yield from _batches(stream, source, damaged)


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
    damaged: DamagedImages | None = None,
) -> Iterator[Batch]:
    """The split once, in its order, centre crops; the last batch is filled up.

    Batches are numbered from image `start` of the split on, and divided among the hosts
    as in training: every host gets as many batches as every other.
    `cut=crops.ten` gives the ten crops of each image.

    Raises:
      BadInput: the hosts cannot share a batch evenly; too many images are damaged.
    """
    # The last batch is filled up with indices that no image has.
    count = -(-(len(source.examples) - start) // batch_size) * batch_size
    encoded = sources.encoded(source.examples)
    black = np.zeros_like(cut(np.zeros((*size, 3), np.uint8), size))

    def read(index: int) -> examples.Example:
        return examples.read(
            encoded, index, lambda image: cut(crops.resize(image, resize), size), black
        )

    images = grain.MapDataset.range(start, start + count).map(read)
    own = reading.HostPart(images, batch_size, shard)
    stream = reading.iterate(own.batch(own.per_batch), workers)
    yield from _batches(stream, source, damaged)


def _batches(
    stream: grain.DatasetIterator,
    source: Source,
    damaged: DamagedImages | None,
) -> Iterator[Batch]:
    """Batches, their damaged images counted: here, as workers are other processes."""
    damaged = DamagedImages() if damaged is None else damaged
    with contextlib.closing(stream):
        while found := reading.next_batch(stream):
            for index in found.index[~found.valid]:
                if index < len(source.examples):
                    damaged.add(source, index, examples.reason(source, index))
            yield Batch(found.image, found.label, found.valid)


def image_at(source: Source, index: int, *, size: Pair, resize: int) -> np.ndarray:
    """One centre crop, [H, W, 3] uint8: what `evaluation` has at that index.

    Raises:
      BadInput: the image is damaged.
    """
    try:
        image, _ = examples.decode(sources.encoded(source.examples), index)
    except Exception as error:
        DamagedImages().add(source, index, examples.line(error))
    return np.ascontiguousarray(crops.centre(crops.resize(image, resize), size))
