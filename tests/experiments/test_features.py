"""`experiments.features` on a net with maps that never fire: all maps, controls."""

import json

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
from zf_jax.figures import feature_pages
from zf_jax.training import checkpoint


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, creatures_dir):
    """A run of one epoch whose layer5 has two maps that cannot fire: biases of -1e9."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    ran = command(
        "launch.train",
        "--spec=small",
        "--batch_size=16",
        "--init=he",
        "--epochs=1",
        "--dataset=creatures/64",
        f"--data_dir={creatures_dir}",
        f"--workdir={folder}",
    )
    assert ran.code == 0, ran.err
    return folder


@pytest.fixture
def dead(monkeypatch):
    """The checkpoint as it is, but for maps 1 and 4 of layer5, which are silent."""
    load = checkpoint.load

    def silenced(*given):
        restored = load(*given)
        bias = np.array(restored.params["layer5"]["bias"])
        bias[[1, 4]] = -1e9
        layer = dict(restored.params["layer5"]) | {"bias": bias}
        return restored._replace(params=dict(restored.params) | {"layer5": layer})

    monkeypatch.setattr(checkpoint, "load", silenced)


def features(workdir, data, out, *more):
    ran = command(
        "experiments.features",
        f"--checkpoint={workdir}",
        f"--data_dir={data}",
        f"--out={out}",
        "--k=3",
        *more,
    )
    assert ran.code == 0, ran.err
    return ran


def test_all_maps_of_all_layers(workdir, dead, creatures_dir, tmp_path):
    ran = features(workdir, creatures_dir, tmp_path, "--maps=all")
    assert "layer5: 2 of 8 maps never fire" in ran.out
    for layer, count in (("layer1", 6), ("layer5", 8), ("layer6", 16), ("layer8", 10)):
        assert_png(tmp_path / f"{layer}.png")
        arrays = numbers_in(tmp_path / f"{layer}.npz")
        np.testing.assert_array_equal(arrays["maps"], np.arange(count))
        assert arrays["indices"].shape == arrays["values"].shape == (count, 3)
        assert arrays["positions"].shape == (count, 3, 2)
        assert arrays["patches"].shape == arrays["projections"].shape
        assert arrays["patches"].shape[:2] == (count, 3)
        assert all(np.isfinite(part).all() for part in arrays.values())
    layer5 = numbers_in(tmp_path / "layer5.npz")
    assert not layer5["projections"][[1, 4]].any()
    assert layer5["projections"][0].any()


def test_dead_maps_are_drawn_where_asked_for(
    workdir, dead, creatures_dir, tmp_path, monkeypatch
):
    kept = []

    def keep(patches, projections, captions, *, shown, path, **_):
        kept.append((captions, shown))
        return path

    monkeypatch.setattr(feature_pages, "draw", keep)
    ran = features(workdir, creatures_dir, tmp_path, "--maps=4,0,1", "--layers=layer5")
    ((captions, shown),) = kept
    assert captions[0] == "map 4"
    assert captions[1].startswith("map 0, max ")
    assert captions[2] == "map 1"
    np.testing.assert_array_equal(shown.any(axis=1), [False, True, False])
    # Not among those that are chosen at random.
    kept.clear()
    features(workdir, creatures_dir, tmp_path, "--maps=8", "--layers=layer5")
    assert not {"map 1", "map 4"} & set(kept[0][0])
    # And only they.
    kept.clear()
    ran = features(workdir, creatures_dir, tmp_path, "--maps=4,1", "--layers=layer5")
    assert not kept[0][1].any()
    assert [path.name for path in ran.written] == ["layer5.png", "layer5.npz"]


def test_order_of_all_maps(workdir, dead, creatures_dir, tmp_path):
    given = ("--maps=all", "--layers=layer5", "--order=strength")
    features(workdir, creatures_dir, tmp_path, *given)
    arrays = numbers_in(tmp_path / "layer5.npz")
    assert np.all(np.diff(arrays["values"][:, 0]) <= 0)
    assert set(arrays["maps"][-2:]) == {1, 4}


def test_fewer_images_than_k(workdir, creatures_dir, tmp_path):
    given = ("--maps=3", "--split=validation[:2]", "--layers=layer5")
    features(workdir, creatures_dir, tmp_path, *given)
    assert numbers_in(tmp_path / "layer5.npz")["values"].shape == (3, 2)


def test_arrays_are_those_of_the_net(workdir, creatures_dir, tmp_path):
    # A unit of a dense layer by hand: the gradient of the activation.
    given = ("--maps=2,", "--layers=layer6", "--rule=gradient")
    features(workdir, creatures_dir, tmp_path, *given)
    arrays = numbers_in(tmp_path / "layer6.npz")
    params = checkpoint.load(workdir).params
    model = convnet.ConvNet(SMALL)

    def unit(image):
        return model.apply({"params": params}, image[None])[1].maps["layer6"][0, 2]

    value, slope = jax.value_and_grad(unit)(arrays["patches"][0, 0])
    assert value == pytest.approx(arrays["values"][0, 0], rel=1e-4)
    np.testing.assert_allclose(
        arrays["projections"][0, 0] / value, slope, atol=1e-4 * np.abs(slope).max()
    )


def test_pages(workdir, creatures_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_pages, "maps_per_page", lambda *_: 4)
    ran = features(workdir, creatures_dir, tmp_path, "--maps=all", "--layers=layer6")
    names = [path.name for path in ran.written]
    pages = [f"layer6-{page}.png" for page in (1, 2, 3, 4)]
    assert names == [*pages, "layer6.npz", "contact.png"]
    assert len(numbers_in(tmp_path / "layer6.npz")["projections"]) == 16


def test_controls(workdir, dead, creatures_dir, tmp_path):
    ran = features(
        workdir, creatures_dir, tmp_path, "--maps=all", "--control=all", "--seed=3"
    )
    found = json.loads((tmp_path / "controls.json").read_text())
    assert list(found) == ["layer1", "layer5", "layer6", "layer8"]
    # By hand: steps of the cascade from the layer down to the first; no pool lies
    # below the first layer.
    assert list(found["layer1"]) == ["random_weights, layer1", "wrong_unit"]
    assert list(found["layer6"]) == [
        "random_weights, layer6",
        "random_weights, layer6 to layer5",
        "random_weights, layer6 to layer1",
        "wrong_unit",
        "centre_switches",
        "random_switches",
    ]
    for layer, rows in found.items():
        assert_png(tmp_path / f"{layer}-controls.png")
        for name, row in rows.items():
            assert set(row) == {"ssim", "spearman", "spearman_abs", "units"}
            assert name in ran.out
            # Two of the eight never fire.
            assert row["units"] <= (6 if layer == "layer5" else 16)
            if row["units"]:
                assert -1 <= row["spearman"] < 0.999
                assert -1 <= row["ssim"] < 0.999
    again = features(
        workdir,
        creatures_dir,
        tmp_path / "2",
        "--maps=all",
        "--control=all",
        "--seed=3",
    )
    assert json.loads((tmp_path / "2" / "controls.json").read_text()) == found
    assert again.code == 0


def test_one_control_of_one_layer(workdir, creatures_dir, tmp_path):
    given = ("--layers=layer5", "--control=centre_switches,wrong_unit", "--maps=2")
    ran = features(workdir, creatures_dir, tmp_path, *given)
    names = [path.name for path in ran.written]
    assert names == [
        "layer5.png",
        "layer5.npz",
        "layer5-controls.png",
        "contact.png",
        "controls.json",
    ]
    found = json.loads((tmp_path / "controls.json").read_text())
    assert list(found["layer5"]) == ["wrong_unit", "centre_switches"]


def test_a_folder_of_one_run_tells_the_rest(workdir, creatures_dir):
    ran = command(
        "experiments.features",
        # Neither where the data is nor where to write.
        f"--checkpoint={workdir.parent}",
        "--layers=layer1",
        "--maps=2",
        "--k=2",
    )
    assert ran.code == 0, ran.err
    assert_png(workdir / "features" / "layer1.png")
    assert checkpoint.load(workdir.parent).metadata.data_dir == str(creatures_dir)


def test_a_folder_of_several_runs_is_refused(workdir, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
    ran = command("experiments.features", f"--checkpoint={tmp_path}")
    assert_one_line(ran, "holds several runs, give one: one, two")
