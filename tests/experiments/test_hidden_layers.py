"""Which hidden values of a function a command looks at, and how it sees images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name

from experiments.common import model
from experiments.common.model import LoadedModel, ModelConfig
from zf_jax import model as models
from zf_jax.errors import BadInput

INPUT = models.Input((4, 6), mean=(0.0,))


def loaded(apply, *, given=INPUT, **fields):
    made = models.Model(lambda _, images: apply(images), None, given, **fields)
    return LoadedModel(made, 6, given.size)


def deep(images, tags=()):
    """Twenty rectified values, and logits."""
    x = images
    for index in range(20):
        x = jax.nn.relu(x - 0.01)
        if index in tags:
            x = checkpoint_name(x, f"stage{index}")
    return x.mean((1, 2)) @ jnp.ones((1, 3))


def test_what_the_author_has_tagged():
    found = loaded(lambda images: deep(images, tags=(3, 9)), labels="abc")
    assert found.default_layers == ["stage3", "stage9", "dense"]
    assert found.class_names("dense") == ("a", "b", "c")
    assert found.class_names("stage9") == ()


def test_of_many_some_evenly_spread():
    names = loaded(deep).default_layers
    assert len(names) == 16
    # By hand: 15 of 20, from the first to the last, then the logits.
    assert (names[0], names[1], names[-2:]) == ("relu", "relu_1", ["relu_19", "dense"])


def test_without_activations_everything():
    found = loaded(lambda x: (x * x).mean((1, 2)))
    assert found.default_layers == list(found.layers)


def test_channels_first():
    found = loaded(lambda x: jax.nn.relu(jnp.repeat(x, 2, 3).transpose(0, 3, 1, 2)))
    assert found.layers["relu"].shape == (2, 4, 6)
    first = dataclasses.replace(found.model, layout="NCHW")
    first = LoadedModel(first, 6, (4, 6))
    assert first.layers["relu"].shape == (4, 6, 2)
    assert first.maps(["relu"])(np.ones((1, 4, 6, 1)))["relu"].shape == (1, 4, 6, 2)


def test_logits_and_maps_of_one_pass():
    found = loaded(deep, labels="abc")
    images = np.random.default_rng(0).random((2, 4, 6, 1), np.float32)
    logits, maps = found.with_maps(["relu_4", "dense"])(images)
    np.testing.assert_allclose(logits, deep(images), rtol=1e-6)
    np.testing.assert_allclose(maps["relu_4"], jax.nn.relu(images - 0.05), atol=1e-6)
    np.testing.assert_array_equal(maps["dense"], logits)


FILE = """
import jax.numpy as jnp
from zf_jax import model

def any_size():
    return model.Model(classes, {}, model.Input(None), labels=("cat", "dog"))

def classes(params, images):
    return images.mean((1, 2))[:, :2]

def labels_of_three():
    return model.Model(classes, {}, model.Input(8), labels=("a", "b", "c"))

def several():
    def both(params, images):
        return {"boxes": images.mean(3), "scores": classes(params, images)}
    return model.Model(both, {}, model.Input((8, 12)))

def trunk():
    return model.Model(lambda _, images: jnp.maximum(images, 0), {}, model.Input(8))
"""


@pytest.fixture
def load(tmp_path):
    path = tmp_path / "sizes_net.py"
    path.write_text(FILE)
    return lambda name, **how: model.load(ModelConfig(model=f"{path}:{name}", **how))


def test_sizes_and_classes(load, capsys):
    found = load("any_size")
    assert (found.crop_size, found.resize, found.labels) == (
        (224, 224),
        224,
        ("cat", "dog"),
    )
    assert load("any_size", size=32).crop_size == (32, 32)
    # The middle of images whose smaller side fits the larger of the input.
    found = load("several")
    assert (found.crop_size, found.resize, found.labels) == ((8, 12), 12, ())
    assert "has the outputs boxes, scores, and no logits" in capsys.readouterr().out
    assert load("trunk").labels == ()


@pytest.mark.parametrize(
    ("name", "how", "culprit"),
    [
        ("labels_of_three", {}, "has 3 labels, and logits of 2 classes"),
        ("several", {"size": 8}, "--size=8: sizes_net takes 8x12 pixels"),
        ("any_size", {"upto": "relu"}, "--upto=relu: sizes_net has "),
    ],
)
def test_refuses(load, name, how, culprit):
    with pytest.raises(BadInput, match=culprit):
        load(name, **how)
