"""Worker processes end with the process that started them, however it ends."""

import os
import signal
import subprocess
import sys
import time

import psutil

_SCRIPT = """
import multiprocessing, sys
from zf_jax.creatures import render
render._WORTH_PROCESSES = 0
def draw():
    for _ in render.draw_all(0, "train", 10**6, 64, workers=2):
        print(*[each.pid for each in multiprocessing.active_children()], flush=True)
        sys.stdin.read()
if __name__ == "__main__":
    draw()
"""


def test_workers_end_with_a_killed_parent(tmp_path):
    # A file, for spawned workers import the main module anew.
    script = tmp_path / "main.py"
    script.write_text(_SCRIPT)
    parent = subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        text=True,
    )
    workers = [int(number) for number in parent.stdout.readline().split()]
    assert len(workers) == 2
    assert all(map(_runs, workers))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 20
    while (left := [*filter(_runs, workers)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    for number in left:
        os.kill(number, signal.SIGKILL)
    parent.stdin.close()
    parent.stdout.close()
    assert not left


def _runs(number):
    return psutil.pid_exists(number) and (
        psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    )
