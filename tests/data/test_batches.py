"""Batches: a function of the seed and the batch's number; every example once."""

import itertools
import multiprocessing
import os
import signal

import numpy as np
import pytest
from absl import flags

from zf_jax.data import batches, crops, sources
from zf_jax.data.damaged import DamagedImages
from zf_jax.errors import BadInput

COUNT, SIZE = 23, (8, 8)


class Examples:
    """As TFDS's data source: by index; example i is an image whose red says i."""

    def __init__(self, count, shape=(10, 12)):
        self.count, self.shape = count, shape

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        assert 0 <= index < self.count
        image = np.zeros((*self.shape, 3), np.uint8)
        image[..., 0] = index
        image[..., 1] = np.arange(self.shape[1])
        return {"image": image, "label": index % 5}


def source(count=COUNT, shape=(10, 12)):
    return sources.Source("toy", "train", Examples(count, shape), tuple("abcde"))


CUT = {"size": SIZE, "resize": 10}


def training(count, *, take, **options):
    options = {"batch_size": 4, "seed": 3, **CUT} | options
    return list(itertools.islice(batches.training(source(count), **options), take))


def numbers(batch):
    """Which examples a batch holds."""
    return batch.images[:, 0, 0, 0][batch.mask].tolist()


def all_numbers(found):
    return [number for batch in found for number in numbers(batch)]


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_shapes_and_dtypes():
    (batch,) = training(COUNT, take=1)
    assert batch.images.shape == (4, *SIZE, 3)
    assert (batch.images.dtype, batch.labels.dtype) == (np.uint8, np.int32)
    assert batch.labels.shape == batch.mask.shape == (4,)
    assert batch.mask.dtype == bool
    assert batch.mask.all()


def test_images_keep_their_labels():
    for batch in training(COUNT, take=5):
        np.testing.assert_array_equal(batch.labels, np.array(numbers(batch)) % 5)


def test_another_seed_gives_others():
    one, other = (training(COUNT, take=1, seed=seed)[0] for seed in (3, 4))
    assert numbers(one) != numbers(other)


# 23 // 4 = 5 batches an epoch: within the first, at its end, and in the third.
@pytest.mark.parametrize("start", [1, 5, 13])
def test_start_equals_skipping(start):
    assert_same(
        training(COUNT, take=4, start=start), training(COUNT, take=start + 4)[start:]
    )


def test_an_epoch_holds_every_example_once():
    found = training(24, take=18)
    epochs = [all_numbers(found[i : i + 6]) for i in (0, 6, 12)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(24))
    # Each in another order, none in the file's (24! orders).
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert list(range(24)) not in epochs


def test_what_fills_no_batch_is_left_out_of_the_epoch():
    found = training(COUNT, take=10)
    for epoch in (found[:5], found[5:]):
        chosen = all_numbers(epoch)
        assert len(set(chosen)) == len(chosen) == 20


def test_every_example_is_seen_in_some_epoch():
    # Each epoch leaves out another 3 of 23: all ten leave out the same one with a
    # chance of 23 * (3 / 23)^10 = 3e-8.
    assert set(all_numbers(training(COUNT, take=50))) == set(range(COUNT))


def test_crops_differ_between_epochs():
    # The green channel tells the column of a crop, and which way round it is.
    found = training(24, take=12)
    where = [
        {n: image[0, :, 1].tobytes() for b in epoch for n, image in pairs(b)}
        for epoch in (found[:6], found[6:])
    ]
    differ = sum(where[0][n] != where[1][n] for n in range(24))
    # A crop has 5 columns and 2 ways round: of 24, all but a tenth differ.
    assert differ > 12
    # And within an epoch.
    assert len(set(where[0].values())) > 3


def pairs(batch):
    return zip(numbers(batch), batch.images, strict=True)


@pytest.fixture
def parsed():
    """Grain's processes read absl flags, which the commands have parsed by then."""
    before = flags.FLAGS.is_parsed()
    flags.FLAGS.mark_as_parsed()
    yield
    if not before:
        flags.FLAGS.unparse_flags()


@pytest.mark.slow
@pytest.mark.usefixtures("parsed")
def test_workers_give_the_same_batches():
    want = training(COUNT, take=3, start=4)
    assert_same(training(COUNT, take=3, start=4, workers=1), want)


@pytest.mark.slow
@pytest.mark.usefixtures("parsed")
def test_a_worker_that_is_killed():
    options = {"batch_size": 4, "seed": 3, "workers": 2, **CUT}
    stream = batches.training(source(), **options)
    next(stream)
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(BadInput, match=r"a worker process ended.*fewer --workers"):
        # What was ready before may still come.
        list(itertools.islice(stream, 100))


def evaluation(count=COUNT, *, batch_size=4, **options):
    return list(
        batches.evaluation(source(count), **CUT, batch_size=batch_size, **options)
    )


@pytest.mark.parametrize("batch_size", [1, 4, 23, 50])
def test_evaluation_is_in_order_with_a_mask(batch_size):
    found = evaluation(batch_size=batch_size)
    assert len(found) == -(-COUNT // batch_size)
    assert all(batch.images.shape == (batch_size, *SIZE, 3) for batch in found)
    assert all_numbers(found) == list(range(COUNT))
    masks = np.concatenate([batch.mask for batch in found])
    # True for what is there, then False for what fills up the last batch.
    assert masks.tolist() == [i < COUNT for i in range(len(masks))]
    labels = np.concatenate([batch.labels for batch in found])[masks]
    np.testing.assert_array_equal(labels, np.arange(COUNT) % 5)


def test_evaluation_cuts_the_centre():
    (batch, *_) = evaluation()
    want = crops.centre(Examples(COUNT)[2]["image"], SIZE)
    np.testing.assert_array_equal(batch.images[2], want)
    one = batches.image_at(source(), 2, **CUT)
    np.testing.assert_array_equal(one, want)


def joined(parts):
    """The batches of all hosts as one host would have them."""
    return [
        batches.Batch(*map(np.concatenate, zip(*batch, strict=True)))
        for batch in zip(*parts, strict=True)
    ]


@pytest.mark.parametrize("hosts", [2, 3])
def test_training_batches_do_not_depend_on_the_hosts(hosts):
    # 23 // 6 = 3 batches an epoch: from the first epoch's end into the third.
    options = {"take": 5, "batch_size": 6, "start": 2}
    parts = [
        training(COUNT, shard=batches.HostShard(index, hosts), **options)
        for index in range(hosts)
    ]
    assert_same(joined(parts), training(COUNT, **options))


# 23 images by 4: of the last batch the second of two hosts has one image, the last of
# four none.
@pytest.mark.parametrize("hosts", [2, 4])
def test_evaluation_batches_do_not_depend_on_the_hosts(hosts):
    parts = [
        evaluation(shard=batches.HostShard(index, hosts), start=3)
        for index in range(hosts)
    ]
    assert_same(joined(parts), evaluation(start=3))


def test_hosts_that_cannot_share_a_batch():
    with pytest.raises(BadInput, match="batch size 4: does not split over 3 hosts"):
        training(COUNT, take=1, shard=batches.HostShard(0, 3))


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 23), (4, 5), (23, 1)])
def test_steps_per_epoch(batch_size, steps):
    assert batches.steps_per_epoch(source(), batch_size) == steps


def test_a_batch_larger_than_the_data():
    with pytest.raises(BadInput, match=r"batch size 24: train of toy.*23"):
        batches.steps_per_epoch(source(), 24)
    with pytest.raises(BadInput, match="batch size"):
        training(COUNT, take=1, batch_size=24)


def test_start_does_not_read_what_it_skips():
    read = []

    class Counted(Examples):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    counted = sources.Source("toy", "train", Counted(200), tuple("abcde"))
    stream = batches.training(counted, **CUT, batch_size=2, seed=0, start=95)
    next(stream)
    # What is made ahead (8 batches and what threads hold) is far less than 95 batches.
    assert len(read) < 100


def test_evaluation_of_ten_crops():
    cut = {"size": (4, 5), "resize": 10, "batch_size": 4}
    found = list(batches.evaluation(source(6), **cut, cut=crops.ten))
    centres = list(batches.evaluation(source(6), **cut))
    assert [batch.images.shape for batch in found] == [(4, 10, 4, 5, 3)] * 2
    for ten, one in zip(found, centres, strict=True):
        np.testing.assert_array_equal(ten.images[:, 4], one.images)
        np.testing.assert_array_equal(ten.labels, one.labels)
        np.testing.assert_array_equal(ten.mask, one.mask)
    # Beyond the sixth image there is none.
    assert not found[1].images[2:].any()


class Damaged(Examples):
    """Images 3 and 8 cannot be decoded."""

    def __getitem__(self, index):
        if index in (3, 8):
            raise OSError("image file is truncated\n(2 bytes)")
        return super().__getitem__(index)


DAMAGED = sources.Source("toy", "train", Damaged(COUNT), tuple("abcde"))
LINE = "dataset 'toy': image {} of train is damaged and skipped: image file is trun"


def test_a_damaged_image_is_skipped_and_said_once():
    options = {"batch_size": 4, "damaged": DamagedImages(2), **CUT}

    def read():
        held = list(batches.evaluation(DAMAGED, **options))
        stream = batches.training(DAMAGED, seed=3, **options)
        return held, list(itertools.islice(stream, 15))

    with pytest.warns(UserWarning, match="damaged and skipped") as said:
        held, epochs = read()
    lines = sorted(str(each.message) for each in said)
    assert len(lines) == len(options["damaged"]) == 2
    for line, index in zip(lines, (3, 8), strict=True):
        assert line.startswith(LINE.format(index))
        assert "\n" not in line
    assert all_numbers(held) == [n for n in range(COUNT) if n not in (3, 8)]
    assert not held[0].images[3].any()
    # The others are what they are without it.
    for found, want in zip(epochs, training(COUNT, take=15), strict=True):
        damaged = np.isin(want.images[:, 0, 0, 0], (3, 8))
        np.testing.assert_array_equal(found.mask, ~damaged)
        np.testing.assert_array_equal(found.images[~damaged], want.images[~damaged])


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (None, "image 3 of train is damaged: image file is truncated"),
        (DamagedImages(1), "image 8 of train is damaged, as are 1 before it"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*skipped")
def test_too_many_damaged_images(damaged, message):
    with pytest.raises(BadInput, match=message):
        list(batches.evaluation(DAMAGED, **CUT, batch_size=4, damaged=damaged))


def test_image_at_refuses_a_damaged_image():
    with pytest.raises(BadInput, match="image 8 of train is damaged"):
        batches.image_at(DAMAGED, 8, **CUT)
