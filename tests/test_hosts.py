"""Several processes on one machine: they find each other, agree, share and end."""

import os
import re
import signal
import socket

import pytest

from tests import pods
from zf_jax import hosts
from zf_jax.errors import BadInput

_SCHEDULERS = ("SLURM", "OMPI", "KUBERNETES", "JOB_COMPLETION", "TPU")


@pytest.fixture(autouse=True)
def _no_scheduler(monkeypatch):
    for name in tuple(os.environ):
        if name.startswith(_SCHEDULERS):
            monkeypatch.delenv(name)


def test_one_process_stays_alone():
    hosts.initialize()
    hosts.initialize("none", 4, 2)
    assert hosts.is_primary()
    assert hosts.stop_agreed(True)
    assert not hosts.stop_agreed(False)
    assert hosts.on_primary(lambda: "whatever it returns") == "whatever it returns"


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        (("node1", 2, 0), "--coordinator=node1: give HOST:PORT"),
        (("node1:8476", None, 0), "--num_processes: must be given"),
        (("node1:8476", 2, None), "--process_id: must be given"),
        ((None, 2, 0), "--coordinator: must be given"),
        (("node1:8476", 2, 2), "--process_id=2: of 2 processes the last is 1"),
    ],
)
def test_refuses_flags_that_do_not_fit_together(given, culprit):
    with pytest.raises(BadInput, match=re.escape(culprit)):
        hosts.initialize(*given)


def test_a_process_0_out_of_reach_is_named(monkeypatch):
    monkeypatch.setattr(hosts, "_START_TIMEOUT", 0)
    with socket.socket() as unused:
        unused.bind(("localhost", 0))
        where = f"localhost:{unused.getsockname()[1]}"
        with pytest.raises(BadInput, match=f"{where}: process 0 is not within reach"):
            hosts.initialize(where, 2, 1)


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        ({"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_PROCID": 0, "SLURM_NTASKS": 2}, True),
        ({"SLURM_STEP_NODELIST": "n1", "SLURM_PROCID": 0, "SLURM_NTASKS": 1}, False),
        # The shell of `salloc --ntasks=2` is one process.
        (
            {
                "SLURM_STEP_NODELIST": "n1",
                "SLURM_PROCID": 0,
                "SLURM_NTASKS": 2,
                "SLURM_STEP_NUM_TASKS": 1,
            },
            False,
        ),
        ({"OMPI_COMM_WORLD_SIZE": 4}, True),
        ({"OMPI_COMM_WORLD_SIZE": 1}, False),
        ({"TPU_WORKER_HOSTNAMES": "host0,host1"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": 1}, True),
    ],
)
def test_finds_several_processes_where_a_scheduler_started_them(
    environment, several, monkeypatch
):
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    joined = []
    monkeypatch.setattr(
        hosts.jax.distributed, "initialize", lambda *given, **_: joined.append(given)
    )
    monkeypatch.setattr(hosts, "_keep_preemption_handler", lambda: None)
    former = signal.getsignal(signal.SIGTERM)
    hosts.initialize()
    assert joined == [(None, None, None)] * several
    assert signal.getsignal(signal.SIGTERM) is former


# Process 1 gets the signal that stops both. Process 1 polls late, so that process 0 is
# some polls ahead.
_SCRIPT = """
import os, signal, sys, time
import jax, numpy as np
from zf_jax import cli, errors, hosts

config = cli.config(cli.HostsConfig, sys.argv[1:])
asked = []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: asked.append(True))
config.initialize()
assert jax.device_count() == 4 and jax.local_device_count() == 2
one = config.process_id

on_disk = {"a": np.float32([-0.0, np.nan, 3]), "b": np.ones((2, 2), np.int8)}

def load():
    assert hosts.is_primary()
    return on_disk

like = {"a": np.zeros(3, np.float32), "b": np.zeros((2, 2), np.int8)}
found = hosts.on_primary(load, like)
for name, wanted in on_disk.items():
    assert found[name].dtype == wanted.dtype and found[name].shape == wanted.shape
    assert found[name].tobytes() == wanted.tobytes()
assert hosts.on_primary(lambda: None, like) is None

def refuse():
    raise errors.BadInput("a damaged file")

try:
    hosts.on_primary(refuse)
except errors.BadInput as error:
    assert str(error) == "a damaged file"
else:
    raise AssertionError

if one:
    time.sleep(0.5)
for step in range(10000):
    if one and step == 20:
        os.kill(os.getpid(), signal.SIGINT)
    if hosts.stop_agreed(bool(asked)):
        break
    time.sleep(0.01)
print(f"stopped at {step}", flush=True)
"""


def test_two_processes_share_what_one_reads_and_stop_together(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(_SCRIPT)
    ran = pods.run(script)
    assert ran.returncode == 0, ran.stdout
    first, second = re.findall(r"stopped at (\d+)", ran.stdout)
    assert first == second != "9999"
