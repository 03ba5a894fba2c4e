"""Commands give the same on two processes of two devices as on one of one device."""

import numpy as np
import pytest

from tests import pods
from tests.experiments.commands import numbers_in

pytestmark = pytest.mark.slow


def _same_arrays(one, other):
    """Of the .npz files of two folders."""
    names = [path.name for path in sorted(one.glob("*.npz"))]
    assert names
    for name in names:
        wanted, found = numbers_in(one / name), numbers_in(other / name)
        assert wanted.keys() == found.keys()
        for part, values in wanted.items():
            # Equal to the bit but for float sums of another order.
            if values.dtype.kind == "f":
                np.testing.assert_allclose(found[part], values, rtol=1e-4, atol=1e-5)
            else:
                np.testing.assert_array_equal(found[part], values, err_msg=name)


def test_the_gallery(run, tmp_path):
    # Seven batches: the second process has no part of the last, which is a short one.
    given = ("-m", "experiments.features", f"--checkpoint={run}", "--batch_size=8")
    for processes in (1, 2):
        out = tmp_path / str(processes)
        ran = pods.run(*given, f"--out={out}", processes=processes, devices=processes)
        assert ran.returncode == 0, ran.stdout
    _same_arrays(tmp_path / "1", tmp_path / "2")
    assert (tmp_path / "1/pass.npz").read_bytes() == (
        tmp_path / "2/pass.npz"
    ).read_bytes()


# The command, slow to read; the second process is interrupted before its third batch.
_INTERRUPTED = """
import signal, time
from experiments.common import dataset
from experiments.features.__main__ import main
from zf_jax import cli

whole = dataset.Dataset.batches

def batches(self, start, shard):
    for number, batch in enumerate(whole(self, start, shard)):
        if number == 2 and shard.index == 1:
            signal.raise_signal(signal.SIGINT)
        time.sleep(0.3)
        yield batch

dataset.Dataset.batches = batches
cli.run(main)
"""


def test_a_pass_that_two_began_is_ended_by_one(run, tmp_path):
    script, out = tmp_path / "main.py", tmp_path / "out"
    script.write_text(_INTERRUPTED)
    given = (f"--checkpoint={run}", "--batch_size=2", f"--out={out}")
    ran = pods.run(script, *given)
    assert ran.returncode == 130, ran.stdout
    seen = numbers_in(out / "pass.npz")["seen"]
    assert 8 < seen < 50
    for folder in (out, tmp_path / "whole"):
        again = ("-m", "experiments.features", *given[:2], f"--out={folder}")
        ran = pods.run(*again, processes=1)
        assert ran.returncode == 0, ran.stdout
        assert (f"{seen}/50" in ran.stdout) == (folder == out)
    _same_arrays(tmp_path / "whole", out)


@pytest.mark.parametrize("method", ["incremental", "full"])
def test_the_occlusion_sweep(method, run, tmp_path):
    given = (
        "-m",
        "experiments.occlusion",
        f"--checkpoint={run}",
        "--indices=0,3",
        "--side=10",
        "--stride=5",
        f"--method={method}",
    )
    for processes in (1, 2):
        out = tmp_path / str(processes)
        ran = pods.run(*given, f"--out={out}", processes=processes, devices=processes)
        assert ran.returncode == 0, ran.stdout
    _same_arrays(tmp_path / "1", tmp_path / "2")
