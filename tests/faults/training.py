"""A small run of launch.train in a process of its own, and what it left."""

import os
import pathlib
import subprocess
import sys
import warnings

import jax
import numpy as np
import psutil

from zf_jax.training import checkpoint

TRAIN = ("-m", "launch.train")
_ROOT = pathlib.Path(__file__).parents[2]


def start(
    data_dir: pathlib.Path, workdir: pathlib.Path, *flags: str, program=TRAIN, **env
) -> subprocess.Popen:
    """Starts a run of twelve steps an epoch; its output goes to WORKDIR.txt."""
    command = [
        *(sys.executable, *program),
        "--spec=tiny",
        "--dataset=creatures/64",
        f"--data_dir={data_dir}",
        f"--workdir={workdir}",
        "--batch_size=8",
        "--init=he",
        *flags,
    ]
    one_device = {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(_ROOT)}
    with open(workdir.with_suffix(".txt"), "a") as output:
        return subprocess.Popen(
            command,
            cwd=_ROOT,
            env=os.environ | one_device | env,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def worker_of(process: int) -> int | None:
    """The youngest process that a process has started, if there is one."""
    children = psutil.Process(process).children(recursive=True)
    return max(children, key=psutil.Process.create_time).pid if children else None


def run(data_dir: pathlib.Path, workdir: pathlib.Path, *flags: str, **more) -> int:
    """Runs it to its end; the exit code."""
    with start(data_dir, workdir, *flags, **more) as process:
        return process.wait()


def output(workdir: pathlib.Path) -> str:
    """What all starts in a workdir printed."""
    return workdir.with_suffix(".txt").read_text()


def same_bits(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Whether two runs came to the same step and, bit for bit, the same parameters."""
    with warnings.catch_warnings():
        # A damaged checkpoint is none of theirs.
        warnings.simplefilter("error")
        restored = [checkpoint.load(folder) for folder in (one, other)]
    first, second = (jax.tree.leaves(each.params) for each in restored)
    return restored[0].step == restored[1].step and all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(first, second, strict=True)
    )
