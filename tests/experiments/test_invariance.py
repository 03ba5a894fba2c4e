"""`experiments.invariance` from end to end on a tiny setting, and what it refuses."""

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.invariance import warp_grid
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
from zf_jax.probes import warps
from zf_jax.training import checkpoint


@pytest.fixture
def files_folder(tmp_path):
    """Two of one size and one of another."""
    folder, rng = tmp_path / "files_folder", np.random.default_rng(0)
    folder.mkdir()
    for name, width in (("a", 40), ("b", 40), ("wide", 60)):
        pixels = rng.integers(0, 255, (40, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def invariance(run, *more, **how):
    return command(
        "experiments.invariance",
        f"--checkpoint={run}",
        "--batch_size=8",
        *more,
        **how,
    )


def test_invariance(run, creatures_dir):
    ran = invariance(run, "--background_images=12", "--steps=8")
    assert [path.name for path in ran.written] == ["invariance.png", "invariance.npz"]
    assert {path.parent.resolve() for path in ran.written} == {run / "invariance"}
    assert_png(ran.written[0])
    found = numbers_in(ran.written[1])
    # 60 of 224 of 32 rows; whole pixels.
    np.testing.assert_array_equal(found["translation"], [-9, -7, -4, -2, 0, 2, 4, 7, 9])
    np.testing.assert_allclose(found["scale"], np.linspace(1, 1.8, 9))
    np.testing.assert_allclose(found["rotation"], np.linspace(0, 360, 9))
    assert found["distance_layer1"].shape == (5 + 12, 27)
    classes = [name.rsplit("-", 1)[0] for name in found["names"]]
    assert len(set(classes)) == 5
    # The paper's two layers: the first, and the last before the classes.
    assert {"distance_layer6", "norm_layer1", "norm_layer6"} <= set(found)
    for name in ("translation", "scale", "rotation"):
        assert f"{name}: of the largest distance" in ran.out

    # Anew, by the net itself.
    source = sources.open_split("creatures/64", "validation", data_dir=creatures_dir)
    metadata, params, _ = checkpoint.load(run)
    numbers = [int(name.rsplit("-", 1)[1]) for name in found["names"]] + [*range(12)]
    cut = {"size": (32, 32), "resize": metadata.resize}
    pixels = np.stack([batches.image_at(source, i, **cut) for i in numbers])
    images = convnet.prepare(pixels, SMALL.input)
    labels = [int(source.examples[i]["label"]) for i in numbers]
    np.testing.assert_array_equal(found["labels"], labels)
    model = convnet.ConvNet(SMALL)
    _, own = model.apply({"params": params}, images)
    moved = warps.apply(images, warps.rotate(found["rotation"][3]))
    logits, trace = model.apply({"params": params}, moved)
    for layer in ("layer1", "layer6"):
        change = (trace.outputs[layer] - own.outputs[layer]).reshape(17, -1)
        want = np.linalg.norm(change, axis=1)
        # After 9 translations and 9 scales.
        found_ = found[f"distance_{layer}"][:, 18 + 3]
        np.testing.assert_allclose(found_, want, rtol=1e-3, atol=1e-4)
    want = jax.nn.softmax(logits)[np.arange(17), np.array(labels)]
    np.testing.assert_allclose(found["probability"][:, 21], want, rtol=1e-3, atol=1e-6)


def test_chosen_images_layers_and_ranges(run, tmp_path):
    given = "--indices=3,1", "--layers=layer6,layer5", "--raw", "--background_images=0"
    ranges = ("--translation=2", "--max_scale=1.2", "--rotation=90", "--border=edge")
    invariance(run, *given, *ranges, "--steps=20", f"--out={tmp_path}")
    found = numbers_in(tmp_path / "invariance.npz")
    np.testing.assert_array_equal(found["translation"], [-2, -1, 0, 1, 2])
    assert found["scale"].max() == pytest.approx(1.2)
    assert found["rotation"].max() == pytest.approx(90)
    assert found["distance_layer5"].shape == found["distance_layer6"].shape == (2, 47)
    assert "distance_layer1" not in found
    assert [name.rsplit("-", 1)[1] for name in found["names"]] == ["3", "1"]


@pytest.mark.slow
def test_files_and_the_data_set_behind(run, files_folder, tmp_path):
    files = ",".join(str(files_folder / name) for name in ("a.png", "wide.png"))
    given = f"--images={files}", "--background_images=4"
    invariance(run, *given, "--steps=4", f"--out={tmp_path}")
    found = numbers_in(tmp_path / "invariance.npz")
    assert list(found["names"]) == ["a", "wide"]
    assert found["probability"].shape == (6, 15)
    # Their class is the one that the net finds most probable.
    assert ((found["labels"] >= 0) & (found["labels"] < 10)).all()


@pytest.mark.slow
def test_an_image_without_features(run, files_folder, tmp_path, monkeypatch):
    # An image of the mean colour, and a layer without bias.
    load = checkpoint.load

    def without_bias(*given):
        restored = load(*given)
        layer = restored.params["layer1"]
        layer = {"kernel": layer["kernel"], "bias": 0 * np.asarray(layer["bias"])}
        return restored._replace(params=dict(restored.params) | {"layer1": layer})

    monkeypatch.setattr(checkpoint, "load", without_bias)
    pixels = np.full((40, 40, 3), SMALL.input.mean, np.uint8)
    Image.fromarray(pixels).save(files_folder / "grey.png")
    given = f"--images={files_folder / 'grey.png'}", f"--out={tmp_path}"
    ran = invariance(run, *given, "--background_images=0", "--steps=4")
    found = numbers_in(tmp_path / "invariance.npz")
    assert found["norm_layer1"] == 0
    assert "nan" not in ran.out
    assert ran.out.count("layer1: 0%, 0%") == 3


def test_a_net_without_classes(run, files_folder, tmp_path, monkeypatch):
    # It takes files of any size: the data set is not even opened.
    monkeypatch.setattr(sources, "open_split", None)
    given = f"--images={files_folder}/[ab].png", "--upto=layer5"
    ran = invariance(
        run, *given, "--background_images=3", "--steps=4", f"--out={tmp_path}"
    )
    assert "has no classes" in ran.out
    found = numbers_in(tmp_path / "invariance.npz")
    assert "probability" not in found
    assert found["distance_layer1"].shape == found["distance_layer5"].shape == (2, 15)
    assert_png(tmp_path / "invariance.png")


@pytest.mark.parametrize(
    ("settings", "culprit"),
    [
        ({"translation": 0}, "--translation=0: give 1 to 31 pixels"),
        ({"translation": 32}, "--translation=32"),
        ({"max_scale": 1.0}, "--max_scale=1: give a ratio above 1"),
        ({"max_scale": float("nan")}, "--max_scale=nan"),
        ({"rotation": 0.0}, "--rotation=0: give degrees"),
        ({"rotation": 361.0}, "--rotation=361"),
    ],
)
def test_refuses_a_range(settings, culprit):
    with pytest.raises(BadInput, match=culprit):
        warp_grid.make(warp_grid.WarpConfig(**settings), height=32)


def test_refuses_other_than_two_layers(run, tmp_path):
    out = tmp_path / "out"
    ran = invariance(run, f"--out={out}", "--layers=layer1,layer1", fails=True)
    assert_one_line(ran, "--layers=layer1,layer1: give two of layer1")
    assert not out.exists()


def test_refuses_several_sizes(run, files_folder, tmp_path):
    out = tmp_path / "out"
    given = f"--images={files_folder}", "--upto=layer5", "--size=40", f"--out={out}"
    ran = invariance(run, *given, "--background_images=5", fails=True)
    assert ran.code == 2
    culprit = "wide: 40x60 pixels, and a 40x40; give images of one size"
    assert culprit in ran.err.splitlines()[-1]
    assert not out.exists()
