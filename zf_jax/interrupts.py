"""Ctrl-C and `kill`: a command ends in one line; training saves first.

Python runs the handlers of signals in the main thread, between two bytecodes: not while
that thread compiles a net. So a thread listens as well, and ends the process where the
main thread does not answer, or where a second signal asks for an end without delay.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
# Seconds that the main thread has to answer the first signal.
_PATIENCE = 0.5

_name = "command"
# The signals that the main thread has answered with KeyboardInterrupt.
_answered: list[int] = []
# Those of the innermost `kept`; None outside of it.
_kept: list[int] | None = None
# Whether the main thread has noticed a signal, of either kind.
_noticed = False


def install(name: str) -> None:
    """Makes SIGINT and SIGTERM end this process, from now on.

    The first raises KeyboardInterrupt in the main thread, unless it is `kept`. If that
    thread does not answer, being in a library's code, the process ends all the same. A
    second signal ends it at once.

    Args:
      name: of the command, in front of the line that it ends with.
    """
    global _name
    _name = name
    sys.unraisablehook = _report_unraisable
    ours, of_signals = socket.socketpair()
    of_signals.setblocking(False)
    signal.set_wakeup_fd(of_signals.fileno(), warn_on_full_buffer=False)
    # A forked worker's signals are its own.
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    listen = threading.Thread(target=_listen, args=(ours, of_signals), daemon=True)
    listen.start()
    for number in _NUMBERS:
        signal.signal(number, _answer)


def received() -> int:
    """The first signal that asked this process to end; 0 for none."""
    return _answered[0] if _answered else 0


def raise_if_received() -> None:
    """Raises KeyboardInterrupt again: a callback of JAX's may have swallowed it."""
    if _answered:
        raise KeyboardInterrupt


@contextlib.contextmanager
def kept() -> Iterator[list[int]]:
    """Within this context the first signal does not end the process.

    It is put into the list that the context gives, for the main thread to end in good
    order. A second one ends the process at once.
    """
    global _kept
    raise_if_received()
    former = {number: signal.signal(number, _answer) for number in _NUMBERS}
    _kept = []
    try:
        yield _kept
    finally:
        _kept = None
        for number, handler in former.items():
            signal.signal(number, handler)


def _answer(number: int, _) -> None:
    """The handler, in the main thread."""
    global _noticed
    _noticed = True
    signals = _answered if _kept is None else _kept
    signals.append(number)
    if len(signals) > 1:
        _end_at_once(number)
    if _kept is None:
        raise KeyboardInterrupt


def _listen(ours: socket.socket, of_signals: socket.socket) -> None:
    """Ends the process where the main thread cannot; `of_signals` is kept open."""
    count = 0
    while True:
        (number,) = ours.recv(1)
        if number not in _NUMBERS:
            continue
        count += 1
        if count == 1:
            time.sleep(_PATIENCE)
            if _kept is not None or _noticed:
                continue
        _end_at_once(number)


def _end_at_once(number: int) -> NoReturn:
    # Past Python's streams: the main thread may hold their locks.
    os.write(2, f"\n{_name}: interrupted\n".encode())
    os._exit(128 + number)


def _report_unraisable(found) -> None:
    """Keeps silent about an interrupt that a callback of JAX's has swallowed."""
    if found.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(found)
