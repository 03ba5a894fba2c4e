"""The explorer's command, on a training run and on a user's own model."""

import shutil

import jax
import numpy as np
import pytest

from experiments.explore import (
    activation_table,
    occlusion_maps,
    unit_numbers,
    weights,
)
from experiments.explore.gathered import Gathered
from tests.experiments.commands import SMALL, assert_one_line, command
from tests.experiments.test_any_model import here  # noqa: F401
from tests.figures.test_explorer import read
from zf_jax import convnet, spec
from zf_jax.layers import Conv, Layer, Relu


def explore(out, *given, **how):
    return command("experiments.explore", f"--out={out}", "--k=2", *given, **how)


def of_run(run, data, out, *given, **how):
    return explore(
        out,
        f"--checkpoint={run}",
        f"--data_dir={data}",
        "--split=validation[:12]",
        "--rules=",
        "--layers=layer5,layer8",
        *given,
        **how,
    )


def test_a_training_run(run, creatures_dir, tmp_path):
    out = tmp_path / "it"
    ran = of_run(run, creatures_dir, out, "--single_file")
    assert [path.name for path in ran.written] == ["index.html", "it.html"]
    assert not out.with_name("it.partial").exists()
    _, index = read(out / "index.js")
    assert len(index["classes"]) == 10
    assert [layer["inputs"] for layer in index["layers"]] == [[], [0]]
    _, layer = read(out / "layers" / "000.js")
    controls = ["", "random_weights", "wrong_unit", "random_switches"]
    assert layer["rules"] == [["deconvnet", controls]]
    # Epochs that the run keeps: 1, 3 and 4; of these fig. 4 has the first.
    assert layer["epochs"] == [1, 4]
    similar = layer["columns"]["control_similarity"]
    assert all(each is None or each < 1 for each in similar)
    assert {"occlusion", "evolution", "quantiles", "where"} <= set(layer["sheets"])
    _, logits = read(out / "layers" / "001" / "0000.js")
    assert "position" not in logits[0]["examples"]
    assert logits[0]["examples"]["box"][0] == [0, 0, 32, 32]
    _, images = read(out / "images" / "0000.js")
    assert len(images["images"][0]["predictions"]) == 5
    # Of images that are the strongest of some unit.
    panels = [panel for image in images["images"] for panel in image["panels"]]
    assert panels[0]["caption"].startswith("probability of ")


def test_an_interrupted_run_goes_on(run, creatures_dir, tmp_path, monkeypatch):
    def explore_it(name, **how):
        given = run, creatures_dir, tmp_path / name, "--noevolution"
        return of_run(*given, **how)

    def files(name):
        folder = tmp_path / name
        found = sorted(folder.rglob("*.js")) + sorted(folder.rglob("*.webp"))
        return {path.relative_to(folder): path.read_bytes() for path in found}

    explore_it("whole")
    add_layer, added = Gathered.add_layer, []

    def interrupted(self, pages, layer, pictures):
        if added == ["layer5"]:
            added.append("interrupted")
            raise KeyboardInterrupt
        added.append(layer)
        add_layer(self, pages, layer, pictures)

    monkeypatch.setattr(Gathered, "add_layer", interrupted)
    explore_it("it", fails=True)
    assert not (tmp_path / "it").exists()
    # Neither the pass nor the sweeps nor what is drawn are done again.
    monkeypatch.setattr(activation_table, "_strongest", lambda *_: iter(()))
    monkeypatch.setattr(occlusion_maps, "sweep", None)
    explore_it("it")
    assert added == ["layer5", "interrupted", "layer8"]
    assert files("it") == files("whole")
    assert not (tmp_path / "it.partial").exists()


@pytest.mark.slow
def test_another_model_on_image_files(here, tmp_path):  # noqa: F811
    # Images of 16 x 24 without labels; a net that branches.
    explore(
        tmp_path / "it",
        f"--model={here / 'my_net.py'}:make",
        f"--images={here / 'images'}",
        "--layers=relu,block0/relu_1,block1/relu_1",
        "--rules=gradient",
    )
    _, index = read(tmp_path / "it" / "index.js")
    assert index["classes"] == []
    assert [layer["inputs"] for layer in index["layers"]] == [[], [0], [1]]
    _, layer = read(tmp_path / "it" / "layers" / "000.js")
    # No pool, no switches; no classes, no selectivity.
    controls = ["", "random_weights", "wrong_unit"]
    assert layer["rules"] == [["deconvnet", controls], ["gradient", controls[:2]]]
    assert not {"selectivity", "best_class"} & set(layer["columns"])
    _, images = read(tmp_path / "it" / "images.js")
    assert images[0][1] == "a.png"
    assert images[0][4] == [16, 24]


def test_rules_that_the_net_refuses_are_left_out(here, tmp_path):  # noqa: F811
    ran = explore(
        tmp_path / "it",
        f"--model={here / 'my_net.py'}:gelu_and_relu",
        f"--images={here / 'images' / 'a.png'}",
        "--rule=gradient",
        "--rules=guided",
        "--noocclusion",
        "--layers=gelu",
    )
    assert "no projections by the rule guided: --nonlinear: my_net: " in ran.out
    _, layer = read(tmp_path / "it" / "layers" / "000.js")
    assert [rule for rule, _ in layer["rules"]] == ["gradient"]


def test_one_image(here, tmp_path):  # noqa: F811
    explore(
        tmp_path / "it",
        f"--model={here / 'my_net.py'}:make",
        f"--images={here / 'images' / 'a.png'}",
        "--layers=head/dense",
        "--rules=",
    )
    _, units = read(tmp_path / "it" / "layers" / "000" / "0000.js")
    assert "alike" not in units[0]
    assert len(units[0]["examples"]["image"]) == 1


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        ("--rules=guess", "--rules=guess: there are deconvnet, "),
        ("--layers=layer9", "--layers=layer9: small has layer1"),
    ],
)
def test_refuses_before_any_work(run, creatures_dir, tmp_path, given, culprit):
    ran = of_run(run, creatures_dir, tmp_path / "it", given, fails=True)
    assert_one_line(ran, culprit)
    assert not list(tmp_path.iterdir())


def test_does_not_replace_what_is_no_explorer(run, creatures_dir, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    ran = of_run(run, creatures_dir, tmp_path, fails=True)
    assert_one_line(ran, "is there and is no explorer")


def test_weights_are_summed_over_windows():
    params = convnet.ConvNet(SMALL).init(
        jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32)
    )["params"]
    below, above = weights.strongest(SMALL, params)
    # By hand: the strongest of unit 3's six sums of 3 x 3 weights.
    sums = np.asarray(params["layer5"]["kernel"]).sum((0, 1))[:, 3]
    first = below["layer5"][3][0]
    assert first.layer == "layer1"
    assert first.unit == np.abs(sums).argmax()
    np.testing.assert_allclose(first.weight, sums[first.unit], rtol=1e-5)
    assert "layer1" not in below
    assert above["layer6"][0][0].layer == "layer8"
    # Maps of 4 x 4 before the dense layer: channels are its last axis.
    kernel = np.asarray(params["layer6"]["kernel"])
    sums = kernel.reshape(-1, 8, 16).sum(0)[:, 5]
    assert below["layer6"][5][0].unit == np.abs(sums).argmax()


def test_weights_in_groups():
    net = spec.Spec(
        "groups",
        spec.Input(4),
        (
            Layer("one", (Conv(4, 1), Relu())),
            Layer("two", (Conv(6, 1, groups=2), Relu())),
        ),
    )
    kernels = {"one": np.ones((1, 1, 3, 4)), "two": np.arange(12.0) + 1}
    kernels["two"] = kernels["two"].reshape(1, 1, 2, 6)
    params = {name: {"kernel": each} for name, each in kernels.items()}
    below, _ = weights.strongest(net, params)
    # By hand: units 3 to 5 see maps 2 and 3 alone.
    found = [(each.unit, each.weight) for each in below["two"][4]]
    assert found == [(3, 11.0), (2, 5.0)]


def test_numbers_of_dead_units_and_one_class():
    values = np.float32([[1, 0, 3, 2], [2, 0, 1, 2], [5, 0, 2, 2]])
    table = activation_table.LayerTable(values, np.zeros((3, 4, 2), np.int16), None)
    best = unit_numbers.top(table, 2)
    names = "cat", "dog"
    labels = unit_numbers.Labels(np.array([0, 1, 1]), names)
    units = unit_numbers.of_layer("it", table, best, labels)
    assert units.dead.tolist() == [False, True, False, False]
    assert units.best_class.tolist() == [1, -1, 0, 0]
    assert units.where is None
    # A dead unit is like no other.
    assert units.alike[1] == ()
    assert [other for other, _ in units.alike[0]] == [3, 2]
    # Of one class there is nothing to be selective for; without, no class is best.
    one = unit_numbers.Labels(np.array([1, 1, 1]), names)
    found = unit_numbers.of_layer("it", table, best, one)
    assert found.selectivity is None
    assert found.best_class.tolist() == [1, -1, 1, 1]
    assert unit_numbers.of_layer("it", table, best, None).class_means is None


# A grey net that ends in maps of 1 x 1; nothing excites its second layer.
ODD = """
import jax
import jax.numpy as jnp
from flax import linen as nn
from zf_jax import model


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(3, (3, 3), name="stem")(x))
        dead = nn.initializers.constant(-1e9)
        y = nn.relu(nn.Conv(2, (3, 3), name="dead", bias_init=dead)(x))
        x = jnp.concatenate([x, y], -1)
        return nn.relu(nn.Conv(4, (8, 12), padding="VALID", name="whole")(x))


def make():
    net = Net()
    params = net.init(jax.random.key(2), jnp.zeros((1, 8, 12, 1)))
    return model.Model(net.apply, params, model.Input((8, 12), mean=(127.0,)))
"""


@pytest.mark.slow
def test_grey_images_of_one_class_and_a_dead_layer(here, tmp_path, monkeypatch):  # noqa: F811
    (tmp_path / "odd.py").write_text(ODD)
    for split in ("train", "validation"):
        folder = tmp_path / "photos" / split / "cat"
        folder.mkdir(parents=True)
        for path in (here / "images").iterdir():
            shutil.copyfile(path, folder / path.name)
    out, given = tmp_path / "it", f"--model={tmp_path / 'odd.py'}:make"
    data = f"--dataset=folder:{tmp_path / 'photos'}", f"--data_dir={tmp_path / 'tfds'}"
    # Sweeps that are not cheap are left out, unless they are asked for.
    monkeypatch.setattr(occlusion_maps, "_CHEAP", 1)
    ran = explore(out, given, *data, "--rules=")
    assert "no occlusion maps: they take long" in ran.out
    _, index = read(out / "index.js")
    assert [(e["size"], e["dead"]) for e in index["layers"]] == [
        ([8, 12], 0),
        ([8, 12], 2),
        ([1, 1], index["layers"][2]["dead"]),
    ]
    _, dead = read(out / "layers" / "001.js")
    assert dead["columns"]["best_class"] == [-1, -1]
    assert "selectivity" not in dead["columns"]
    assert "occlusion" not in dead["sheets"]
    _, maps = read(out / "layers" / "002.js")
    assert "where" not in maps["sheets"]
    explore(out, given, *data, "--rules=", "--occlusion")
    _, maps = read(out / "layers" / "002.js")
    assert "occlusion" in maps["sheets"]
