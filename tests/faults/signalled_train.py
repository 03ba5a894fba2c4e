"""launch.train with a signal to itself in one phase of its work.

    python tests/faults/signalled_train.py PHASE SIGNAL COUNT --spec=...

The second of two signals comes a twentieth of a second after the first.
"""

import os
import sys
import threading
import time

import tensorflow_datasets as tfds

from launch import train
from zf_jax import cli
from zf_jax.figures import curves
from zf_jax.training import checkpoint_files, step

PHASES = {
    # Phase: the function, which call of it, and how long after that call's begin.
    "preparation": (tfds.core.DatasetBuilder, "download_and_prepare", 1, 0.3),
    "compilation": (step, "make_train_step", 1, 0.3),
    "training": (step, "make_train_step", 5, 0.0),
    "evaluation": (step, "make_eval_step", 3, 0.0),
    "saving": (checkpoint_files, "items", 1, 0.0),
    "reporting": (curves, "draw_training", 1, 0.0),
}


def interrupt(number: int, count: int, after: float) -> None:
    """Sends the signals from another thread, as others' signals come."""

    def send():
        time.sleep(after)
        for _ in range(count):
            os.kill(os.getpid(), number)
            time.sleep(0.05)

    thread = threading.Thread(target=send)
    thread.start()
    if not after:
        thread.join()


def main() -> None:
    """Runs the command with the signals."""
    phase, number, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    del sys.argv[1:4]
    sys.argv[0] = train.__file__
    owner, name, call, after = PHASES[phase]
    function = getattr(owner, name)
    calls = 0

    def signalled(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == call:
            interrupt(number, count, after)
        return function(*arguments, **named)

    def made(*arguments, **named):
        nonlocal function
        function = make(*arguments, **named)
        return signalled

    if name.startswith("make_"):
        make = function
        setattr(owner, name, made)
    else:
        setattr(owner, name, signalled)
    cli.run(train.main, exact=False)


if __name__ == "__main__":
    main()
