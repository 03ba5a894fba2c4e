"""`experiments.filters` from end to end: two nets, two epochs of one; refusals."""

import dataclasses
import json
import shutil

import numpy as np
import onnx
import pytest
from PIL import Image

from tests.experiments.commands import SMALL, assert_one_line, assert_png, command
from tests.test_commands_onnx import trunk
from zf_jax import convnet, spec
from zf_jax.data import batches, sources
from zf_jax.layers import Conv, Dense, Flatten, Layer, Relu
from zf_jax.probes import filters
from zf_jax.training import checkpoint


def train(data, folder, *more, net="small"):
    ran = command(
        "launch.train",
        f"--spec={net}",
        "--batch_size=16",
        "--learning_rate=0.02",
        "--init=he",
        "--dataset=creatures/64",
        f"--data_dir={data}",
        f"--workdir={folder}",
        *more,
    )
    assert ran.code == 0, ran.err
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, creatures_dir):
    """A workdir that keeps epochs 1, 2 and 3, six steps each."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    return train(creatures_dir, folder, "--epochs=3", "--keep=1")


@pytest.fixture(scope="module")
def coarse(tmp_path_factory, creatures_dir):
    """A run of a net with filters of 7 x 7 in steps of 4 pixels."""
    first = Layer("layer1", (Conv(8, 7, 4, 3), Relu()))
    rest = dataclasses.replace(SMALL.layers[1], ops=(Conv(8, 3, padding=1), Relu()))
    net = spec.Spec("coarse", SMALL.input, (first, rest, *SMALL.layers[2:]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(spec.NETS, "coarse", net)
        folder = tmp_path_factory.mktemp("runs") / "coarse"
        return train(creatures_dir, folder, "--epochs=1", net="coarse")


@pytest.fixture
def dead(monkeypatch):
    """Every checkpoint as it is, but for filters 0 and 3 of layer1."""
    load = checkpoint.load

    def silenced(*given):
        restored = load(*given)
        layer = {k: np.array(v) for k, v in restored.params["layer1"].items()}
        layer["kernel"][..., 0] *= 1e-3
        layer["bias"][3] = -1e9
        return restored._replace(params=dict(restored.params) | {"layer1": layer})

    monkeypatch.setattr(checkpoint, "load", silenced)


def compare(run, data, *more):
    given = (f"--checkpoint={run}", f"--data_dir={data}", "--batch_size=32")
    return command("experiments.filters", *given, *more)


def test_two_nets(run, coarse, creatures_dir, tmp_path):
    given = (f"--beside={coarse}", f"--out={tmp_path}", "--maps=3")
    ran = compare(run, creatures_dir, *given)
    assert ran.code == 0, ran.err
    names = ["filters.png", "filters.json", "layer5-small.png", "layer5-coarse.png"]
    assert [path.name for path in ran.written] == names
    for path in ran.written:
        if path.suffix == ".png":
            assert_png(path)
    found = json.loads((tmp_path / "filters.json").read_text())
    assert list(found) == ["small", "coarse"]
    for name, folder, stride in (("small", run, 2), ("coarse", coarse, 4)):
        kernel = checkpoint.load(folder).params["layer1"]["kernel"]
        # The paper's limit, section 3.
        want = filters.summary(kernel, stride, 0.1) | {"images": 50}
        assert {key: found[name][key] for key in want} == pytest.approx(want)
        assert f"{found[name]['energy: aliased']:.3g}" in ran.out
    assert found["small"]["filters"] == 6
    assert found["coarse"]["filters"] == 8


def test_a_runs_own_first_epoch(run, creatures_dir):
    ran = compare(run, creatures_dir, "--maps=2")
    assert ran.code == 0, ran.err
    # Beside the run, where nothing else is said.
    found = json.loads((run / "filters" / "filters.json").read_text())
    assert list(found) == ["small", "small, epoch 1"]
    kernel = checkpoint.load(run, 6).params["layer1"]["kernel"]
    largest = found["small, epoch 1"]["RMS: largest"]
    assert largest == pytest.approx(filters.rms(kernel).max())
    assert (run / "filters" / "layer5-small-epoch-1.png").exists()


def test_dead_filters(run, dead, creatures_dir, tmp_path):
    given = ("--split=train[:30]", f"--out={tmp_path}", "--maps=2")
    ran = compare(run, creatures_dir, *given)
    assert ran.code == 0, ran.err
    found = json.loads((tmp_path / "filters.json").read_text())["small"]
    assert (found["weak"], found["images"]) == (1, 30)
    # Anew by the net itself, over all images at once.
    params = checkpoint.load(run).params
    source = sources.open_split("creatures/64", "train[:30]", data_dir=creatures_dir)
    resize = checkpoint.load(run).about.resize
    cut = {"size": (32, 32), "resize": resize, "batch_size": 30}
    (batch,) = batches.evaluation(source, **cut)
    prepared = convnet.prepare(batch.images, SMALL.input)
    maps = convnet.ConvNet(SMALL).apply({"params": params}, prepared)[1].maps["layer1"]
    silent = ~np.asarray(maps).any(axis=(0, 1, 2))
    assert silent[3]
    assert found["silent"] == silent.sum()


def test_a_step_beside_the_newest(run, creatures_dir, tmp_path):
    given = ("--step=12", f"--beside={run}", f"--out={tmp_path}", "--maps=2")
    ran = compare(run, creatures_dir, *given)
    assert ran.code == 0, ran.err
    found = json.loads((tmp_path / "filters.json").read_text())
    assert list(found) == ["small, step 12", "small"]


def test_nets_of_one_layer(run, creatures_dir, tmp_path):
    given = ("--last=layer1", f"--out={tmp_path}", "--maps=2")
    ran = compare(run, creatures_dir, *given)
    assert ran.code == 0, ran.err
    assert ran.written[2].name == "layer1-small.png"


def test_runs_of_one_name(run, creatures_dir, tmp_path):
    other = shutil.copytree(run, tmp_path / "mine" / "small")
    given = (f"--beside={other}", f"--out={tmp_path / 'out'}", "--maps=2")
    ran = compare(run, creatures_dir, *given)
    assert ran.code == 0, ran.err
    found = json.loads((tmp_path / "out" / "filters.json").read_text())
    assert list(found) == [f"{run.parent.name}/small", "mine/small"]


def test_runs_of_one_name_in_folders_of_one_name(run, creatures_dir, tmp_path):
    other = shutil.copytree(run, tmp_path / run.parent.name / "small")
    given = (f"--beside={other}", f"--out={tmp_path / 'out'}", "--maps=2")
    ran = compare(run, creatures_dir, *given)
    assert ran.code == 0, ran.err
    found = json.loads((tmp_path / "out" / "filters.json").read_text())
    folders = run.parent.parent.name, tmp_path.name
    assert list(found) == [f"{each}/{run.parent.name}/small" for each in folders]


def test_refuses_two_nets_of_different_data(
    run, coarse, creatures_dir, tmp_path, monkeypatch
):
    # As if the second run had learned other images.
    load, opened = checkpoint.load, sources.open_split

    def learned(folder, *given):
        restored = load(folder, *given)
        if str(folder) != str(coarse):
            return restored
        return restored._replace(about=restored.about._replace(dataset="other"))

    def open_split(name, *given, **more):
        source = opened("creatures/64", *given, **more)
        return source._replace(name=name)

    monkeypatch.setattr(checkpoint, "load", learned)
    monkeypatch.setattr(sources, "open_split", open_split)
    beside = f"--beside={coarse}"
    culprit = "of other, validation for coarse; give one --dataset for both"
    refused(run, creatures_dir, tmp_path, culprit, beside)
    out, data = f"--out={tmp_path / 'one'}", "--dataset=creatures/64"
    ran = compare(run, creatures_dir, beside, out, data, "--maps=2")
    assert ran.code == 0, ran.err


def test_a_net_from_elsewhere(run, tmp_path):
    # Each one's own second layer, whatever it is called.
    onnx.save(trunk(("n", 3, "h", "w")).model(), tmp_path / "trunk.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "it.png")
    given = (
        "experiments.filters",
        f"--onnx={tmp_path / 'trunk.onnx'}",
        "--preset=unit",
        f"--images={tmp_path / 'it.png'}",
        "--size=40",
        "--maps=2",
        f"--out={tmp_path / 'out'}",
    )
    assert_one_line(command(*given), "--beside: give the training run")
    assert not (tmp_path / "out").exists()
    ran = command(*given, f"--beside={run}")
    assert ran.code == 0, ran.err
    names = [path.name for path in ran.written[2:]]
    assert names[0].startswith("conv2-trunk")
    assert names[1] == "layer5-small.png"


def refused(run, data, tmp_path, culprit, *more):
    ran = compare(run, data, f"--out={tmp_path / 'out'}", *more)
    assert_one_line(ran, culprit)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        ("--beside=nowhere", "nowhere: no such folder"),
        ("--checkpoint=nowhere", "nowhere: no such folder"),
        ("--layers=layer2", "'layer2': small has layer1, layer5"),
        ("--layers=layer5,layer9", "'layer9'"),
        ("--maps=99,", "--maps=99"),
        ("--step=6", "small keeps no earlier epoch"),
        ("--dataset=creature/64", "'creature/64'"),
    ],
)
def test_refuses(run, creatures_dir, tmp_path, given, culprit):
    refused(run, creatures_dir, tmp_path, culprit, given)


def test_refuses_the_net_itself(run, creatures_dir, tmp_path):
    culprit = "is --checkpoint itself"
    refused(run, creatures_dir, tmp_path, culprit, f"--beside={run}")
    # By another path, and by the newest step's number.
    again = f"--beside={run.parent}"
    refused(run, creatures_dir, tmp_path, culprit, again, "--step=18")


def test_refuses_a_run_of_one_epoch(coarse, creatures_dir, tmp_path):
    culprit = "--beside: give another run; coarse keeps no earlier epoch"
    refused(coarse, creatures_dir, tmp_path, culprit)


def test_refuses_a_first_layer_that_is_dense(run, creatures_dir, tmp_path, monkeypatch):
    layers = (Layer("layer1", (Flatten(), Dense(12), Relu())), SMALL.layers[-1])
    monkeypatch.setitem(spec.NETS, "dense", spec.Spec("dense", SMALL.input, layers))
    folder = train(creatures_dir, tmp_path / "flat", "--epochs=1", net="dense")
    culprit = "flat: layer1 is dense; give nets whose first layer filters"
    refused(run, creatures_dir, tmp_path, culprit, f"--beside={folder}")


def test_refuses_other_colours(run, creatures_dir, tmp_path, monkeypatch):
    # The same checkpoint, said to be of a net for grey images.
    load = checkpoint.load

    def grey(*given):
        restored = load(*given)
        layer = dict(restored.params["layer1"])
        layer["kernel"] = layer["kernel"][:, :, :1]
        return restored._replace(params=dict(restored.params) | {"layer1": layer})

    monkeypatch.setattr(checkpoint, "load", grey)
    culprit = "small: the filters of layer1 see 1 colours; give nets"
    refused(run, creatures_dir, tmp_path, culprit)
