"""Batches made ready ahead of the step, by a thread that copies them to the devices."""

import queue
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

from zf_jax.errors import BadInput

T, Placed = TypeVar("T"), TypeVar("Placed")

# Seconds for the thread to end in: by then it has read what it was about to read.
_PATIENCE = 10.0


def prefetch(
    batches: Generator[T],
    place: Callable[[T], Placed],
    *,
    ahead: int = 2,
    timeout: float = 300.0,
) -> "Prefetched[Placed]":
    """Reads batches and places them while the devices compute with those before.

    Args:
      batches: what a thread reads from now on, and closes in the end.
      place: copies a batch to the devices; called in that thread.
      ahead: batches that are placed and not yet asked for.
      timeout: seconds after which a reader that gives nothing is given up, the start of
        its worker processes included.

    Returns:
      The placed batches, in their order. An error of the reader or of `place` is raised
      in whoever asks for the batch. `close` ends the reader, and so does the end of the
      program or of the last reference.
    """
    return Prefetched(batches, place, ahead, timeout)


class Prefetched(Iterator[Placed]):
    """The iterator that `prefetch` returns.

    Attributes:
      close: ends the reader; no batch may be asked for afterwards.
    """

    def __init__(
        self,
        batches: Generator[T],
        place: Callable[[T], Placed],
        ahead: int,
        timeout: float,
    ):
        """Starts the thread; arguments of `prefetch`."""
        self._timeout = timeout
        self._ready, self._slots = queue.SimpleQueue(), threading.Semaphore(ahead)
        stop = threading.Event()
        # It holds no reference to this object, whose end ends it.
        filling = batches, place, self._ready, self._slots, stop
        thread = threading.Thread(target=_fill, args=filling, daemon=True)
        self.close = weakref.finalize(self, _end, thread, self._slots, stop)
        thread.start()

    def __next__(self) -> Placed:
        """The next batch.

        Raises:
          BadInput: there is none after `timeout` seconds, or a worker process died.
        """
        batch, error = self._wait()
        if error is not None:
            # For whoever asks once more.
            self._ready.put((None, StopIteration()))
            raise error
        self._slots.release()
        return batch

    def _wait(self) -> tuple[Any, Exception | None]:
        # A second at a time: a process that was stopped for long has not waited.
        step = min(1.0, self._timeout)
        for _ in range(round(self._timeout / step)):
            try:
                return self._ready.get(timeout=step)
            except queue.Empty:
                continue
        self.close()
        raise BadInput(
            f"data: no batch came for {self._timeout:g} s; a disk, a network drive or "
            "a worker process hangs: see to it and start again"
        )


def _fill(
    batches: Generator[T],
    place: Callable[[T], Placed],
    ready: queue.SimpleQueue,
    slots: threading.Semaphore,
    stop: threading.Event,
) -> None:
    """Puts (batch, None) into the queue whenever there is a slot, at last an error."""
    try:
        slots.acquire()
        while not stop.is_set():
            ready.put((place(next(batches)), None))
            slots.acquire()
    except Exception as error:
        ready.put((None, error))
    finally:
        batches.close()


def _end(
    thread: threading.Thread, slots: threading.Semaphore, stop: threading.Event
) -> None:
    stop.set()
    slots.release()
    # The garbage collector may run in any thread.
    if thread is not threading.current_thread():
        thread.join(_PATIENCE)
