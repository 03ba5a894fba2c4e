"""Worker processes that end with the process that started them."""

import multiprocessing
import os
import threading
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


def _watch(sentinel: int) -> None:
    connection.wait([sentinel])
    # Not sys.exit, which would end this thread alone.
    os._exit(1)
