"""Several compiled calls at the same time, so that no core is idle."""

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable

_MOST_THREADS = 8


def in_threads(work: Callable[..., None], batches: Iterable[tuple]) -> None:
    """Calls `work(*batch)` for all batches, several at the same time.

    One call alone leaves cores idle, since a crop's upper maps are too small to be
    divided among them. There is one thread more than cores, at most eight: one of them
    may be cutting crops or fetching results.

    The first argument of a call tells what program runs. The first call of each program
    goes alone, so that it compiles once.
    """
    threads, compiled = min(_MOST_THREADS, (os.cpu_count() or 1) + 1), set()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        started = collections.deque()
        for batch in batches:
            if batch[0] not in compiled:
                compiled.add(batch[0])
                work(*batch)
                continue
            if len(started) > threads:
                started.popleft().result()
            started.append(pool.submit(work, *batch))
        for each in started:
            each.result()
