"""What happens to a run of launch.train must not lose what it has learned."""

import os
import pathlib
import resource
import shutil
import signal
import time

import pytest

from tests.faults import kills, training
from zf_jax.training import checkpoint

pytestmark = pytest.mark.slow
EPOCHS = "--epochs=2"


@pytest.fixture(scope="module")
def undisturbed(creatures_dir, tmp_path_factory):
    """The workdir of a run that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert training.run(creatures_dir, workdir, EPOCHS) == 0
    return workdir


def test_kills(creatures_dir, tmp_path):
    counts = kills.kill(creatures_dir, tmp_path, kills=3, seed=1)
    assert counts.same == counts.runs
    assert counts.damaged == 0


@pytest.mark.parametrize(
    ("number", "count"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGTERM, 2)]
)
@pytest.mark.parametrize(
    ("phase", "saves"),
    [
        ("preparation", False),
        ("compilation", False),
        ("training", True),
        ("evaluation", True),
        ("saving", True),
        ("reporting", True),
    ],
)
def test_signals(creatures_dir, undisturbed, tmp_path, phase, saves, number, count):
    data_dir, workdir = creatures_dir, tmp_path / "run"
    if phase == "preparation":
        data_dir = tmp_path / "data"
    more = {}
    if phase == "compilation":
        # Nothing is compiled yet.
        more["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    program = (str(pathlib.Path(__file__).with_name("signalled_train.py")), phase)
    code = training.run(
        data_dir,
        workdir,
        EPOCHS,
        program=(*program, str(int(number)), str(count)),
        **more,
    )
    told = training.output(workdir)
    assert code == 128 + number, told
    assert "Traceback" not in told
    last = told.replace("\r", "\n").strip().splitlines()[-1]
    if saves and count == 1:
        assert last == "stopped and saved; the same command goes on from here"
    else:
        assert last.endswith("train: interrupted")
    if not saves:
        assert not (workdir / "metrics.jsonl").exists()
        return
    assert training.run(creatures_dir, workdir, EPOCHS) == 0
    assert training.same_bits(workdir, undisturbed)
    assert "damaged" not in training.output(workdir)


def test_a_flipped_byte(creatures_dir, undisturbed, tmp_path):
    workdir = shutil.copytree(undisturbed, tmp_path / "run")
    arrays = (workdir / "checkpoints" / "24" / "params").rglob("*")
    largest = max(filter(pathlib.Path.is_file, arrays), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    assert training.run(creatures_dir, workdir, EPOCHS) == 0
    assert "renamed to 24.damaged, the run goes on from step 12" in training.output(
        workdir
    )
    assert training.same_bits(workdir, undisturbed)


def test_a_disk_that_is_full(creatures_dir, undisturbed, tmp_path):
    workdir = shutil.copytree(undisturbed, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints" / "24")
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may become larger than half of the weights.
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, allowed[1]))
    try:
        code = training.run(creatures_dir, workdir, EPOCHS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    told = training.output(workdir)
    assert code == 2, told
    assert "checkpoints/24: not written: File too large" in told.splitlines()[-1]
    assert checkpoint.load(workdir).step == 12
    assert training.run(creatures_dir, workdir, EPOCHS) == 0
    assert training.same_bits(workdir, undisturbed)


def test_a_worker_that_dies(creatures_dir, tmp_path):
    workdir = tmp_path / "run"
    flags = "--epochs=100", "--workers=1"
    with training.start(creatures_dir, workdir, *flags) as process:
        worker = None
        while process.poll() is None and not (workdir / "metrics.jsonl").exists():
            worker = training.worker_of(process.pid)
            time.sleep(0.05)
        os.kill(worker, signal.SIGKILL)
        code = process.wait(timeout=330)
    told = training.output(workdir)
    assert code == 2, told
    assert "Traceback" not in told
    assert "a worker process" in told
