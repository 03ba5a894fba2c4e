"""Prefetching: in order, ahead but not far, errors handed over, ended cleanly."""

import itertools
import threading
import time

import pytest

from zf_jax.data.prefetch import prefetch
from zf_jax.errors import BadInput


class Numbers:
    """A reader of 0, 1, ...: tells how many it gave, and whether it was closed."""

    def __init__(self, fail_at=None, hang_at=None):
        self.given, self.closed = 0, threading.Event()
        self.fail_at, self.hang_at = fail_at, hang_at
        self.go_on = threading.Event()

    def __iter__(self):
        try:
            for number in itertools.count():
                if number == self.fail_at:
                    raise BadInput("data: broken")
                if number == self.hang_at:
                    self.go_on.wait()
                self.given += 1
                yield number
        finally:
            self.closed.set()


def test_in_order_and_placed_in_another_thread():
    threads = set()

    def place(number):
        threads.add(threading.get_ident())
        return -number

    assert list(prefetch((n for n in range(20)), place)) == [-n for n in range(20)]
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_ahead_but_not_further():
    reader = Numbers()
    stream = prefetch(iter(reader), abs, ahead=3)
    assert next(stream) == 0
    until = time.monotonic() + 10
    while reader.given < 4 and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(0.01)
    assert reader.given == 4


@pytest.mark.parametrize("where", ["reader", "place"])
def test_errors_are_raised_where_the_batch_is_asked_for(where):
    def place(number):
        if where == "place" and number == 2:
            raise BadInput("data: broken")
        return number

    reader = Numbers(fail_at=2 if where == "reader" else None)
    stream = prefetch(iter(reader), place)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(BadInput, match="data: broken"):
        next(stream)
    assert next(stream, "the end") == "the end"
    assert reader.closed.wait(10)


@pytest.mark.parametrize("end", ["close", "del"])
def test_the_end_closes_the_reader(end):
    reader = Numbers()
    stream = prefetch(iter(reader), abs)
    next(stream)
    if end == "close":
        stream.close()
    del stream
    # Not a moment later: the thread has ended.
    assert reader.closed.is_set()


def test_a_reader_that_hangs(monkeypatch):
    monkeypatch.setattr("zf_jax.data.prefetch._PATIENCE", 0.01)
    reader = Numbers(hang_at=1)
    stream = prefetch(iter(reader), abs, timeout=0.05)
    assert next(stream) == 0
    with pytest.raises(BadInput, match=r"no batch came for 0.05 s.*hangs"):
        next(stream)
    reader.go_on.set()
    assert reader.closed.wait(10)
