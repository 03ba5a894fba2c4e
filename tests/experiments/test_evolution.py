"""`experiments.evolution` from end to end on a tiny setting, and what it refuses."""

import shutil

import jax
import numpy as np
import pytest

from tests.experiments.commands import (
    SMALL,
    assert_one_line,
    assert_png,
    command,
    numbers_in,
)
from zf_jax import convnet
from zf_jax.data import batches, sources
from zf_jax.training import checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory, creatures_dir):
    """A workdir that keeps epochs 1, 3 and 4, six steps each."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    ran = command(
        "launch.train",
        "--spec=small",
        "--batch_size=16",
        "--learning_rate=0.02",
        "--init=he",
        "--epochs=4",
        "--keep=1",
        "--dataset=creatures/64",
        f"--data_dir={creatures_dir}",
        f"--workdir={folder}",
    )
    assert ran.code == 0, ran.err
    return folder


def evolve(run, data, *more):
    return command(
        "experiments.evolution",
        f"--workdir={run}",
        f"--data_dir={data}",
        "--batch_size=32",
        *more,
    )


def test_evolution(run, creatures_dir):
    ran = evolve(run, creatures_dir, "--maps=3")
    assert ran.code == 0, ran.err
    layers = ("layer1", "layer5", "layer6", "layer8")
    names = [f"{layer}{suffix}" for layer in layers for suffix in (".png", ".npz")]
    assert [path.name for path in ran.written] == [*names, "evolution.png"]
    assert {path.parent.resolve() for path in ran.written} == {run / "evolution"}
    for path in ran.written[::2]:
        assert_png(path)
    # The paper's epochs that are kept, and the newest.
    last = numbers_in(run / "evolution" / "layer8.npz")
    np.testing.assert_array_equal(last["epochs"], [1, 4])
    np.testing.assert_array_equal(last["maps"], [0, 1, 2])
    np.testing.assert_allclose(last["cosines"][:, -1], 1, rtol=1e-5)


def test_evolution_of_more_maps_than_a_page(run, creatures_dir, tmp_path):
    given = ("--layers=layer5", f"--maps={','.join('01234567' * 4)}")
    ran = evolve(run, creatures_dir, *given, "--epochs=3,4", f"--out={tmp_path}")
    assert ran.code == 0, ran.err
    names = ["layer5-1.png", "layer5-2.png", "layer5.npz", "evolution.png"]
    assert [path.name for path in ran.written] == names
    assert len(numbers_in(tmp_path / "layer5.npz")["maps"]) == 32


def test_evolution_shows_each_checkpoints_strongest(run, creatures_dir, tmp_path):
    # Anew by the net itself, over all images at once.
    given = ("--layers=layer5", "--maps=4,1", "--epochs=all", f"--out={tmp_path}")
    ran = evolve(run, creatures_dir, *given, "--split=train[:40]")
    assert ran.code == 0, ran.err
    found = numbers_in(tmp_path / "layer5.npz")
    np.testing.assert_array_equal(found["epochs"], [1, 3, 4])
    assert found["projections"].shape[:2] == found["patches"].shape[:2] == (2, 3)
    source = sources.open_split("creatures/64", "train[:40]", data_dir=creatures_dir)
    for column, step in enumerate([6, 18, 24]):
        restored = checkpoint.load(run, step)
        cut = {"size": (32, 32), "resize": restored.about.resize}
        pixels = np.stack([batches.image_at(source, i, **cut) for i in range(40)])
        images = convnet.prepare(pixels, SMALL.input)
        _, trace = convnet.ConvNet(SMALL).apply({"params": restored.params}, images)
        peaks = jax.device_get(trace.maps["layer5"].max(axis=(1, 2)))[:, [4, 1]]
        np.testing.assert_array_equal(found["images"][:, column], peaks.argmax(axis=0))
        np.testing.assert_allclose(
            found["values"][:, column], peaks.max(axis=0), rtol=1e-4
        )


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        ("--workdir=nowhere", "nowhere: no such folder"),
        ("--epochs=1,2", "no epoch 2"),
        ("--epochs=1,2", "keeps 1, 3, 4"),
        ("--epochs=4", "two or more"),
        ("--epochs=first,4", "--epochs=first,4: write epochs"),
        ("--epochs=-1,4", "--epochs=-1,4"),
        ("--layers=layer9", "'layer9'"),
        ("--maps=0,99", "99"),
        ("--split=test", "'test'"),
    ],
)
def test_evolution_refuses(run, creatures_dir, tmp_path, given, culprit):
    out = tmp_path / "out"
    assert_one_line(evolve(run, creatures_dir, f"--out={out}", given), culprit)
    assert not out.exists()


def test_evolution_refuses_a_run_without_two_epochs(run, creatures_dir, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    ran = evolve(tmp_path, creatures_dir)
    assert_one_line(ran, "holds no finished checkpoint")
    one = "checkpoints/18"
    shutil.copytree(run / one, tmp_path / one)
    ran = evolve(tmp_path, creatures_dir)
    assert_one_line(ran, "two or more")
    assert f"{tmp_path} keeps 3" in ran.err
    # What a Ctrl-C saved inside of an epoch.
    (tmp_path / one).rename(tmp_path / "checkpoints/20")
    assert_one_line(evolve(tmp_path, creatures_dir), "keeps none")
