"""Every command from end to end on a tiny setting, and what users get wrong."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from launch import report
from tests.experiments.commands import (
    SMALL,
    Ran,
    assert_one_line,
    assert_png,
    command,
    numbers_in,
)
from zf_jax import convnet
from zf_jax.data import crops, image_files
from zf_jax.probes import occlusion
from zf_jax.training import checkpoint

ROOT = pathlib.Path(__file__).parents[1]

TRAIN = ("--spec=small", "--batch_size=16", "--learning_rate=0.02", "--init=he")


@pytest.fixture(scope="module")
def run(tmp_path_factory, creatures_dir):
    """A workdir after two epochs of `launch.train`, and what the command said."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    return folder, command(*train(folder, creatures_dir, "--epochs=2"))


def train(workdir, data, *more):
    return (
        "launch.train",
        *TRAIN,
        "--dataset=creatures/64",
        f"--data_dir={data}",
        f"--workdir={workdir}",
        *more,
    )


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(each) for each in lines]


def test_train(run):
    folder, ran = run
    assert ran.code == 0, ran.err
    # 96 images in batches of 16, two epochs.
    assert [row["step"] for row in rows(folder)] == [6, 12]
    for row in rows(folder):
        assert 0 <= row["top1"] <= row["top5"] <= 1
    assert_png(folder / "curve.png")
    restored = checkpoint.load(folder)
    assert restored.step == 12
    assert restored.metadata.net == SMALL
    assert restored.metadata.dataset == "creatures/64"
    assert len(restored.metadata.labels) == 10
    written = [path.resolve() for path in ran.written]
    names = ("metrics.jsonl", "curve.png", "checkpoints")
    assert written == [folder.resolve() / name for name in names]
    assert all(path.exists() for path in written)


def test_train_again_and_then_more(run, creatures_dir, tmp_path):
    folder = shutil.copytree(run[0], tmp_path / "copy")
    before = rows(folder)
    again = command(*train(folder, creatures_dir, "--epochs=2"))
    assert again.code == 0, again.err
    assert "trained for 2 epochs" in again.out
    assert rows(folder) == before
    more = command(*train(folder, creatures_dir, "--epochs=3"))
    assert more.code == 0, more.err
    assert rows(folder)[:2] == before
    assert [row["epoch"] for row in rows(folder)] == [1, 2, 3]
    assert checkpoint.load(folder).step == 18


def test_train_mends_a_half_written_metrics_file(run, creatures_dir, tmp_path):
    # A crash of the machine may cut the file; what can be read is gone on from.
    folder = shutil.copytree(run[0], tmp_path / "copy")
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text()[:-20])
    ran = command(*train(folder, creatures_dir, "--epochs=3"))
    assert ran.code == 0, ran.err
    assert rows(folder)[-1]["epoch"] == 3


def test_features(run, creatures_dir, tmp_path):
    ran = command(
        "experiments.features",
        f"--checkpoint={run[0]}",
        f"--data_dir={creatures_dir}",
        f"--out={tmp_path / 'new'}",
        "--k=4",
        "--batch_size=16",
    )
    assert ran.code == 0, ran.err
    layers = ("layer1", "layer5", "layer6", "layer8")
    names = [f"{layer}.{kind}" for layer in layers for kind in ("png", "npz")]
    names = ["filters.png", *names, "contact.png"]
    assert [path.name for path in ran.written] == names
    for path in ran.written:
        if path.suffix == ".png":
            assert_png(path)
    assert {p.name for p in (tmp_path / "new").iterdir()} >= set(names)


@pytest.mark.parametrize("rule", ["gradient", "guided"])
def test_features_of_chosen_maps(run, creatures_dir, tmp_path, rule):
    ran = command(
        "experiments.features",
        f"--checkpoint={run[0]}",
        f"--data_dir={creatures_dir}",
        f"--out={tmp_path}",
        "--layers=layer5,layer1",
        "--maps=3,0",
        "--step=6",
        "--split=train[:20]",
        f"--rule={rule}",
    )
    assert ran.code == 0, ran.err
    assert [path.name for path in ran.written] == [
        "filters.png",
        "layer5.png",
        "layer5.npz",
        "layer1.png",
        "layer1.npz",
        "contact.png",
    ]
    for name in ("layer1", "layer5"):
        np.testing.assert_array_equal(
            numbers_in(tmp_path / f"{name}.npz")["maps"], [3, 0]
        )


def test_occlusion_of_the_data_set(run, creatures_dir, tmp_path):
    ran = command(
        "experiments.occlusion",
        f"--checkpoint={run[0]}",
        f"--data_dir={creatures_dir}",
        f"--out={tmp_path}",
        "--indices=0,7",
        "--side=10",
        "--stride=5",
        "--others=3",
    )
    assert ran.code == 0, ran.err
    assert [path.suffix for path in ran.written] == [".png", ".npz"] * 2
    for picture, numbers in zip(ran.written[::2], ran.written[1::2], strict=True):
        assert_png(picture)
        assert picture.stem == numbers.stem
        read = numbers_in(numbers)
        # By hand: ceil((32 - 10) / 5) + 1 = 6 positions each way.
        assert read["probability"].shape == (6, 6, 10)
        assert read["top"].shape == (6, 6)
        assert read["activity"].shape == (6, 6, 8)
        np.testing.assert_allclose(read["probability"].sum(-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(read["probability"].argmax(-1), read["top"])


def test_occlusion_of_a_file(run, tmp_path):
    # A grey photograph of another size, and the numbers anew by the library.
    pixels = np.random.default_rng(0).integers(0, 256, (50, 44), np.uint8)
    path = tmp_path / "my cat.png"
    Image.fromarray(pixels).save(path)
    ran = command(
        "experiments.occlusion",
        f"--checkpoint={run[0]}",
        f"--images={path}",
        "--classes=cat",
        "--side=16",
        "--stride=7",
        "--fill=128",
        "--others=0",
        "--chunk=5",
        f"--out={tmp_path / 'out'}",
    )
    assert ran.code == 0, ran.err
    assert [each.name for each in ran.written] == ["my cat.png", "my cat.npz"]
    read = numbers_in(ran.written[1])
    restored = checkpoint.load(run[0])
    assert restored.metadata.labels[read["label"]] == "cat"

    def probabilities(images):
        logits, _ = convnet.ConvNet(SMALL).apply({"params": restored.params}, images)
        return jax.nn.softmax(logits)

    image = crops.resize(image_files.read(path), restored.metadata.resize)
    image = convnet.prepare(crops.centre(image, (32, 32)), SMALL.input)
    grey = convnet.prepare(np.full(3, 128.0), SMALL.input)
    want = occlusion.sweep(probabilities, image, side=16, stride=7, fill=grey)
    # The same float32 program but for the size of its chunks.
    np.testing.assert_allclose(read["probability"], want, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        read["clean_probability"], probabilities(image[None])[0], rtol=1e-4, atol=1e-6
    )


def test_contact(creatures_dir, tmp_path):
    ran = command(
        "experiments.contact",
        "--dataset=creatures/64",
        f"--data_dir={creatures_dir}",
        "--split=validation",
        "--each=3",
        f"--out={tmp_path}",
    )
    assert ran.code == 0, ran.err
    (path,) = ran.written
    assert path.name == "creatures-64.png"
    assert_png(path)


def test_report(tmp_path, capsys):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "features").mkdir()
    row = {"epoch": 1, "top1": 0.5, "top5": 0.75}
    last = {"epoch": 2, "top1": 0.97, "top5": 1.0}
    (tmp_path / "tiny" / "metrics.jsonl").write_text(
        json.dumps(row) + "\n" + json.dumps(last) + "\n"
    )
    for name in ("features/layer2.png", "features/layer1.png", "sheet.png"):
        (tmp_path / name).write_bytes(b"x")
    report.main(str(tmp_path), "install=12", "data=3", "train=200")
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["top1"] == 0.97
    assert written["top5"] == 1.0
    assert written["seconds"] == {"install": 12, "data": 3, "train": 200}
    assert [pathlib.Path(p).name for p in written["figures"]] == [
        "layer1.png",
        "layer2.png",
        "sheet.png",
    ]
    assert "97" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        ("--spec=resnet", "'resnet': there are tiny"),
        ("--dataset=creature/64", "'creature/64'"),
        ("--dataset=creatures/65", "'creatures/65'"),
        ("--dataset=mnist", "tfds build mnist"),
        ("--train_split=tarin", "'tarin'"),
        ("--validation_split=test", "'test'"),
        ("--train_split=train[:", "train[:"),
        ("--batch_size=6", "batch_size 6"),
        ("--batch_size=0", "batch_size 0"),
        ("--batch_size=1000", "batch size 1000"),
        ("--epochs=0", "epochs 0"),
        ("--learning_rate=-1", "learning_rate -1"),
        ("--schedule=linear", "schedule 'linear'"),
        ("--dtype=float16", "dtype 'float16'"),
        ("--resize=20", "resize 20"),
        ("--keep=1,two", "--keep=1,two"),
        ("one", "one: not a flag"),
    ],
)
def test_train_refuses(creatures_dir, tmp_path, given, culprit):
    folder = tmp_path / "run"
    assert_one_line(command(*train(folder, creatures_dir, given)), culprit)
    # Nothing that a later run would trip over.
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_train_refuses_the_workdir_of_another_run(run, creatures_dir):
    before = (run[0] / "metrics.jsonl").read_bytes()
    ran = command(*train(run[0], creatures_dir, "--seed=3"))
    assert_one_line(ran, "seed 0, not 3")
    assert (run[0] / "metrics.jsonl").read_bytes() == before


def test_train_refuses_a_workdir_that_is_a_file(creatures_dir, tmp_path):
    (tmp_path / "run").write_text("mine")
    assert_one_line(command(*train(tmp_path / "run", creatures_dir)), "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_train_that_diverges(creatures_dir, tmp_path):
    ran = command(*train(tmp_path, creatures_dir, "--learning_rate=1e30", "--epochs=1"))
    assert ran.code not in (0, None)
    # The progress bar was on its way.
    last = ran.err.strip().splitlines()[-1]
    assert "by step 6: the run diverged" in last
    assert "--learning_rate" in last
    assert "Traceback" not in ran.err
    with pytest.raises(checkpoint.BadInput, match="no finished checkpoint"):
        checkpoint.load(tmp_path)


EMPTY = object()


@pytest.mark.parametrize(
    ("module", "given", "culprit"),
    [
        ("features", "--checkpoint=nowhere", "nowhere: no such folder"),
        ("features", EMPTY, "holds no finished checkpoint"),
        ("features", "--step=7", "step 7"),
        ("features", "--layers=layer9", "'layer9'"),
        ("features", "--layers=layer1,conv", "'conv'"),
        ("features", "--maps=0,99", "99"),
        ("features", "--maps=99,", "99"),
        ("features", "--maps=-1,0", "-1"),
        ("features", "--maps=many", "many"),
        ("features", "--maps=all,3", "all,3"),
        ("features", "--layers=layer9", "small has layer1, layer5, layer6, layer8"),
        ("features", "--control=shuffle", "there are random_weights"),
        ("features", "--maps=0", "--maps=0"),
        ("features", "--maps=,", "--maps"),
        ("features", "--dataset=nowhere/1", "'nowhere/1'"),
        ("features", "--split=test", "'test'"),
        ("occlusion", "--checkpoint=nowhere", "nowhere: no such folder"),
        ("occlusion", EMPTY, "holds no finished checkpoint"),
        ("occlusion", "--side=0", "side"),
        ("occlusion", "--side=33", "33"),
        ("occlusion", "--stride=0", "stride"),
        ("occlusion", "--stride=-3", "stride"),
        ("occlusion", "--layer=layer9", "'layer9'"),
        ("occlusion", "--layer=layer6", "layer6"),
        ("occlusion", "--indices=50", "--indices=50"),
        ("occlusion", "--indices=one", "--indices=one"),
        ("occlusion", "--indices=-1", "--indices=-1"),
        ("occlusion", "--indices=", "--images"),
        ("occlusion", "--indices=0,0", "several"),
        ("occlusion", "--images=nowhere.jpg", "'nowhere.jpg': no such file"),
        ("occlusion", f"--images={__file__}", "not an image"),
        ("occlusion", f"--images={ROOT / 'launch'}", "no image in it"),
        ("occlusion", "--images=no*where.jpg", "no image matches"),
        ("occlusion", "--classes=cat", "--classes"),
        ("occlusion", "--split=test", "'test'"),
        ("contact", "--dataset=creature/64", "'creature/64'"),
        ("contact", "--split=test", "'test'"),
    ],
)
def test_experiments_refuse(run, creatures_dir, tmp_path, module, given, culprit):
    if given is EMPTY:
        (tmp_path / "empty").mkdir()
        given = f"--checkpoint={tmp_path / 'empty'}"
    plain = {
        "features": (f"--checkpoint={run[0]}", "--k=2"),
        "occlusion": (
            f"--checkpoint={run[0]}",
            "--indices=0",
            "--side=8",
            "--others=0",
        ),
        "contact": ("--dataset=creatures/64",),
    }[module]
    out = tmp_path / "out"
    data = f"--data_dir={creatures_dir}"
    ran = command(f"experiments.{module}", *plain, data, f"--out={out}", given)
    assert_one_line(ran, culprit)
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize(
    ("module", "given", "culprit"),
    [
        ("launch.train", ("--workdir=x",), "--dataset"),
        ("launch.train", ("--nosuchflag=1",), "nosuchflag"),
        ("launch.train", ("--epochs=many",), "many"),
        ("experiments.contact", ("--dataset=x",), "--out"),
        ("experiments.features", ("--rule=up",), "up"),
        ("experiments.occlusion", ("--side=big",), "big"),
        ("experiments.occlusion", ("--chunk=0",), "chunk"),
        ("experiments.contact", ("--each=0",), "each"),
    ],
)
def test_flags_that_absl_refuses(module, given, culprit):
    ran = command(module, *given)
    assert ran.code == 1
    # Absl's own words: the mistake, and where help is.
    first, *rest = ran.err.strip().splitlines()
    assert first.startswith("FATAL Flags parsing error")
    assert culprit in ran.err
    assert len(rest) <= 2
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "module",
    [
        "launch.train",
        "experiments.features",
        "experiments.occlusion",
        "experiments.contact",
    ],
)
def test_help(module):
    ran = command(module, "--helpshort")
    assert ran.code in (0, 1)
    # Those that several experiments share, too, though another module defines them.
    assert "--data_dir" in ran.out
    assert ran.err == ""


PRECISION = "JAX_DEFAULT_MATMUL_PRECISION"


def fresh(tmp_path, *arguments, **environment):
    """`python ...` as a user starts it."""
    known = {k: v for k, v in os.environ.items() if k != PRECISION}
    environment = known | {"XDG_CACHE_HOME": str(tmp_path / "cache")} | environment
    ran = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def test_a_fresh_process_draws(run, tmp_path):
    # The checkpoint tells the net, which this process has no name for.
    path = tmp_path / "cat.png"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(path)
    ran = fresh(
        tmp_path,
        "-m",
        "experiments.occlusion",
        f"--checkpoint={run[0]}",
        f"--images={path}",
        "--side=16",
        "--stride=8",
        "--others=0",
        f"--out={tmp_path / 'out'}",
    )
    assert ran.code == 0, ran.err
    assert "Traceback" not in ran.err
    assert "Warning" not in ran.err
    assert_png(tmp_path / "out" / "cat.png")
    # What was compiled is kept, so that a second start is quick.
    assert (tmp_path / "cache" / "zf_jax").is_dir()


def test_a_fresh_process_refuses(tmp_path):
    ran = fresh(
        tmp_path,
        "-m",
        "launch.train",
        "--spec=resnet",
        "--dataset=creatures/64",
        f"--workdir={tmp_path / 'run'}",
    )
    assert_one_line(ran, "resnet")
    assert ran.code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("how", "given", "want"),
    [
        ("", {}, "float32"),
        ("", {PRECISION: "high"}, "high"),
        (", exact=False", {}, "None"),
    ],
)
def test_precision_of_a_command(tmp_path, how, given, want):
    program = (
        "import jax; from launch import script; "
        f"script.run(lambda: print(jax.config.jax_default_matmul_precision) or []{how})"
    )
    ran = fresh(tmp_path, "-c", program, **given)
    assert (ran.code, ran.out.strip()) == (0, want), ran.err
