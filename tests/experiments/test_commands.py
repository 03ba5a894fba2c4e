"""The commands of launch/, and what all commands have in common."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from launch.settings import RecipeConfig, RunConfig, make_run
from tests.experiments.commands import (
    SMALL,
    Ran,
    assert_one_line,
    assert_png,
    command,
    train,
)
from zf_jax.errors import BadInput
from zf_jax.training import checkpoint

ROOT = pathlib.Path(__file__).parents[2]


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(each) for each in lines]


def attempt(data, workdir, *more, **how):
    """`launch.train` of one epoch, which may fail."""
    return command(
        "launch.train",
        "--spec=small",
        "--batch_size=16",
        "--epochs=1",
        "--dataset=creatures/64",
        f"--data_dir={data}",
        f"--workdir={workdir}",
        *more,
        **how,
    )


def test_train(run):
    # 96 images in batches of 16, four epochs.
    assert [row["step"] for row in rows(run)] == [6, 12, 18, 24]
    for row in rows(run):
        assert 0 <= row["top1"] <= row["top5"] <= 1
    assert_png(run / "curve.png")
    restored = checkpoint.load(run)
    assert restored.step == 24
    assert restored.metadata.net == SMALL
    assert restored.metadata.dataset == "creatures/64"
    assert len(restored.metadata.labels) == 10
    # Epoch 1, as it was asked for, and the newest two.
    assert checkpoint.epochs(run) == {1: 6, 3: 18, 4: 24}


def test_train_again_and_then_more(run, creatures_dir, tmp_path):
    folder = shutil.copytree(run, tmp_path / "copy")
    before = rows(folder)
    train(creatures_dir, folder, "--epochs=4", "--keep_epochs=1")
    assert rows(folder) == before
    # A crash of the machine may cut the file; what can be read is gone on from.
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text()[:-20])
    train(creatures_dir, folder, "--epochs=5", "--keep_epochs=1")
    assert rows(folder)[:3] == before[:3]
    assert rows(folder)[-1]["epoch"] == 5
    assert checkpoint.load(folder).step == 30


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        ({"dataset": "creature/64"}, "'creature/64'"),
        ({"dataset": "creatures/65"}, "'creatures/65'"),
        ({"dataset": "mnist"}, "tfds build mnist"),
        ({"train_split": "tarin"}, "'tarin'"),
        ({"train_split": "train[:"}, r"train\[:"),
        ({"validation_split": "test"}, "'test'"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"epochs": 0}, "epochs 0"),
        ({"learning_rate": -1.0}, "learning_rate -1"),
        ({"schedule": "linear"}, "schedule 'linear'"),
        ({"dtype": "float16"}, "dtype 'float16'"),
    ],
)
def test_refuses_settings(creatures_dir, given, culprit):
    names = {field.name for field in dataclasses.fields(RecipeConfig)}
    recipe = RecipeConfig(**{k: v for k, v in given.items() if k in names})
    given = {k: v for k, v in given.items() if k not in names}
    given = {"dataset": "creatures/64", "data_dir": creatures_dir} | given
    with pytest.raises(BadInput, match=culprit):
        make_run(RunConfig(**given, recipe=recipe), SMALL)


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        ("--spec=resnet", "'resnet': there are tiny"),
        ("--keep_epochs=1,two", "--keep_epochs=1,two"),
        ("--keep=1", "--keep: this flag is now --keep_epochs"),
        ("one", "one: not a flag"),
        ("--nosuchflag=1", "nosuchflag"),
        ("--epochs=many", "many"),
        ("--batch_size=1000", "batch size 1000"),
        ("--resize=20", "resize 20"),
        ("--dataset=", "''"),
    ],
)
def test_train_refuses_in_one_line(creatures_dir, tmp_path, given, culprit):
    folder = tmp_path / "run"
    assert_one_line(attempt(creatures_dir, folder, given, fails=True), culprit)
    # Nothing that a later run would trip over.
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_train_refuses_the_workdir_of_another_run(run, creatures_dir, tmp_path):
    before = (run / "metrics.jsonl").read_bytes()
    assert_one_line(
        attempt(creatures_dir, run, "--seed=3", "--init=he", fails=True), "not 3"
    )
    assert (run / "metrics.jsonl").read_bytes() == before
    (tmp_path / "run").write_text("mine")
    assert_one_line(attempt(creatures_dir, tmp_path / "run", fails=True), "run")
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.slow
def test_train_that_diverges(creatures_dir, tmp_path):
    ran = attempt(
        creatures_dir, tmp_path, "--learning_rate=1e30", "--init=he", fails=True
    )
    # The progress bar was on its way.
    last = ran.err.strip().splitlines()[-1]
    assert "by step 6: the run diverged" in last
    assert "--learning_rate" in last
    assert "Traceback" not in ran.err
    with pytest.raises(BadInput, match="no finished checkpoint"):
        checkpoint.load(tmp_path)


def test_preview(creatures_dir, tmp_path):
    ran = command(
        "launch.preview",
        "--dataset=creatures/64",
        f"--data_dir={creatures_dir}",
        "--split=validation",
        "--per_class=3",
        f"--out={tmp_path}",
    )
    (path,) = ran.written
    assert path.name == "creatures-64.png"
    assert_png(path)


def test_report(tmp_path):
    for folder in ("tiny", "features"):
        (tmp_path / folder).mkdir()
    results = [
        {"epoch": 1, "top1": 0.5, "top5": 0.75},
        {"epoch": 2, "top1": 0.97, "top5": 1.0},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in results)
    (tmp_path / "tiny" / "metrics.jsonl").write_text(lines)
    for name in ("features/layer2.png", "features/layer1.png", "sheet.png"):
        (tmp_path / name).write_bytes(b"x")
    given = (f"--folder={tmp_path}", "--stages=install=12,data=3,train=200")
    ran = command("launch.report", *given)
    assert "97" in ran.out
    written = json.loads((tmp_path / "report.json").read_text())
    assert (written["top1"], written["top5"]) == (0.97, 1.0)
    assert written["seconds"] == {"install": 12, "data": 3, "train": 200}
    assert [pathlib.Path(p).name for p in written["figures"]] == [
        "layer1.png",
        "layer2.png",
        "sheet.png",
    ]


PRECISION = "JAX_DEFAULT_MATMUL_PRECISION"


def fresh(tmp_path, *arguments, **environment):
    """`python ...` as a user starts it."""
    inherited = {k: v for k, v in os.environ.items() if k != PRECISION}
    environment = inherited | {"XDG_CACHE_HOME": str(tmp_path / "cache")} | environment
    ran = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.mark.slow
def test_a_fresh_process_draws(run, tmp_path):
    # The checkpoint tells the net, which this process has no name for.
    path = tmp_path / "cat.png"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(path)
    ran = fresh(
        tmp_path,
        "-m",
        "experiments.occlusion",
        f"--checkpoint={run}",
        f"--images={path}",
        "--side=16",
        "--stride=8",
        "--neighbour_images=0",
        f"--out={tmp_path / 'out'}",
    )
    assert ran.code == 0, ran.err
    assert "Traceback" not in ran.err
    assert "Warning" not in ran.err
    assert_png(tmp_path / "out" / "cat.png")
    # What was compiled is kept, so that a second start is quick.
    assert (tmp_path / "cache" / "zf_jax").is_dir()


def test_a_fresh_process_refuses_and_names_the_command(tmp_path):
    given = ("-m", "experiments.features", "--layer=layer1")
    ran = fresh(tmp_path, *given)
    assert_one_line(ran, "features: ")
    assert ran.code == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["features", "occlusion", "evolution", "filters"])
def test_help(tmp_path, name):
    ran = fresh(tmp_path, "-m", f"experiments.{name}", "--help")
    assert ran.code in (0, 1)
    # The flags of nested configurations, too.
    assert "--data_dir" in ran.out.replace("[no]", "")
    assert "Traceback" not in ran.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "given", "want"),
    [
        ("", {}, "float32"),
        ("", {PRECISION: "high"}, "high"),
        (", exact=False", {}, "None"),
    ],
)
def test_precision_of_a_command(tmp_path, how, given, want):
    program = f"""
import dataclasses, jax
from zf_jax import cli

@dataclasses.dataclass(frozen=True)
class Config:
    pass

def main(config: Config) -> list:
    print(jax.config.jax_default_matmul_precision)
    return []

cli.run(main{how})
"""
    ran = fresh(tmp_path, "-c", program, **given)
    assert (ran.code, ran.out.strip()) == (0, want), ran.err
