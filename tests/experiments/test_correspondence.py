"""`experiments.correspondence` as a user runs it, on a data set and on files."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.experiments.commands import assert_one_line, assert_png, command


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, creatures_dir):
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


def correspondence(workdir, out, *more):
    return command(
        "experiments.correspondence", f"--checkpoint={workdir}", f"--out={out}", *more
    )


def test_of_a_data_set(workdir, creatures_dir, tmp_path):
    given = f"--data_dir={creatures_dir}", "--count=3", "--places=2"
    ran = correspondence(workdir, tmp_path, *given)
    assert ran.code == 0, ran.err
    assert_png(tmp_path / "correspondence.png")
    found = json.loads((tmp_path / "correspondence.json").read_text())
    assert len(found["images"]) == 3
    assert all(name.startswith("dog-") for name in found["images"])
    assert list(found["scores"]) == ["left_eye", "right_eye", "nose", "random"]
    for part, row in found["scores"].items():
        assert part in ran.out
        # The last filtering layer and the last hidden one.
        assert list(row) == ["layer5", "layer6"]
        for each in row.values():
            (low, spread), (high, _) = each["all"], each["changed"]
            assert 0 < low < high <= 1
            assert spread > 0
    # Its numbers are of other data.
    assert "paper" not in ran.out
    again = correspondence(workdir, tmp_path / "2", *given)
    assert again.code == 0
    assert json.loads((tmp_path / "2" / "correspondence.json").read_text()) == found


def test_other_parts_layers_and_kind(workdir, creatures_dir, tmp_path):
    ran = correspondence(
        workdir,
        tmp_path,
        f"--data_dir={creatures_dir}",
        "--kind=owl",
        "--count=2",
        "--parts=mouth",
        "--layers=layer1",
    )
    assert ran.code == 0, ran.err
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


def test_of_files(workdir, dogs, tmp_path):
    folder, boxes = dogs
    given = f"--images={folder}", f"--boxes={boxes}", "--parts=nose"
    ran = correspondence(workdir, tmp_path / "out", *given)
    assert ran.code == 0, ran.err
    found = json.loads((tmp_path / "out" / "correspondence.json").read_text())
    assert found["images"] == ["0", "1", "2"]
    # The same image and the same box: all features change alike.
    for each in found["scores"]["nose"].values():
        assert each == {"all": [0, 0], "changed": [0, 0]}
    # At places of their own they do not.
    for each in found["scores"]["random"].values():
        assert each["all"][0] > 0


def test_the_papers_numbers_stand_beside_imagenet_alone(workdir, dogs, tmp_path):
    folder, boxes = dogs
    given = f"--images={folder}", f"--boxes={boxes}", "--parts=nose", "--places=2"
    ran = correspondence(workdir, tmp_path / "out", *given, "--dataset=imagenet2012")
    assert ran.code == 0, ran.err
    assert "layer5, paper" in ran.out
    # Table 1.
    assert "0.079 +- 0.017" in ran.out
    assert "0.107 +- 0.017" in ran.out


def test_mistakes_with_the_data_set(workdir, creatures_dir, tmp_path):
    data = f"--data_dir={creatures_dir}"
    for given, culprit in (
        (["--count=40"], "--count=40: creatures/64, validation has 5 images of dog"),
        (["--kind=unicorn"], "--kind=unicorn: creatures/64, validation has bear, cat"),
        (["--layers=layer9"], "layer 'layer9': small has layer1"),
        (["--parts=tail"], "part 'tail': the data set has"),
        (["--boxes=some.csv"], "--images and --boxes: give both"),
    ):
        ran = correspondence(workdir, tmp_path / "out", data, *given)
        assert_one_line(ran, culprit)
    assert not (tmp_path / "out").exists()


def test_mistakes_with_files(workdir, dogs, tmp_path):
    folder, boxes = dogs
    files, parts = f"--images={folder}", "--parts=nose"
    out = tmp_path / "out"
    ran = correspondence(workdir, out, files, parts)
    assert_one_line(ran, "--images and --boxes: give both")
    one = f"--images={folder / '0.png'}"
    ran = correspondence(workdir, out, one, f"--boxes={boxes}", parts)
    assert_one_line(ran, "--images: 1 image")
    ran = correspondence(workdir, out, files, f"--boxes={boxes}")
    assert_one_line(ran, "no left_eye of 0.png")
    ran = correspondence(workdir, out, files, f"--boxes={tmp_path / 'none.csv'}", parts)
    assert_one_line(ran, "none.csv: No such file")
    text = boxes.read_text()
    boxes.write_text(text.replace("2.png,nose,20,24,32,40", "2.png,nose,20,24,80,40"))
    ran = correspondence(workdir, out, files, f"--boxes={boxes}", parts)
    assert_one_line(ran, "nose of 2.png lies outside of the image of 64x64 pixels")
    boxes.write_text(text.replace("24,32", "abc,32"))
    ran = correspondence(workdir, out, files, f"--boxes={boxes}", parts)
    assert_one_line(ran, "boxes.csv, line 2: no box")
    assert not out.exists()


def test_files_of_one_name(workdir, dogs, tmp_path):
    folder, boxes = dogs
    other = tmp_path / "others" / "0.png"
    other.parent.mkdir()
    Image.open(folder / "1.png").save(other)
    given = f"--images={folder},{other}", f"--boxes={boxes}", "--parts=nose"
    ran = correspondence(workdir, tmp_path / "out", *given)
    assert_one_line(ran, f"--images: {folder / '0.png'} and {other} have one name")
    assert not (tmp_path / "out").exists()


def test_a_data_set_without_parts(workdir, tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("dog", "cat"):
            folder = tmp_path / "plain" / split / name
            folder.mkdir(parents=True)
            for number in range(2):
                pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    plain = f"--dataset=folder:{tmp_path / 'plain'}", f"--data_dir={tmp_path / 'data'}"
    # It is prepared once, with a bar; then there is nothing but the mistake.
    correspondence(workdir, tmp_path / "out", *plain)
    ran = correspondence(workdir, tmp_path / "out", *plain)
    assert_one_line(ran, "parts: the data set has no boxes")
