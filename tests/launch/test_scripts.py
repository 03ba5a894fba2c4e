"""The scripts that start trainings: shellcheck, and the commands that they run."""

import os
import pathlib
import shlex
import subprocess
import sys

import pytest

from launch import train
from zf_jax import cli

_LAUNCH = pathlib.Path("launch")
_FLAGS = ("--spec=zfnet", "--dataset=folder:my photos", "--workdir=runs/zfnet")


def test_shellcheck_finds_nothing():
    scripts = [*_LAUNCH.glob("*.sh"), *_LAUNCH.glob("*.sbatch")]
    assert len(scripts) > 5
    shellcheck = pathlib.Path(sys.executable).with_name("shellcheck")
    ran = subprocess.run(
        [shellcheck, "--external-sources", *scripts], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _dry_run(*command):
    """The commands that a script would run, as lists of words."""
    environment = os.environ | {"PYTHON": sys.executable, "VENV": ".venv"}
    script, *arguments = command
    ran = subprocess.run(
        ["bash", _LAUNCH / script, "--dry_run", *arguments, *_FLAGS],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return [shlex.split(line) for line in ran.stdout.splitlines()]


def _assert_trains(words):
    """The end of a command is one of `launch.train`, with flags that it has."""
    assert words[-len(_FLAGS) :] == list(_FLAGS)
    at = words.index("launch.train")
    assert words[at - 2 : at] == [".venv/bin/python", "-m"]
    config = cli.config(train.TrainConfig, words[at + 1 :])
    assert config.run.recipe.dtype == "bfloat16"
    assert config.run.workers >= 0


def test_one_machine_with_gpus():
    *install, look, start = _dry_run("train_gpu.sh")
    assert [words[:4] for words in install] == [
        [sys.executable, "-m", "venv", ".venv"],
        [".venv/bin/python", "-m", "pip", "install"],
    ]
    assert install[1][-2:] == ["--editable", ".[cuda]"]
    assert look[:2] == [".venv/bin/python", "-c"]
    assert start[0] == "exec"
    _assert_trains(start)


def test_slurm():
    (start,) = _dry_run("slurm.sbatch")
    assert start[0] == "srun"
    _assert_trains(start)


def test_a_slice_of_tpus():
    archive, copy, install, start, follow = _dry_run("tpu_pod.sh", "slice", "zone")
    assert archive[:2] == ["git", "archive"]
    assert "slice:" in copy
    assert "install [tpu]" in install[-1]
    for words in (copy, install, start):
        assert {"--zone=zone", "--worker=all"} <= {*words}
    assert "--worker=0" in follow
    # What the hosts' shell makes of the command.
    remote = start[-1].removeprefix("--command=")
    assert subprocess.run(["bash", "-n", "-c", remote]).returncode == 0
    words = shlex.split(remote.replace('"$(($(nproc) - 4))"', "8"))
    _assert_trains(words[: words.index("</dev/null")])


@pytest.mark.parametrize("given", [(), ("2",), ("0", "true"), ("two", "true")])
def test_a_pod_says_how_it_is_used(given):
    ran = subprocess.run(
        [_LAUNCH / "local_pod.sh", *given], capture_output=True, text=True
    )
    assert ran.returncode == 2
    assert ran.stderr.splitlines() == ["usage: launch/local_pod.sh N COMMAND..."]


@pytest.mark.slow
def test_a_pod_ends_with_the_code_of_what_failed_first():
    fails = 'case "$*" in *process_id=1*) exit 7;; *) exec sleep 60;; esac'
    ran = subprocess.run(
        [_LAUNCH / "local_pod.sh", "2", "bash", "-c", fails, "bash"],
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert ran.returncode == 7
