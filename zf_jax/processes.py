"""Worker processes: they end with their parent and leave Ctrl-C to it."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import connection


def end_with_parent(*_) -> None:
    """Makes this worker process end as soon as its parent has ended.

    A parent that is killed (out of memory, a job's time limit) cannot end its workers.
    They would wait for work for ever, and keep their memory. An executor calls this in
    every worker as its initializer; arguments are ignored.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


@contextlib.contextmanager
def shielded_from_interrupts() -> Iterator[None]:
    """Processes that are started in this context leave Ctrl-C to their parent.

    A terminal sends SIGINT to all of them; each worker would print a traceback. An
    interrupt that comes within the context is delivered at its end.
    """
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _watch(sentinel: int) -> None:
    connection.wait([sentinel])
    # Not sys.exit, which would end this thread alone.
    os._exit(1)
