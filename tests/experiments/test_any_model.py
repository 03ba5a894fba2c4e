"""Experiments on a user's own residual net, `--model=FILE.py:FUNCTION`."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments.common import model
from tests.experiments.commands import (
    assert_one_line,
    assert_png,
    command,
    numbers_in,
)

# Linen, of images of 16 x 24; a stride, a projected shortcut, batch normalisation.
FILE = """
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from zf_jax import model


class Block(nn.Module):
    maps: int
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        steps = (self.stride, self.stride)
        y = nn.relu(nn.Conv(self.maps, (3, 3), steps)(x))
        y = nn.BatchNorm(use_running_average=True)(nn.Conv(self.maps, (3, 3))(y))
        if x.shape != y.shape:
            x = nn.Conv(self.maps, (1, 1), steps)(x)
        return nn.relu(x + y)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), name="stem")(x))
        x = Block(4, name="block0")(x)
        x = Block(6, 2, name="block1")(x)
        return nn.Dense(10, name="head")(x.mean((1, 2)))


def make():
    net, images = Net(), jnp.zeros((1, 16, 24, 3))
    params = net.init(jax.random.key(1), images)
    pixels = model.Input((16, 24), mean=(127.0,) * 3, scale=1 / 64)
    return model.Model(net.apply, params, pixels)


def raises():
    raise RuntimeError("no weights here")


def four_channels():
    return model.Model(lambda p, x: x, {}, model.Input(8, mean=(0.0,) * 4))


def tokens():
    def apply(params, images):
        found = images[:, ::4, ::4].reshape(len(images), -1, 3)
        return checkpoint_name(found, "tokens").mean(1)

    return model.Model(apply, {}, model.Input((16, 24)))


def gelu():
    def apply(params, images):
        return nn.gelu(checkpoint_name(images, "pixels")).mean((1, 2))

    return model.Model(apply, {}, model.Input((16, 24)))


def gelu_and_relu():
    def apply(params, images):
        return nn.relu(nn.gelu(images)).mean((1, 2))

    return model.Model(apply, {}, model.Input((16, 24)))


def linear():
    return model.Model(lambda p, x: x.mean((1, 2)), {}, model.Input((16, 24)))


def of_another_size():
    return model.Model(lambda p, x: x @ jnp.zeros((5, 2)), {}, model.Input(8))
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("mine"), np.random.default_rng(0)
    (folder / "my_net.py").write_text(FILE)
    for name in ("a", "b", "c"):
        pixels = rng.integers(0, 256, (20, 26, 3), np.uint8)
        (folder / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
    return folder


def examine(here, experiment, out, *more, make="make", images="images", **how):
    return command(
        f"experiments.{experiment}",
        f"--model={here / 'my_net.py'}:{make}",
        f"--images={here / images}",
        f"--out={out}",
        *more,
        **how,
    )


def test_invariance(here, tmp_path):
    examine(here, "invariance", tmp_path, "--steps=4", "--background_images=0")
    assert_png(tmp_path / "invariance.png")
    found = numbers_in(tmp_path / "invariance.npz")
    # The first and the last before the classes of those taken by default.
    assert {"distance_relu", "distance_block1/relu_1"} <= set(found)
    assert found["probability"].shape[0] == 3


def test_features(here, tmp_path):
    given = ("--maps=2", "--k=2", "--layers=relu,block1/relu_1,head/dense")
    ran = examine(here, "features", tmp_path, *given)
    names = {path.name for path in ran.written}
    assert {"filters.png", "relu.png", "block1-relu_1.png", "head-dense.png"} <= names
    assert_png(tmp_path / "block1-relu_1.png")
    # By hand: the first convolution sees 3 x 3 pixels of three channels.
    arrays = numbers_in(tmp_path / "relu.npz")
    assert ((arrays["projections"] != 0).any(-1).sum((2, 3)) <= 9).all()
    assert arrays["projections"].any()


def test_occlusion(here, tmp_path):
    given = ("--side=6", "--stride=6", "--neighbour_images=1", "--explain")
    ran = examine(here, "occlusion", tmp_path, *given, images="images/a.png")
    assert_png(tmp_path / "a.png")
    # By hand: logits and maps come of the same six convolutions, not of twelve.
    assert ran.out.count("conv_general_dilated") == 6
    read = numbers_in(tmp_path / "a.npz")
    # By hand: ceil((16 - 6) / 6) + 1 = 3 and ceil((24 - 6) / 6) + 1 = 4 positions.
    assert read["probability"].shape == (3, 4, 10)
    assert read["activity"].shape == (3, 4, 6)


def test_features_up_to_a_layer(here, tmp_path):
    given = ("--maps=1,", "--k=1", "--upto=stem/conv", "--control=random_weights")
    ran = examine(here, "features", tmp_path, *given)
    # What lies above is not looked at; the classes are above.
    names = [path.name for path in ran.written if path.suffix == ".npz"]
    assert names == ["stem-conv.npz"]
    steps = json.loads((tmp_path / "controls.json").read_text())["stem/conv"]
    assert list(steps) == ["random_weights, down to params/stem/kernel"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "given", "written"),
    [
        ("scores", ("--count=3", "--steps=2", "--side=8", "--stride=8"), "scores.json"),
        ("correspondence", ("--count=2", "--random_boxes=2"), "correspondence.json"),
        ("transfer", ("--per_class=1", "--folds=1"), "transfer.json"),
        ("errors", (), "errors.json"),
        ("filters", ("--maps=2", "--compare_with={run}"), "filters.json"),
    ],
)
def test_other_commands(here, run, creatures_dir, tmp_path, experiment, given, written):
    (tmp_path / "names.txt").write_text("\n".join(model.from_run(run).labels))
    ran = command(
        f"experiments.{experiment}",
        f"--model={here / 'my_net.py'}:make",
        "--dataset=creatures/64",
        f"--data_dir={creatures_dir}",
        f"--labels={tmp_path / 'names.txt'}",
        f"--out={tmp_path / 'out'}",
        *(each.format(run=run) for each in given),
    )
    assert written in [path.name for path in ran.written]


def test_training_from_scratch_needs_a_spec(here, creatures_dir, tmp_path):
    ran = command(
        "experiments.transfer",
        f"--model={here / 'my_net.py'}:make",
        "--dataset=creatures/64",
        f"--data_dir={creatures_dir}",
        "--scratch=1",
        f"--out={tmp_path / 'out'}",
        fails=True,
    )
    assert_one_line(ran, "--scratch: needs the layers of a net, a Spec; my_net is a")


@pytest.mark.parametrize(
    ("make", "culprit"),
    [
        ("missing", "--model: {file}: has no function missing"),
        ("raises", "--model: {file}: raises() raised RuntimeError, see above"),
        ("four_channels", "takes images of 4 channels; the images of commands have 3"),
        ("of_another_size", "model_fn fails on float32[1, 8, 8, 3]"),
    ],
)
def test_refuses(here, tmp_path, make, culprit):
    ran = examine(here, "invariance", tmp_path / "out", make=make, fails=True)
    *traceback, line = ran.err.strip().splitlines()
    assert culprit.format(file=here / "my_net.py") in line
    assert bool(traceback) == (make == "raises")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("make", "given", "culprit"),
    [
        (
            "tokens",
            "--layers=tokens",
            "'tokens' has the shape [1, 24, 3]: ask for a map",
        ),
        ("gelu", "--layers=gelu", "nonlinearities: gelu; say nonlinear='gradient'"),
        ("linear", "--maps=1", "--rule: my_net: no rectifier was found"),
    ],
)
def test_refuses_before_any_work(here, tmp_path, make, given, culprit):
    ran = examine(here, "features", tmp_path / "out", given, make=make, fails=True)
    assert_one_line(ran, culprit)
    assert not (tmp_path / "out").exists()


def test_image_files_are_no_data_set(here, tmp_path):
    ran = examine(here, "errors", tmp_path / "out", fails=True)
    assert_one_line(ran, "--dataset: say which data set; image files alone")


def test_an_unknown_layer_has_near_ones(here, tmp_path):
    ran = examine(here, "features", tmp_path / "out", "--layers=block1/rel", fails=True)
    assert_one_line(ran, "near to it: block1/relu, ")
