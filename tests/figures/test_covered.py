"""Fig. 8: a picture of the boxes, the table as text."""

import numpy as np

from tests.experiments.commands import assert_png
from zf_jax.figures import correspondence

ROWS = {
    "nose": {"layer5": {"all": (0.25, 0.01), "changed": (0.5, 0.02)}},
    "random": {"layer5": {"all": (0.5, 0.1), "changed": (0.75, 0.2)}},
}


def test_table():
    beside = {"random": {"layer5": (0.107, 0.017), "layer7": (0.073, 0.014)}}
    text = correspondence.table(ROWS, paper=beside)
    head, nose, random, *note = text.splitlines()
    assert head.startswith("covered")
    assert head.endswith("layer5, all   layer5, changed     layer5, paper")
    assert nose.strip().endswith("0.250 +- 0.010    0.500 +- 0.020")
    assert random.split()[-3:] == ["0.107", "+-", "0.017"]
    assert len(head) == len(random) == len(nose)
    assert "paper" in note[-1]
    assert "paper" not in correspondence.table(ROWS, paper={})


def test_plate(tmp_path):
    rng = np.random.default_rng(0)
    pictures = rng.uniform(size=(2, 40, 30, 3))
    boxes = np.array([[[0, 0, 9, 9], [30, 20, 40, 30]]] * 2)
    path = correspondence.plate(
        pictures,
        boxes,
        ["nose", "random"],
        grey=np.full(3, 0.5),
        table=correspondence.table(ROWS, paper={}),
        title="a title",
        path=tmp_path / "plate.png",
    )
    assert_png(path)
