"""`experiments.evolution` from end to end on a tiny setting, and what it refuses."""

import shutil

import jax
import numpy as np
import pytest

from experiments.evolution import choose_epochs
from tests.experiments.commands import (
    SMALL,
    assert_one_line,
    assert_png,
    command,
    numbers_in,
)
from zf_jax import convnet
from zf_jax.data import batches, sources
from zf_jax.errors import BadInput
from zf_jax.training import checkpoint


def evolve(run, data, *more, **how):
    return command(
        "experiments.evolution",
        f"--workdir={run}",
        f"--data_dir={data}",
        "--batch_size=32",
        "--split=train[:40]",
        *more,
        **how,
    )


def test_evolution(run, creatures_dir, tmp_path):
    layers = ("layer1", "layer8")
    given = ("--maps=3", f"--layers={','.join(layers)}", f"--out={tmp_path}")
    ran = evolve(run, creatures_dir, *given)
    names = [f"{layer}{suffix}" for layer in layers for suffix in (".png", ".npz")]
    assert [path.name for path in ran.written] == [*names, "evolution.png"]
    for path in ran.written[::2]:
        assert_png(path)
    # The paper's epochs that are kept, and the newest.
    last = numbers_in(tmp_path / "layer8.npz")
    np.testing.assert_array_equal(last["epochs"], [1, 4])
    np.testing.assert_array_equal(last["maps"], [0, 1, 2])
    np.testing.assert_allclose(last["cosines"][:, -1], 1, rtol=1e-5)


def test_more_maps_than_a_page(run, creatures_dir, tmp_path):
    given = ("--layers=layer1", "--epochs=3,4", f"--out={tmp_path}")
    ran = evolve(run, creatures_dir, *given, f"--maps={','.join('012345' * 5)}")
    names = ["layer1-1.png", "layer1-2.png", "layer1.npz", "evolution.png"]
    assert [path.name for path in ran.written] == names
    assert len(numbers_in(tmp_path / "layer1.npz")["maps"]) == 30
    # A smaller run leaves no pages of the larger one.
    evolve(run, creatures_dir, *given, "--maps=0,1")
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "layer1.png",
        "evolution.png",
    }


def test_each_checkpoints_strongest(run, creatures_dir, tmp_path):
    # Anew by the net itself, over all images at once.
    given = ("--layers=layer5", "--maps=4,1", "--epochs=all", f"--out={tmp_path}")
    evolve(run, creatures_dir, *given)
    found = numbers_in(tmp_path / "layer5.npz")
    np.testing.assert_array_equal(found["epochs"], [1, 3, 4])
    assert found["projections"].shape[:2] == found["patches"].shape[:2] == (2, 3)
    source = sources.open_split("creatures/64", "train[:40]", data_dir=creatures_dir)
    for column, step in enumerate([6, 18, 24]):
        restored = checkpoint.load(run, step)
        cut = {"size": (32, 32), "resize": restored.metadata.resize}
        pixels = np.stack([batches.image_at(source, i, **cut) for i in range(40)])
        images = convnet.prepare(pixels, SMALL.input)
        _, trace = convnet.ConvNet(SMALL).apply({"params": restored.params}, images)
        peaks = jax.device_get(trace.maps["layer5"].max(axis=(1, 2)))[:, [4, 1]]
        np.testing.assert_array_equal(found["images"][:, column], peaks.argmax(axis=0))
        np.testing.assert_allclose(
            found["values"][:, column], peaks.max(axis=0), rtol=1e-4
        )


@pytest.mark.parametrize(
    ("wanted", "culprit"),
    [
        (("1", "2"), "--epochs=1,2: no epoch 2; .* keeps 1, 3, 4"),
        (("4",), "two or more"),
        (("first", "4"), "--epochs=first,4: write epochs"),
        (("-1", "4"), "--epochs=-1,4"),
    ],
)
def test_refuses_epochs(run, wanted, culprit):
    with pytest.raises(BadInput, match=culprit):
        choose_epochs(wanted, run)


def test_refuses_a_run_without_two_epochs(run, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(BadInput, match="holds no finished checkpoint"):
        choose_epochs((), tmp_path)
    one = "checkpoints/18"
    shutil.copytree(run / one, tmp_path / one)
    with pytest.raises(BadInput, match=f"two or more; {tmp_path} keeps 3"):
        choose_epochs((), tmp_path)
    # What a Ctrl-C saved inside of an epoch.
    (tmp_path / one).rename(tmp_path / "checkpoints/20")
    with pytest.raises(BadInput, match="keeps none"):
        choose_epochs((), tmp_path)


def test_refuses_in_one_line(creatures_dir, tmp_path):
    ran = evolve("nowhere", creatures_dir, f"--out={tmp_path / 'out'}", fails=True)
    assert_one_line(ran, "nowhere: no such folder")
    assert not (tmp_path / "out").exists()
