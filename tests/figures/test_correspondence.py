"""Fig. 8: a picture of the boxes, Table 1 as text."""

import numpy as np

from tests.figures import pngs
from zf_jax.figures import correspondence

SCORES = {
    "nose": {"layer5": {"all": (0.25, 0.01), "changed": (0.5, 0.02)}},
    "random": {"layer5": {"all": (0.5, 0.1), "changed": (0.75, 0.2)}},
}


def test_table():
    paper = {"random": {"layer5": (0.107, 0.017), "layer7": (0.073, 0.014)}}
    text = correspondence.table(SCORES, paper=paper)
    head, nose, random, *note = text.splitlines()
    assert head.startswith("covered")
    assert head.endswith("layer5, all   layer5, changed     layer5, paper")
    assert nose.strip().endswith("0.250 +- 0.010    0.500 +- 0.020")
    assert random.split()[-3:] == ["0.107", "+-", "0.017"]
    assert len(head) == len(random) == len(nose)
    assert "paper" in note[-1]
    assert "paper" not in correspondence.table(SCORES, paper={})


def test_columns_of_long_names_are_apart():
    name = "stage3_block1/Conv_0/relu_1"
    scores = {"nose": {name: SCORES["nose"]["layer5"]}}
    head, nose, *_ = correspondence.table(scores, paper={}).splitlines()
    assert head.endswith(f"  {name}, all  {name}, changed")
    assert len(head) == len(nose)


def test_draw(tmp_path):
    images = np.random.default_rng(0).uniform(size=(2, 40, 30, 3))
    boxes = np.array([[[0, 0, 9, 9], [30, 20, 40, 30]]] * 2)
    path = correspondence.draw(
        images,
        boxes,
        ["nose", "random"],
        fill=np.full(3, 0.5),
        table=correspondence.table(SCORES, paper={}),
        title="a title",
        path=tmp_path / "it.png",
    )
    pngs.assert_drawn(path, tmp_path)


def test_boxes_are_covered():
    images = np.zeros((1, 4, 4, 3))
    covered = correspondence._covered(images, np.array([[[1, 0, 3, 2]]]), np.ones(3))
    assert covered.shape == (2, 4, 4, 3)
    assert not covered[0].any()
    # By hand: rows 1 and 2, columns 0 and 1.
    rows, columns = np.nonzero(covered[1, ..., 0])
    assert sorted(zip(rows, columns, strict=True)) == [(1, 0), (1, 1), (2, 0), (2, 1)]
