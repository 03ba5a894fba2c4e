"""One training run for the tests of all commands."""

import fcntl
import os

import pytest

from tests.experiments.commands import train


@pytest.fixture(scope="session")
def run(tmp_path_factory, creatures_dir):
    """A workdir that keeps epochs 1, 3 and 4 of SMALL, six steps each.

    Read-only: a test that changes it takes a copy. Workers of pytest-xdist share it:
    the first one trains, the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, done = base / "runs" / "small", base / "trained"
    with (base / "trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            train(creatures_dir, folder, "--epochs=4", "--keep_epochs=1")
            done.touch()
    return folder
