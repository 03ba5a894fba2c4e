"""Batches of crops, read, shuffled and cut by grain.

Training batch b is a function of the seed and b alone: a run resumes at any step, and
on any number of hosts, with the batches it would have had. Each host reads its part of
every batch.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import grain
import numpy as np

from zf_jax import processes
from zf_jax.data import crops, decoding, sources
from zf_jax.data.damaged import DamagedImages
from zf_jax.data.sources import Source
from zf_jax.errors import BadInput
from zf_jax.layers import Pair

# Batches are made whole by one thread each; this many are made ahead.
AHEAD = grain.ReadOptions(num_threads=4, prefetch_buffer_size=8)
_NO_WARNING = "ignore:resource_tracker:UserWarning"


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


class _Example(NamedTuple):
    """An image, or black in place of what could not be read; a batch of them, too."""

    image: np.ndarray
    label: np.int32
    index: np.int64
    valid: np.bool


class HostShard(NamedTuple):
    """Which part of every batch this host reads: `index` of `count`."""

    index: int = 0
    count: int = 1


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
    examples = sources.encoded(source.examples)
    black = np.zeros((*size, 3), np.uint8)

    def read(index: int, rng: np.random.Generator) -> _Example:
        cut = functools.partial(crops.random, size=size, rng=rng, short_side=resize)
        return _read(examples, index, cut, black, short_side=resize)

    images = (
        grain.MapDataset.range(len(examples))
        .seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        .shuffle()
        .random_map(read)
    )
    # What an epoch drops differs from epoch to epoch.
    own = _HostPart(images, batch_size, shard)
    stream = _iterate(own.batch(own.per_batch).repeat(), workers)
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
    examples = sources.encoded(source.examples)
    black = np.zeros_like(cut(np.zeros((*size, 3), np.uint8), size))

    def read(index: int) -> _Example:
        return _read(
            examples, index, lambda image: cut(crops.resize(image, resize), size), black
        )

    images = grain.MapDataset.range(start, start + count).map(read)
    own = _HostPart(images, batch_size, shard)
    stream = _iterate(own.batch(own.per_batch), workers)
    yield from _batches(stream, source, damaged)


class _HostPart(grain.MapDataset):
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


def _iterate(dataset: grain.MapDataset, workers: int) -> grain.DatasetIterator:
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


def _batches(
    stream: grain.DatasetIterator,
    source: Source,
    damaged: DamagedImages | None,
) -> Iterator[Batch]:
    """Batches, their damaged images counted: here, as workers are other processes."""
    damaged = DamagedImages() if damaged is None else damaged
    with contextlib.closing(stream):
        while examples := _next(stream):
            for index in examples.index[~examples.valid]:
                if index < len(source.examples):
                    damaged.add(source, index, _reason(source, index))
            yield Batch(examples.image, examples.label, examples.valid)


def _next(stream: grain.DatasetIterator) -> _Example | None:
    """The next batch of examples, None at the end."""
    try:
        return next(stream, None)
    except RuntimeError as error:
        # Grain's words for a worker that was killed; examples raise nothing (`_read`).
        raise BadInput(
            f"data: a worker process ended ({_line(error)}); if the memory was full, "
            "take fewer --workers and start again"
        ) from error


def image_at(source: Source, index: int, *, size: Pair, resize: int) -> np.ndarray:
    """One centre crop, [H, W, 3] uint8: what `evaluation` has at that index.

    Raises:
      BadInput: the image is damaged.
    """
    try:
        image, _ = _decode(sources.encoded(source.examples), index)
    except Exception as error:
        DamagedImages().add(source, index, _line(error))
    return np.ascontiguousarray(crops.centre(crops.resize(image, resize), size))


def _read(
    examples: Sequence[dict],
    index: int,
    cut: Callable[[np.ndarray], np.ndarray],
    black: np.ndarray,
    *,
    short_side: int | None = None,
) -> _Example:
    """The example that `cut` makes of an image; black if there is none, or damaged."""
    if index < len(examples):
        # Damaged files make decoders fail in every way there is.
        with contextlib.suppress(Exception):
            image, label = _decode(examples, index, short_side)
            image = np.ascontiguousarray(cut(image))
            return _Example(image, label, np.int64(index), np.True_)
    return _Example(black, np.int32(0), np.int64(index), np.False_)


def _decode(
    examples: Sequence[dict], index: int, short_side: int | None = None
) -> tuple[np.ndarray, np.int32]:
    example = examples[int(index)]
    image = example["image"]
    if isinstance(image, bytes):
        image = decoding.decode(image, short_side=short_side)
    return crops.to_rgb(image), np.int32(example["label"])


def _reason(source: Source, index: int) -> str:
    """Why an image cannot be read: found by reading it again, as it happens rarely."""
    try:
        _decode(sources.encoded(source.examples), index)
    except Exception as error:
        return _line(error)
    return "it could be read only the second time"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
