"""A model: of a Spec, of a function, of a user's file."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zf_jax import convnet, model
from zf_jax.errors import BadInput
from zf_jax.layers import Conv, Dense, Flatten, Layer, Relu
from zf_jax.spec import Spec

GREY = model.Input((4, 6), mean=(10.0,), scale=0.5)


def linear(params, images):
    return images.mean(axis=(1, 2)) @ params


def test_a_spec_is_a_model():
    rng = np.random.default_rng(0)
    first = Layer("layer1", (Conv(2, 3), Relu()))
    net = Spec("small", model.Input(5), (first, Layer("layer2", (Flatten(), Dense(4)))))
    images = rng.normal(size=(2, 5, 5, 3)).astype(np.float32)
    variables = convnet.ConvNet(net).init(jax.random.key(0), images)
    found = model.of_spec(net, variables["params"])
    logits, _ = convnet.ConvNet(net).apply(variables, images)
    np.testing.assert_array_equal(found.logits(images), logits)
    assert found.labels == ("class 0", "class 1", "class 2", "class 3")
    assert (found.name, found.spec, found.input) == (net.name, net, net.input)
    with pytest.raises(BadInput, match="2 labels for 4 classes"):
        model.of_spec(net, variables["params"], labels=("a", "b"))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_of_any_number_of_channels(channels):
    given = model.Input((2, 3), mean=(1.0,) * channels, scale=0.5)
    found = model.Model(linear, np.eye(channels, dtype=np.float32), given)
    pixels = np.full((1, 2, 3, channels), 3, np.uint8)
    # (3 - 1) * 0.5
    np.testing.assert_array_equal(found.logits(found.prepare(pixels)), [[1] * channels])


def test_a_single_logit_is_a_sigmoid_unless_the_model_says_otherwise():
    found = model.Model(linear, np.ones((1, 1)), GREY)
    np.testing.assert_array_equal(found.probabilities(jnp.zeros((1, 1))), [[0.5]])
    two = jnp.zeros((1, 4))
    np.testing.assert_array_equal(found.probabilities(two), [[0.25] * 4])
    by_class = dataclasses.replace(found, activation="sigmoid")
    np.testing.assert_array_equal(by_class.probabilities(two), [[0.5] * 4])


def test_of_several_outputs_one_has_the_logits():
    def both(params, images):
        return {"boxes": images[..., 0], "classes": linear(params, images)}

    found = model.Model(both, np.ones((1, 1)), GREY)
    images = np.ones((1, 4, 6, 1), np.float32)
    with pytest.raises(BadInput, match="outputs boxes, classes, and no logits"):
        found.logits(images)
    named = dataclasses.replace(found, output="classes")
    np.testing.assert_array_equal(named.logits(images), [[1]])
    assert set(named.function(images)) == {"boxes", "classes"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"apply": 3}, "apply is a int; give a function"),
        ({"input": 224}, "input is a int; give a model.Input"),
        ({"activation": "relu"}, "activation is 'relu'; give one of"),
        ({"layout": "CHW"}, "layout is 'CHW'; give one of 'NHWC', 'NCHW'"),
    ],
)
def test_a_mistake_in_a_model_is_one_line(given, message):
    fields = {"apply": linear, "params": None, "input": GREY} | given
    with pytest.raises(BadInput, match=message):
        model.Model(**fields)


FILE = """
import dataclasses
import numpy as np
import beside_it
from zf_jax import model

# It looks for the module that it is in.
@dataclasses.dataclass
class Config:
    classes: "int" = 2

def make():
    weights = np.ones((1, Config().classes), np.float32)
    return model.Model(beside_it.apply, weights, model.Input(None, mean=(0.0,)))

def fails():
    raise KeyError("of the user's")

def refuses():
    from zf_jax.errors import BadInput
    raise BadInput("the user's own line")

def forgets():
    make()
"""


@pytest.fixture
def file(tmp_path):
    apply = "def apply(p, x):\n    return x.mean((1, 2)) @ p\n"
    (tmp_path / "beside_it.py").write_text(apply)
    path = tmp_path / "my_net.py"
    path.write_text(FILE)
    return path


def test_a_file_of_the_user(file):
    found = model.from_file(f"{file}:make")
    assert (found.name, found.input.size) == ("my_net", None)
    np.testing.assert_array_equal(found.logits(np.ones((1, 3, 5, 1))), [[1, 1]])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{}", "write FILE.py:FUNCTION"),
        ("{}x:make", "no such file"),
        ("{}:missing", "has no function missing"),
        ("{}:fails", r"fails\(\) raised KeyError, see above"),
        ("{}:refuses", "^the user's own line$"),
        ("{}:forgets", r"forgets\(\) returned a NoneType; it must return"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(file, capsys, given, message):
    with pytest.raises(BadInput, match=message) as raised:
        model.from_file(given.format(file))
    assert "\n" not in str(raised.value)
    shown = capsys.readouterr().err
    assert ("of the user's" in shown) == ("fails" in given)
    # The traceback is of the user's code alone.
    assert "zf_jax/model.py" not in shown


def test_a_file_that_cannot_be_imported(tmp_path, capsys):
    path = tmp_path / "broken_net.py"
    path.write_text("import no_such_module\n")
    with pytest.raises(BadInput, match=r"broken_net\.py raised ModuleNotFoundError"):
        model.from_file(f"{path}:make")
    assert "no_such_module" in capsys.readouterr().err
