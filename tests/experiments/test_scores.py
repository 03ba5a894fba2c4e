"""`experiments.scores` as a user runs it."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.experiments.commands import assert_png, command


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


def run(workdir, out, *more):
    given = f"--checkpoint={workdir}", f"--out={out}", "--side=8", "--stride=4"
    return command("experiments.scores", *given, *more)


def test_table_and_picture(workdir, creatures_dir, tmp_path):
    given = f"--data_dir={creatures_dir}", "--count=12", "--steps=4"
    ran = run(workdir, tmp_path, *given)
    assert ran.code == 0, ran.err
    assert [path.name for path in ran.written] == ["scores.png", "scores.json"]
    assert_png(tmp_path / "scores.png")
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found["images"] == 12
    maps = ["occlusion", "deconvnet", "guided", "gradient", "centre", "random"]
    assert list(found["scores"]) == maps
    for name, row in found["scores"].items():
        assert name in ran.out
        assert list(row) == [
            "points at silhouette",
            "points at parts",
            "energy in silhouette",
            "energy in parts",
            "deletion",
            "insertion",
        ]
        for mean, error in row.values():
            assert 0 <= mean <= 1
            assert 0 <= error < 0.5
    # Noise has as much of its energy in a region as that has of the image.
    noise, middle = found["scores"]["random"], found["scores"]["centre"]
    assert noise["energy in parts"][0] < noise["energy in silhouette"][0] < 0.5
    # The animals stand about the middle.
    assert middle["points at silhouette"][0] > 0.8
    near = run(workdir, tmp_path / "near", *given, "--tolerance=64")
    assert "within 64 pixels" in near.out
    anywhere = json.loads((tmp_path / "near" / "scores.json").read_text())["scores"]
    assert all(row["points at parts"] == [1, 0] for row in anywhere.values())


def test_mistakes(workdir, creatures_dir, tmp_path):
    data, out = f"--data_dir={creatures_dir}", tmp_path / "out"
    for given, culprit in (
        (["--count=51"], "--count=51: creatures/64, validation has 50 images"),
        (["--last=layer5"], "small has no classes"),
        (["--images=cat.png"], "--images: of files there is no truth"),
        (["--count=2", "--side=4", "--stride=5"], "stride 5"),
    ):
        assert culprit in (ran := run(workdir, out, data, *given)).err
        assert ran.code == 2
        assert "wrote" not in ran.out
    assert not out.exists()


@pytest.mark.parametrize("given", ["--side=0", "--stride=0"])
def test_a_square_or_step_of_nothing(workdir, tmp_path, given):
    ran = run(workdir, tmp_path / "out", given)
    assert ran.code == 1
    assert given.split("=")[0].removeprefix("--") in ran.err
    assert not (tmp_path / "out").exists()


def test_a_data_set_without_the_truth(workdir, tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        folder = tmp_path / "plain" / split / "cat"
        folder.mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    plain = f"--dataset=folder:{tmp_path / 'plain'}", f"--data_dir={tmp_path / 'data'}"
    ran = run(workdir, tmp_path / "out", *plain, "--count=2")
    assert ran.code == 2
    last = ran.err.replace("\r", "\n").strip().splitlines()[-1]
    assert last.startswith("scores: parts: the data set has no boxes")
    assert not (tmp_path / "out").exists()
