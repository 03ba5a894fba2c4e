"""`experiments.filters` from end to end: two nets, two epochs of one; refusals."""

import json
import pathlib
import shutil

import numpy as np
import onnx
import pytest
from PIL import Image

from experiments.common import comparison
from experiments.common.comparison import ComparisonConfig
from experiments.common.model import ModelConfig
from experiments.filters import first_layer
from tests.experiments.commands import (
    SMALL,
    assert_one_line,
    assert_png,
    command,
    untrained,
)
from tests.experiments.test_onnx import trunk
from zf_jax import convnet, spec
from zf_jax.data import batches, sources
from zf_jax.errors import BadInput
from zf_jax.layers import Conv, Dense, Flatten, Layer, Relu
from zf_jax.probes import filters
from zf_jax.training import checkpoint


@pytest.fixture(scope="module")
def short(run, tmp_path_factory):
    """The same run after its first epoch."""
    folder = tmp_path_factory.mktemp("runs") / "short"
    shutil.copytree(run / "checkpoints" / "6", folder / "checkpoints" / "6")
    return folder


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


def compare(run, data, *more, **how):
    given = (f"--checkpoint={run}", f"--data_dir={data}", "--split=validation[:20]")
    return command("experiments.filters", *given, *more, **how)


def test_two_nets(run, short, creatures_dir, tmp_path):
    given = (f"--compare_with={short}", f"--out={tmp_path}", "--maps=3")
    ran = compare(run, creatures_dir, *given)
    names = ["filters.png", "filters.json", "layer5-small.png", "layer5-short.png"]
    assert [path.name for path in ran.written] == names
    for path in ran.written:
        if path.suffix == ".png":
            assert_png(path)
    found = json.loads((tmp_path / "filters.json").read_text())
    assert list(found) == ["small", "short"]
    for name, folder in (("small", run), ("short", short)):
        kernel = checkpoint.load(folder).params["layer1"]["kernel"]
        # The paper's limit, section 3.
        want = filters.summary(kernel, 2, 0.1) | {"images": 20}
        assert {key: found[name][key] for key in want} == pytest.approx(want)
        assert f"{found[name]['energy: aliased']:.3g}" in ran.out
        assert found[name]["filters"] == 6


def test_a_runs_own_first_epoch(run, creatures_dir):
    compare(run, creatures_dir, "--maps=2")
    # Beside the run, where nothing else is said.
    found = json.loads((run / "filters" / "filters.json").read_text())
    assert list(found) == ["small", "small, epoch 1"]
    kernel = checkpoint.load(run, 6).params["layer1"]["kernel"]
    largest = found["small, epoch 1"]["RMS: largest"]
    assert largest == pytest.approx(filters.rms(kernel).max())
    assert (run / "filters" / "layer5-small-epoch-1.png").exists()


def test_dead_filters(run, dead, creatures_dir, tmp_path):
    given = ("--split=train[:30]", f"--out={tmp_path}", "--maps=2", "--layers=layer1")
    compare(run, creatures_dir, *given)
    found = json.loads((tmp_path / "filters.json").read_text())["small"]
    assert (found["weak"], found["images"]) == (1, 30)
    # Anew by the net itself, over all images at once.
    params = checkpoint.load(run).params
    source = sources.open_split("creatures/64", "train[:30]", data_dir=creatures_dir)
    resize = checkpoint.load(run).metadata.resize
    cut = {"size": (32, 32), "resize": resize, "batch_size": 30}
    (batch,) = batches.evaluation(source, **cut)
    prepared = convnet.prepare(batch.images, SMALL.input)
    maps = convnet.ConvNet(SMALL).apply({"params": params}, prepared)[1].maps["layer1"]
    silent = ~np.asarray(maps).any(axis=(0, 1, 2))
    assert silent[3]
    assert found["silent"] == silent.sum()


def test_a_step_beside_the_newest(run):
    first = ModelConfig(checkpoint=run, step=18)
    found = comparison.load(ComparisonConfig(run), first)
    assert list(found) == ["small, step 18", "small"]


def test_nets_of_one_layer(run, creatures_dir, tmp_path):
    given = ("--upto=layer1", f"--out={tmp_path}", "--maps=2")
    ran = compare(run, creatures_dir, *given)
    assert ran.written[2].name == "layer1-small.png"


def test_runs_of_one_name(run, tmp_path):
    """They are told apart by their folders, as far up as it takes."""

    def names(other):
        shutil.copytree(run, other)
        config = ComparisonConfig(other)
        return list(comparison.load(config, ModelConfig(checkpoint=run)))

    assert names(tmp_path / "mine" / "small") == [
        f"{run.parent.name}/small",
        "mine/small",
    ]
    folders = run.parent.parent.name, tmp_path.name
    assert names(tmp_path / run.parent.name / "small") == [
        f"{each}/{run.parent.name}/small" for each in folders
    ]


def test_refuses_two_nets_of_different_data(
    run, short, creatures_dir, tmp_path, monkeypatch
):
    # As if the second run had learned other images.
    load, opened = checkpoint.load, sources.open_split

    def learned(folder, *given):
        restored = load(folder, *given)
        if str(folder) != str(short):
            return restored
        return restored._replace(metadata=restored.metadata._replace(dataset="other"))

    def open_split(name, *given, **more):
        source = opened("creatures/64", *given, **more)
        return source._replace(name=name)

    monkeypatch.setattr(checkpoint, "load", learned)
    monkeypatch.setattr(sources, "open_split", open_split)
    ran = compare(
        run, creatures_dir, f"--compare_with={short}", f"--out={tmp_path}", fails=True
    )
    assert_one_line(ran, "[:20] for short; give one --dataset for both")
    assert not list(tmp_path.iterdir())


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
    assert_one_line(
        command(*given, fails=True), "--compare_with: give the training run"
    )
    assert not (tmp_path / "out").exists()
    ran = command(*given, f"--compare_with={run}")
    names = [path.name for path in ran.written[2:]]
    assert names[0].startswith("conv2-trunk")
    assert names[1] == "layer5-small.png"


def refused(culprit, run, other=None, **first):
    with pytest.raises(BadInput, match=culprit):
        comparison.load(ComparisonConfig(other), ModelConfig(checkpoint=run, **first))


def test_refuses_what_is_no_second_net(run, short):
    refused("nowhere: no such folder", run, pathlib.Path("nowhere"))
    refused("is --checkpoint itself", run, run)
    # By another path, and by the newest step's number.
    refused("is --checkpoint itself", run, run.parent, step=24)
    refused("small keeps no earlier epoch", run, step=6)
    refused("--compare_with: give another run; short keeps no earlier", short)


def test_refuses_first_layers_that_do_not_filter_pixels():
    dense = (Layer("layer1", (Flatten(), Dense(12), Relu())), SMALL.layers[-1])
    net = spec.Spec("dense", SMALL.input, dense)
    with pytest.raises(BadInput, match="flat: layer1 is dense; give nets whose first"):
        first_layer("flat", untrained(net))
    # In two groups, each filter sees two of four channels.
    grouped = Layer("layer1", (Conv(4, 3, groups=2), Relu()))
    net = spec.Spec("grouped", spec.Input(8, mean=(0.0,) * 4), (grouped,))
    with pytest.raises(BadInput, match="small: the first filters see 2 channels"):
        first_layer("small", untrained(net))


def test_refuses_an_unknown_layer_in_one_line(run, creatures_dir, tmp_path):
    ran = compare(
        run, creatures_dir, f"--out={tmp_path / 'out'}", "--layers=layer2", fails=True
    )
    assert_one_line(ran, "--layers=layer2: small has layer1, layer5")
    assert not (tmp_path / "out").exists()
