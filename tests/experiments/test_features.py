"""`experiments.features` on a net with channels that never fire: pages and controls."""

import json

import numpy as np
import pytest

from experiments.features import controls, pages
from tests.experiments.commands import (
    assert_one_line,
    assert_png,
    command,
    numbers_in,
)
from zf_jax.errors import BadInput
from zf_jax.figures import feature_pages
from zf_jax.probes import projection
from zf_jax.training import checkpoint


@pytest.fixture
def dead(monkeypatch):
    """The checkpoint as it is, but for channels 1 and 4 of layer5, which are silent."""
    load = checkpoint.load

    def silenced(*given):
        restored = load(*given)
        bias = np.array(restored.params["layer5"]["bias"])
        bias[[1, 4]] = -1e9
        layer = dict(restored.params["layer5"]) | {"bias": bias}
        return restored._replace(params=dict(restored.params) | {"layer5": layer})

    monkeypatch.setattr(checkpoint, "load", silenced)


@pytest.fixture
def drawn(monkeypatch):
    """The captions and what is shown of each page, in place of its picture."""
    kept = []

    def keep(patches, projections, captions, *, shown, path, **_):
        kept.append((captions, shown))
        return path

    monkeypatch.setattr(feature_pages, "draw", keep)
    return kept


@pytest.fixture
def rules(monkeypatch):
    """The rules that projectors were asked for."""
    kept, projector = [], projection.Projector

    def keep(*given, rule, **rest):
        kept.append(rule)
        return projector(*given, rule=rule, **rest)

    monkeypatch.setattr(projection, "Projector", keep)
    return kept


def features(run, data, out, *more, **how):
    ran = command(
        "experiments.features",
        f"--checkpoint={run}",
        f"--data_dir={data}",
        f"--out={out}",
        "--k=3",
        "--step=6",
        "--split=validation[:20]",
        *more,
        **how,
    )
    return ran


def names(ran):
    return [path.name for path in ran.written]


def test_all_maps_of_all_layers(run, dead, creatures_dir, tmp_path):
    ran = features(run, creatures_dir, tmp_path, "--maps=all")
    assert "layer5: 2 of 8 maps never fire" in ran.out
    layers = {"layer1": 6, "layer5": 8, "layer6": 16, "layer8": 10}
    files = [f"{layer}{suffix}" for layer in layers for suffix in (".png", ".npz")]
    assert names(ran) == ["filters.png", *files, "contact.png"]
    for name in ("filters", "contact", *layers):
        assert_png(tmp_path / f"{name}.png")
    for layer, count in layers.items():
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
    run, dead, creatures_dir, tmp_path, drawn, rules
):
    given = "--maps=4,0,1", "--layers=layer5", "--rule=guided"
    ran = features(run, creatures_dir, tmp_path, *given)
    ((captions, shown),) = drawn
    assert captions[0] == "map 4"
    assert captions[1].startswith("map 0, max ")
    assert captions[2] == "map 1"
    np.testing.assert_array_equal(shown.any(axis=1), [False, True, False])
    # Not among those that are chosen at random.
    drawn.clear()
    features(run, creatures_dir, tmp_path, "--maps=8", "--layers=layer5")
    assert not {"map 1", "map 4"} & set(drawn[0][0])
    # And only they.
    drawn.clear()
    ran = features(run, creatures_dir, tmp_path, "--maps=4,1", "--layers=layer5")
    assert not drawn[0][1].any()
    assert names(ran) == ["layer5.png", "layer5.npz"]
    # What a projector makes of a rule, tests/probes/test_projection.py compares.
    assert rules == ["guided", "deconvnet", "deconvnet"]


def test_fewer_images_than_k(run, creatures_dir, tmp_path, drawn):
    given = ("--maps=3", "--split=validation[:2]", "--layers=layer5")
    features(run, creatures_dir, tmp_path, *given)
    assert numbers_in(tmp_path / "layer5.npz")["values"].shape == (3, 2)


def test_arrays_are_those_of_the_net(run, creatures_dir, tmp_path, drawn):
    features(run, creatures_dir, tmp_path, "--maps=2,", "--layers=layer1")
    arrays = numbers_in(tmp_path / "layer1.npz")
    layer = checkpoint.load(run, 6).params["layer1"]
    # By hand: filters of 5 x 5 in steps of 2, the image padded by 2.
    tops = 2 * arrays["positions"][0] - 2
    inside = ((tops >= 0) & (tops + 5 <= 32)).all(axis=-1)
    assert inside.any()
    kernel, bias = layer["kernel"][..., 2], layer["bias"][2]
    for rank in np.flatnonzero(inside):
        value = arrays["values"][0, rank]
        patch = arrays["patches"][0, rank]
        assert (patch * kernel).sum() + bias == pytest.approx(value, rel=1e-4)
        projection = arrays["projections"][0, rank]
        np.testing.assert_allclose(projection, value * kernel, rtol=1e-4, atol=1e-5)


def test_pages_and_those_of_a_larger_run(run, creatures_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_pages, "maps_per_page", lambda *_: 4)
    (tmp_path / "layer6-mine.png").touch()
    ran = features(run, creatures_dir, tmp_path, "--maps=all", "--layers=layer6")
    numbered = [f"layer6-{page}.png" for page in (1, 2, 3, 4)]
    assert names(ran) == [*numbered, "layer6.npz", "contact.png"]
    assert len(numbers_in(tmp_path / "layer6.npz")["projections"]) == 16
    # Fewer pages: the others go, and what is no page of the layer stays.
    features(run, creatures_dir, tmp_path, "--maps=2", "--layers=layer6")
    left = {path.name for path in tmp_path.glob("layer6*")}
    assert left == {"layer6.png", "layer6.npz", "layer6-mine.png"}


def test_too_many_arrays_to_keep(run, creatures_dir, tmp_path, drawn, monkeypatch):
    monkeypatch.setattr(pages, "_MOST_ARRAYS", 1)
    ran = features(run, creatures_dir, tmp_path, "--maps=2", "--layers=layer5")
    assert "layer5: no .npz" in ran.out
    assert names(ran) == ["layer5.png", "contact.png"]


def test_controls(run, dead, creatures_dir, tmp_path, drawn):
    given = ("--maps=all", "--layers=layer5", "--control=all", "--seed=3")
    ran = features(run, creatures_dir, tmp_path, *given)
    layer5 = ["layer5.png", "layer5.npz", "layer5-controls.png"]
    assert names(ran) == [*layer5, "contact.png", "controls.json"]
    rows = json.loads((tmp_path / "controls.json").read_text())["layer5"]
    # By hand: steps of the cascade from the layer down to the first.
    assert list(rows) == [
        "random_weights, down to layer5/kernel",
        "random_weights, down to layer1/kernel",
        "wrong_unit",
        "centre_switches",
        "random_switches",
    ]
    assert_png(tmp_path / "layer5-controls.png")
    for name, row in rows.items():
        assert set(row) == {"ssim", "spearman", "spearman_abs", "units"}
        assert name in ran.out
        # Two of the eight never fire.
        assert 0 < row["units"] <= 6
        assert -1 <= row["spearman"] < 0.999
        assert -1 <= row["ssim"] < 0.999


@pytest.mark.slow
def test_one_control_of_the_first_layer(run, creatures_dir, tmp_path, drawn):
    given = ("--layers=layer1", "--control=centre_switches,wrong_unit", "--maps=2")
    features(run, creatures_dir, tmp_path, *given)
    # No pool lies below, so there are no switches.
    found = json.loads((tmp_path / "controls.json").read_text())
    assert list(found["layer1"]) == ["wrong_unit"]


def test_refuses_an_unknown_control():
    with pytest.raises(BadInput, match="--control=shuffle: there are random_weights"):
        controls.names(controls.ControlConfig(("shuffle",)))


def test_a_folder_of_one_run_tells_the_rest(run, creatures_dir, monkeypatch):
    # Neither where the data is nor where to write.
    given = ("--layers=layer1", "--maps=2", "--k=2", "--split=validation[:4]")
    command("experiments.features", f"--checkpoint={run.parent}", *given)
    assert_png(run / "features" / "layer1.png")


def test_refuses_an_unknown_layer_in_one_line(run, creatures_dir, tmp_path):
    given = (f"--checkpoint={run}", f"--data_dir={creatures_dir}")
    out = f"--out={tmp_path / 'out'}"
    ran = command("experiments.features", *given, out, "--layers=layer9", fails=True)
    assert_one_line(ran, "--layers=layer9: small has layer1, layer5, layer6, layer8")
    assert not (tmp_path / "out").exists()
