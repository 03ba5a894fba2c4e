"""Signals: kept for training to save first, or the end of the process without delay."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from zf_jax import interrupts


def test_the_first_signal_is_kept():
    former = signal.getsignal(signal.SIGTERM)
    with interrupts.kept() as signals:
        assert signals == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals == [signal.SIGTERM]
        interrupts.raise_if_received()
    assert interrupts.received() == 0
    assert signal.getsignal(signal.SIGTERM) is former


QUICK = """
    import os, signal, time
    from zf_jax import interrupts

    interrupts.install("draw")
    with interrupts.kept() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
    # Longer than the main thread has to answer, which it has done.
    time.sleep(1)
    print(signals)
"""


@pytest.mark.slow
def test_what_was_kept_ends_nothing_later(tmp_path):
    program = tmp_path / "draw.py"
    program.write_text(textwrap.dedent(QUICK))
    ran = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[15]\n"


BUSY = """
    import contextlib, ctypes, os, signal, sys, time
    from zf_jax import interrupts

    interrupts.install("draw")
    first = sys.argv[1]
    with interrupts.kept() if first == "kept" else contextlib.nullcontext():
        if first != "none":
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                pass
        # As one that compiles: other threads get the signals, this one answers none.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        print("busy", flush=True)
        ctypes.CDLL(None).sleep(20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("first", ["none", "kept", "answered"])
def test_an_end_without_delay(tmp_path, first, number):
    program = tmp_path / "draw.py"
    program.write_text(textwrap.dedent(BUSY))
    with subprocess.Popen(
        [sys.executable, str(program), first],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as ran:
        assert ran.stdout.readline() == "busy\n"
        began = time.monotonic()
        ran.send_signal(number)
        assert ran.stderr.read() == "\ndraw: interrupted\n"
    assert ran.returncode == 128 + number
    assert time.monotonic() - began < 10
