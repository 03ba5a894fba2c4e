"""`experiments.scores` as a user runs it."""

import json

import numpy as np
import pytest

from experiments.common import dataset, model
from experiments.scores import maps
from tests.experiments.commands import assert_one_line, assert_png, command
from zf_jax.errors import BadInput


def scores(run, out, *more, **how):
    given = f"--checkpoint={run}", f"--out={out}", "--side=8", "--stride=4"
    return command("experiments.scores", *given, *more, **how)


def test_table_and_picture(run, creatures_dir, tmp_path):
    given = f"--data_dir={creatures_dir}", "--count=12", "--steps=4"
    ran = scores(run, tmp_path, *given)
    assert [path.name for path in ran.written] == ["scores.png", "scores.json"]
    assert_png(tmp_path / "scores.png")
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found["images"] == 12
    assert "within 0 pixels" in ran.out
    names = ["occlusion", "deconvnet", "guided", "gradient", "centre", "random"]
    assert list(found["scores"]) == names
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


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        ("--count=51", "--count=51: creatures/64, validation has 50 images"),
        ("--upto=layer5", "small has no classes"),
        ("--images=cat.png", "--images: files have no annotations"),
    ],
)
def test_refuses(run, tmp_path, given, culprit):
    ran = scores(run, tmp_path / "out", given, fails=True)
    assert_one_line(ran, culprit)
    assert not (tmp_path / "out").exists()


def test_a_data_set_without_annotations(run):
    loaded = model.from_run(run)
    data = dataset.Dataset(dataset.DataConfig(), loaded)
    bare = {"image": data.example(0)["image"], "label": 0}
    data.source = data.source._replace(examples=[bare])
    with pytest.raises(BadInput, match="parts: the data set has no boxes"):
        maps.regions(data, np.array([0]))
