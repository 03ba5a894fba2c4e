"""What a configuration of the net refuses, and how classes are named."""

import pathlib

import numpy as np
import pytest

from experiments.common import image_choice, model, onnx_model, output
from experiments.common.model import ModelConfig
from zf_jax.errors import BadInput

ONNX = pathlib.Path("net.onnx")


@pytest.mark.parametrize(
    ("config", "culprit"),
    [
        (ModelConfig(), "--onnx=FILE or --model=FILE.py:FUNCTION: give one"),
        (ModelConfig(checkpoint=ONNX, onnx=ONNX), "give one of them"),
        (ModelConfig(onnx=ONNX, model="net.py:make"), "give one of them"),
        (ModelConfig(model="net.py:make"), "--model: net.py: no such file"),
        (
            ModelConfig(model="net.py:make", mean=(1.0,)),
            "--mean: leave it out",
        ),
        (ModelConfig(checkpoint=ONNX, scale=(1.8,)), "--scale: leave it out"),
        (ModelConfig(onnx=ONNX), "--preset: say which"),
        (ModelConfig(onnx=ONNX, preset="unit"), "net.onnx"),
        (ModelConfig(checkpoint=pathlib.Path("nowhere")), "nowhere: no such folder"),
    ],
)
def test_refuses_what_names_no_net(config, culprit):
    with pytest.raises(BadInput, match=culprit):
        model.load(config)


def test_refuses_what_does_not_fit_a_run(run, tmp_path):
    with pytest.raises(BadInput, match=r"step 7: .* has 6, 18, 24"):
        model.from_run(run, 7)
    with pytest.raises(BadInput, match="--size=20: small takes 32x32 pixels"):
        model.from_run(run, size=20)
    with pytest.raises(BadInput, match="'conv': small has layer1"):
        model.from_run(run, upto="conv")
    (tmp_path / "few.txt").write_text("cat\ndog\n")
    with pytest.raises(BadInput, match="2 names, the net has 10"):
        model.from_run(run, labels=tmp_path / "few.txt")
    # A net that was cut takes any size and has no classes.
    loaded = model.from_run(run, upto="layer5", size=20)
    assert (loaded.crop_size, loaded.labels, loaded.resize) == (None, (), 20)
    assert model.load(ModelConfig(checkpoint=run, rule="guided")).rule == "guided"


def test_refuses_a_folder_of_several_runs(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
    with pytest.raises(BadInput, match="holds several runs, give one: one, two"):
        model.from_run(tmp_path)


def test_labels_of_a_file_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("cat\r\ndog\r\n\r\n", "utf-8-sig")
    assert model.read_labels(path, 2) == ("cat", "dog")
    path.write_bytes(np.arange(256, dtype=np.uint8).tobytes())
    with pytest.raises(BadInput, match="not a text file in UTF-8"):
        model.read_labels(path, 2)


def test_values_of_each_channel():
    torch = (1.0, 2.0, 6.0)
    assert onnx_model._each_channel("mean", (), torch, 3) == torch
    # Of a grey net the average, 3.
    assert onnx_model._each_channel("mean", (), torch, 1) == (3.0,)
    assert onnx_model._each_channel("mean", (7.0,), torch, 3) == (7.0, 7.0, 7.0)
    with pytest.raises(BadInput, match="--mean=1,2: the net takes 3 channels"):
        onnx_model._each_channel("mean", (1.0, 2.0), torch, 3)


def test_class_numbers():
    labels = ("cat", "crane", "tench, Tinca tinca", "crane", "7")
    assert image_choice.class_number("cat", labels) == 0
    assert image_choice.class_number("tench, Tinca tinca", labels) == 2
    # A number where it is no name.
    assert image_choice.class_number("3", labels) == 3
    assert image_choice.class_number("7", labels) == 4
    with pytest.raises(BadInput, match="classes 1, 3 have that name; give the number"):
        image_choice.class_number("crane", labels)
    thousand = tuple(f"thing {i}" for i in range(1000))
    with pytest.raises(
        BadInput, match=r"none of the net's 1000 .* thing 99"
    ) as refused:
        image_choice.class_number("thing 9999", thousand)
    assert len(str(refused.value)) < 200
    with pytest.raises(BadInput, match="knows no classes"):
        image_choice.class_number("cat", ())


def test_distinct_names():
    # a/cat, a/cat-2, b/cat; capitals are small letters to some file systems.
    names = ["cat", "cat-2", "cat", "Cat", "pass"]
    found = output.distinct(names, taken=["pass"])
    assert found == ["cat", "cat-2", "cat-3", "Cat-4", "pass-2"]
