"""Training on two processes of two devices, on one of four, and on one of one."""

import json
import re
import signal
import time

import numpy as np
import pytest

from tests import pods

pytestmark = pytest.mark.slow

# A net with dropout, images that are mirrored and cut at random; 20 steps.
_SCRIPT = """
import dataclasses, itertools, json, pathlib
from tests.experiments.commands import SMALL
from zf_jax import cli, hosts
from zf_jax.data import sources
from zf_jax.training import loop, optimizer, recipe, step

@dataclasses.dataclass(frozen=True)
class Config:
    data_dir: str = cli.field("", "where the data set is")
    steps: int = cli.field(20, "steps, 0 for no end")
    hosts: cli.HostsConfig = cli.HostsConfig()

def main(config: Config) -> list[pathlib.Path]:
    config.hosts.initialize()
    train, validation = (
        sources.open_split("creatures/64", split, data_dir=config.data_dir)
        for split in ("train", "validation")
    )
    how = recipe.Recipe(batch_size=16, learning_rate=0.05, init="he", filter_rms=0.0)
    run = loop.Run(SMALL, how, train, validation)
    model = loop.make_model(run.net, how)
    tx = optimizer.make_optimizer(how, run.steps_per_epoch)
    state = step.replicate(step.first_state(model, tx, how.seed))
    train_step, losses = step.make_train_step(model, tx), []
    stream = loop.batches.training(run.train, **run.batch_settings, seed=how.seed)
    for done in itertools.count(1):
        state = train_step(state, step.shard_batch(next(stream)))
        losses.append(state.seen.means()["loss"])
        if done == 3:
            print("trains", flush=True)
        if done == config.steps:
            break
    evaluated = loop.evaluate(run, step.make_eval_step(model), state.params)
    if hosts.is_primary():
        print("found", json.dumps([losses, evaluated]), flush=True)
    return []

if __name__ == "__main__":
    cli.run(main)
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "main.py"
    path.write_text(_SCRIPT)
    return path


def test_any_number_of_hosts_and_devices_learns_the_same(script, creatures_dir):
    found, data = {}, f"--data_dir={creatures_dir}"
    for processes, devices in ((1, 1), (1, 4), (2, 2)):
        ran = pods.run(script, data, processes=processes, devices=devices)
        assert ran.returncode == 0, ran.stdout
        found[processes, devices] = json.loads(re.findall("found (.*)", ran.stdout)[0])
    losses, evaluated = found.pop((1, 1))
    assert losses[-1] < losses[0]
    for other_losses, other in found.values():
        np.testing.assert_allclose(other_losses, losses, rtol=1e-5)
        assert other["loss"] == pytest.approx(evaluated["loss"], rel=1e-5)
        assert other["top1"] == evaluated["top1"]


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_the_loss_of_a_host_ends_the_other_within_a_minute(
    lost, how, script, creatures_dir
):
    pair = pods.start(script, f"--data_dir={creatures_dir}", "--steps=0")
    try:
        for process in pair:
            assert any("trains" in line for line in process.stdout)
        began = time.monotonic()
        pair[lost].send_signal(how)
        output, _ = pair[1 - lost].communicate(timeout=120)
        assert pair[1 - lost].returncode != 0
        assert time.monotonic() - began < 60
        assert "another" in output
    finally:
        for process in pair:
            process.kill()
            process.communicate()


# `launch.train`, which knows the small net.
_TRAIN = """
from launch import train
from tests.experiments.commands import SMALL
from zf_jax import cli, spec

if __name__ == "__main__":
    spec.NETS["small"] = SMALL
    cli.run(train.main, exact=False)
"""


def test_a_signal_to_one_process_saves_and_one_process_goes_on(creatures_dir, tmp_path):
    script, rows = tmp_path / "main.py", {}
    script.write_text(_TRAIN)
    given = (
        "--spec=small",
        "--dataset=creatures/64",
        f"--data_dir={creatures_dir}",
        "--batch_size=16",
        # So low that rounding hardly grows with the steps.
        "--learning_rate=0.001",
        "--init=he",
        "--filter_rms=0",
    )
    stopped, whole = (tmp_path / name for name in ("stopped", "whole"))
    pair = pods.start(script, *given, f"--workdir={stopped}", "--epochs=1000")
    try:
        assert any("epoch 2:" in line for line in pair[0].stdout)
        pair[1].send_signal(signal.SIGTERM)
        outputs = [process.communicate(timeout=100)[0] for process in pair]
        assert [process.returncode for process in pair] == [143, 143], outputs
    finally:
        for process in pair:
            process.kill()
    assert "stopped and saved" in outputs[0]
    step = max(int(path.name) for path in (stopped / "checkpoints").glob("[0-9]*"))
    epochs = f"--epochs={step // 6 + 2}"
    for workdir in (stopped, whole):
        ran = pods.run(script, *given, f"--workdir={workdir}", epochs, processes=1)
        assert ran.returncode == 0, ran.stdout
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        rows[workdir] = [json.loads(line) for line in lines]
    assert len(rows[stopped]) == len(rows[whole]) == step // 6 + 2
    for found, wanted in zip(rows[stopped], rows[whole], strict=True):
        assert found["step"] == wanted["step"]
        # Rounding of another number of devices.
        assert found["train_loss"] == pytest.approx(wanted["train_loss"], rel=1e-3)
