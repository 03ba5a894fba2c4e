"""`experiments.correspondence` as a user runs it, on a data set and on files."""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from experiments.common import dataset, model
from experiments.correspondence import part_boxes
from tests.experiments.commands import assert_one_line, assert_png, command
from zf_jax.errors import BadInput


def correspondence(run, out, *more, **how):
    return command(
        "experiments.correspondence",
        f"--checkpoint={run}",
        f"--out={out}",
        *more,
        **how,
    )


def test_of_a_data_set(run, creatures_dir, tmp_path):
    given = f"--data_dir={creatures_dir}", "--count=3", "--random_boxes=2"
    ran = correspondence(run, tmp_path, *given)
    assert_png(tmp_path / "correspondence.png")
    found = json.loads((tmp_path / "correspondence.json").read_text())
    assert len(found["images"]) == 3
    assert all(name.startswith("dog-") for name in found["images"])
    assert list(found["scores"]) == ["left_eye", "right_eye", "nose", "random"]
    for part, row in found["scores"].items():
        assert part in ran.out
        # The last filtering layer and the last hidden one.
        assert list(row) == ["layer5", "layer6"]
        # Most units of the hidden layer are silent after so few steps.
        (low, spread), (high, _) = row["layer5"]["all"], row["layer5"]["changed"]
        assert 0 < low < high <= 1
        assert spread > 0
    # Its numbers are of other data.
    assert "paper" not in ran.out
    correspondence(run, tmp_path / "2", *given)
    assert json.loads((tmp_path / "2" / "correspondence.json").read_text()) == found


def test_other_parts_layers_and_class(run, creatures_dir, tmp_path):
    correspondence(
        run,
        tmp_path,
        f"--data_dir={creatures_dir}",
        "--class_name=owl",
        "--count=2",
        "--parts=mouth",
        "--layers=layer1",
    )
    found = json.loads((tmp_path / "correspondence.json").read_text())["scores"]
    assert list(found) == ["mouth", "random"]
    assert list(found["mouth"]) == ["layer1"]
    # Of layer 1 a small box changes little, and most agree on that.
    assert found["mouth"]["layer1"]["all"][0] < 0.2
    # One pair.
    assert found["mouth"]["layer1"]["all"][1] == 0


@pytest.fixture
def dogs(tmp_path):
    """Three files of one image, moved within a wider frame, and the boxes of a part."""
    folder = tmp_path / "dogs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (64, 64, 3), np.uint8)
    lines = ["image,part,top,left,bottom,right"]
    for number in range(3):
        Image.fromarray(scene).save(folder / f"{number}.png")
        lines.append(f"{number}.png,nose,20,24,32,40")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("\n".join(lines))
    return folder, boxes


def test_of_files(run, dogs, tmp_path):
    folder, boxes = dogs
    given = f"--images={folder}", f"--boxes={boxes}", "--parts=nose"
    correspondence(run, tmp_path / "out", *given)
    found = json.loads((tmp_path / "out" / "correspondence.json").read_text())
    assert found["images"] == ["0", "1", "2"]
    # The same image and the same box: all features change alike.
    for each in found["scores"]["nose"].values():
        assert each == {"all": [0, 0], "changed": [0, 0]}
    # At random positions they do not.
    assert found["scores"]["random"]["layer5"]["all"][0] > 0


def test_the_papers_numbers_stand_beside_imagenet_alone(run, dogs, tmp_path):
    folder, boxes = dogs
    given = f"--images={folder}", f"--boxes={boxes}", "--parts=nose", "--random_boxes=2"
    ran = correspondence(run, tmp_path / "out", *given, "--dataset=imagenet2012")
    assert "layer5, paper" in ran.out
    # Table 1.
    assert "0.079 +- 0.017" in ran.out
    assert "0.107 +- 0.017" in ran.out


@pytest.fixture(scope="module")
def loaded(run):
    return model.from_run(run)


def choose(loaded, *, images=(), data_dir=None, **settings):
    source = dataset.DataConfig(images=tuple(map(str, images)), data_dir=data_dir)
    return part_boxes.choose(part_boxes.PartConfig(**settings), source, loaded)


@pytest.mark.parametrize(
    ("settings", "culprit"),
    [
        ({"count": 40}, "--count=40: creatures/64, validation has 5 images of dog"),
        ({"class_name": "unicorn"}, "--class_name=unicorn: creatures/64, validation"),
        ({"parts": ("tail",)}, "part 'tail': the data set has"),
        ({"parts": ()}, "--parts: give some"),
        ({"boxes": pathlib.Path("some.csv")}, "--images and --boxes: give both"),
    ],
)
def test_refuses_of_the_data_set(loaded, creatures_dir, settings, culprit):
    with pytest.raises(BadInput, match=re.escape(culprit)):
        choose(loaded, data_dir=creatures_dir, **settings)


def test_refuses_of_files(loaded, dogs):
    folder, boxes = dogs
    nose = {"boxes": boxes, "parts": ("nose",)}
    with pytest.raises(BadInput, match="--images and --boxes: give both"):
        choose(loaded, images=[folder])
    with pytest.raises(BadInput, match="--images: 1 image"):
        choose(loaded, images=[folder / "0.png"], **nose)
    with pytest.raises(BadInput, match=r"no left_eye of 0\.png"):
        choose(loaded, images=[folder], boxes=boxes)
    text = boxes.read_text()
    boxes.write_text(text.replace("2.png,nose,20,24,32,40", "2.png,nose,20,24,80,40"))
    with pytest.raises(BadInput, match=r"nose of 2\.png lies outside of the image"):
        choose(loaded, images=[folder], **nose)
    boxes.write_text(text)
    other = folder.parent / "others" / "0.png"
    other.parent.mkdir()
    shutil.copy(folder / "1.png", other)
    with pytest.raises(BadInput, match="have one name"):
        choose(loaded, images=[folder, other], **nose)


def test_a_mistake_writes_nothing(run, creatures_dir, tmp_path):
    given = f"--data_dir={creatures_dir}", "--layers=layer9"
    ran = correspondence(run, tmp_path / "out", *given, fails=True)
    assert_one_line(ran, "--layers=layer9: small has layer1")
    assert not (tmp_path / "out").exists()
