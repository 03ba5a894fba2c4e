"""`experiments.transfer` from end to end, what it keeps, and what it refuses."""

import dataclasses
import json
import shutil
import types

import jax
import numpy as np
import pytest

from experiments.common import dataset, model, paper
from experiments.transfer import features, report
from tests.experiments.commands import assert_one_line, assert_png, command
from zf_jax import convnet
from zf_jax.data import batches, sources
from zf_jax.errors import BadInput
from zf_jax.probes import transfer as probe
from zf_jax.training import checkpoint, loop, recipe

FEW = ("--per_class=1,2", "--test_per_class=2", "--folds=2", "--batch_size=16")


def transfer(run, data, *more, **how):
    given = f"--checkpoint={run}", f"--data_dir={data}"
    # 96 images, of every class at least 3.
    return command("experiments.transfer", *given, "--split=train", *FEW, *more, **how)


@pytest.fixture(scope="module")
def run(run, tmp_path_factory):
    """A run of this worker's own: other workers write their features beside theirs."""
    own = tmp_path_factory.mktemp("runs") / "small"
    return shutil.copytree(run, own, ignore=shutil.ignore_patterns("transfer"))


@pytest.fixture(scope="module")
def done(run, creatures_dir):
    return transfer(run, creatures_dir, "--scratch=2", "--scratch_steps=4")


def accuracies(folder):
    rows = json.loads((folder / "transfer.json").read_text())["accuracies"]
    return {(r["classifier"], r["on"], r["images"]): r["folds"] for r in rows}


def kept(folder):
    return {path.name: path for path in (folder / "features").iterdir()}


def test_transfer(run, done):
    assert [path.name for path in done.written] == ["transfer.json", "transfer.png"]
    assert {path.parent.resolve() for path in done.written} == {run / "transfer"}
    assert_png(run / "transfer" / "transfer.png")
    found = accuracies(run / "transfer")
    layers = ("layer1", "layer5", "layer6")
    frozen = {(c, layer, 2) for c in ("softmax", "svm") for layer in layers}
    frozen |= {(c, "layer6", 1) for c in ("softmax", "svm")}
    scratch = {("scratch", of, 2) for of in ("test", "train")}
    assert set(found) == frozen | scratch
    assert all(len(found[key]) == 2 for key in frozen)
    assert all(len(found[key]) == 1 for key in scratch)
    assert all(0 <= one <= 1 for folds in found.values() for one in folds)
    assert "the net learned these very classes" in done.out
    mean = 100 * np.mean(found["svm", "layer5", 2])
    (row,) = (line for line in done.out.splitlines() if line.startswith("layer5"))
    assert f"{mean:.1f} +- " in row
    # One fold has no deviation.
    assert "from scratch, 1 fold" in done.out
    mean = 100 * found["scratch", "test", 2][0]
    (row,) = (line for line in done.out.splitlines() if line.startswith("2  "))
    assert row.endswith(f"{mean:6.1f}")
    # Four steps teach nothing.
    assert "raise --scratch_steps" in done.out


def test_features_are_the_nets(run, done, creatures_dir):
    names = kept(run / "transfer")
    assert sorted(name.split("-")[0] for name in names) == [
        "layer1",
        "layer5",
        "layer6",
    ]
    (path,) = (names[name] for name in names if name.startswith("layer5"))
    features = np.load(path)
    # 32 x 32 pixels, a filter of stride 2, a pool to 8 x 8 and one of 3 x 3, stride 2.
    assert features.shape[1] == 3 * 3 * 8
    metadata, params, _ = checkpoint.load(run)
    source = sources.open_split("creatures/64", "train", data_dir=creatures_dir)
    cut = {"size": (32, 32), "resize": metadata.resize, "batch_size": 96}
    (batch,) = batches.evaluation(source, **cut)
    pixels = convnet.prepare(batch.images, metadata.net.input)
    model = convnet.ConvNet(metadata.net)
    _, trace = jax.jit(model.apply)({"params": params}, pixels)
    every = np.asarray(trace.outputs["layer5"]).reshape(96, -1)
    # The drawn images in the order of the split: each row is one of them.
    apart = np.abs(features[:, None] - every[None]).max(axis=2)
    at = apart.argmin(axis=1)
    assert (apart.min(axis=1) < 1e-4 * np.abs(every).max()).all()
    assert (np.diff(at) > 0).all()


def test_features_are_computed_once(run, done, creatures_dir):
    before = {
        name: path.stat().st_mtime_ns for name, path in kept(run / "transfer").items()
    }
    found = accuracies(run / "transfer")
    again = transfer(run, creatures_dir)
    assert "features:" not in again.err
    after = {
        name: path.stat().st_mtime_ns for name, path in kept(run / "transfer").items()
    }
    assert after == before
    for key, folds in accuracies(run / "transfer").items():
        assert folds == found[key]


def test_damaged_features_are_set_aside(run, done, creatures_dir, tmp_path):
    folder = shutil.copytree(run / "transfer", tmp_path / "copy")
    found = accuracies(folder)
    for name, path in kept(folder).items():
        if name.startswith("layer1"):
            path.write_bytes(path.read_bytes()[:-100])
        if name.startswith("layer5"):
            path.write_bytes(b"no array")
    ran = transfer(run, creatures_dir, f"--out={folder}")
    assert ran.out.count("set aside") == 2
    for key, folds in accuracies(folder).items():
        np.testing.assert_allclose(folds, found[key])
    for path in (folder / "features").glob("*.npy"):
        np.load(path, allow_pickle=False)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 4])
def test_from_scratch_learns_of_every_class(
    run, done, creatures_dir, tmp_path, monkeypatch, steps
):
    # 20 images, two a class, in batches of 8: more than a step sees, fewer than four.
    small = dataclasses.replace(recipe.PAPER, batch_size=8)
    monkeypatch.setattr(recipe, "PAPER", small)
    seen, epochs = [], loop.train_epochs

    def watched(run, *given, **options):
        seen.append((run.steps, sources.classes(run.train).tolist()))
        return epochs(run, *given, **options)

    monkeypatch.setattr(loop, "train_epochs", watched)
    given = "--scratch=2", f"--scratch_steps={steps}", f"--out={tmp_path}"
    transfer(run, creatures_dir, *given)
    ((length, labels),) = seen
    assert length == steps
    assert len(labels) == 8 * steps
    counts = np.bincount(labels, minlength=10)
    if steps == 4:
        assert counts.min() >= 2
    else:
        # Not the first classes.
        assert counts[4:].any()


def test_other_weights_have_other_features(
    run, done, creatures_dir, monkeypatch, tmp_path
):
    folder = shutil.copytree(run / "transfer", tmp_path / "copy")
    before = set(kept(folder))
    # Of a layer called layer6-b, which is none of this net's.
    other = "layer6-b-0123456789abcdef.npy"
    (folder / "features" / other).touch()
    load = checkpoint.load

    def changed(*given):
        restored = load(*given)
        params = jax.tree.map(np.array, restored.params)
        params["layer6"]["bias"][0] += 1
        return restored._replace(params=params)

    monkeypatch.setattr(checkpoint, "load", changed)
    transfer(run, creatures_dir, f"--out={folder}")
    assert not before & set(kept(folder))
    # What nothing will ask for again does not stay; what another layer will, does.
    assert len(kept(folder)) == 4
    assert other in kept(folder)


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        ("--per_class=2,0", "--per_class=2,0: give images a class"),
        ("--per_class=", "--per_class: give images a class"),
    ],
)
def test_refuses(run, creatures_dir, tmp_path, given, culprit):
    ran = transfer(run, creatures_dir, given, f"--out={tmp_path / 'new'}", fails=True)
    assert_one_line(ran, culprit)
    assert not (tmp_path / "new").exists()


def test_features_beyond_memory_are_refused(run, tmp_path, monkeypatch):
    loaded = model.from_run(run)
    data = dataset.Dataset(dataset.DataConfig(), loaded)
    # 50 images; 72 values of layer5, but 8 x 8 x 6 of layer1.
    monkeypatch.setattr(probe, "MAX_FEATURE_BYTES", 50 * 4 * 72)
    with pytest.raises(BadInput, match=r"layer1: the features of .* --layers"):
        features.compute(loaded, data, ["layer5", "layer1"], tmp_path)
    assert not list(tmp_path.iterdir())
    features.compute(loaded, data, ["layer5"], tmp_path)


def test_the_papers_numbers_stand_beside_those_of_its_data(tmp_path, capsys):
    source = sources.Source("caltech101:3.0.1", "train", [], ())
    data = types.SimpleNamespace(name="caltech101", labels=("a", "b"), source=source)
    accuracies = {(c, "layer5", 30): [0.5] for c in ("softmax", "svm")}
    measured = report.Measured("small", data, ["layer5"], [30], accuracies)
    report.write(measured, tmp_path)
    out = capsys.readouterr().out
    assert "86.2 +- 0.8" in out
    # A layer that ours lacks.
    assert "85.5" not in out
    # Table 4, both rows at 15 and 30 images.
    assert "83.8 +- 0.5" in out
    assert "46.5 +- 1.7" in out


def test_the_papers_numbers():
    # Tables 7, 5 and 4.
    by_layer, by_images = paper.accuracy_by_layer, paper.accuracy_by_images
    assert by_layer("caltech101:3.0.1", 30)["svm", "layer5"] == (86.2, 0.8)
    assert by_layer("caltech256", 60)["softmax", "layer7"] == (72.6, 0.1)
    assert by_layer("caltech256", 30) == {}
    assert by_images("caltech256", "pretrained")[45] == (72.7, 0.4)
    assert by_images("caltech101", "scratch")[30] == (46.5, 1.7)
    assert by_images("creatures/64", "scratch") == {}
    # What TFDS does not have is a folder of that name.
    assert by_images("folder:/data/caltech256", "scratch")[60] == (38.8, 1.4)
    assert by_images("folder:/caltech256/others", "scratch") == {}
