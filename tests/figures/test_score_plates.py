"""The plate of maps and curves, the table as text."""

import numpy as np

from tests.experiments.commands import assert_png
from zf_jax.figures import scores


def test_table_keeps_the_order():
    rows = {
        "occlusion": {"points at parts": (0.5, 0.01), "deletion": (0.1, 0.02)},
        "deconvnet": {"points at parts": (1.0, 0.0), "deletion": (0.2, 0.03)},
    }
    head, first, second = scores.table(rows).splitlines()
    assert head.split() == ["map", "points", "at", "parts", "deletion"]
    assert first.split()[0] == "occlusion"
    assert second.split() == [
        "deconvnet",
        "1.000",
        "+-",
        "0.000",
        "0.200",
        "+-",
        "0.030",
    ]
    assert len(head) == len(first) == len(second)


def test_plate(tmp_path):
    rng = np.random.default_rng(0)
    seen = scores.Seen(
        rng.random((2, 16, 20, 3)),
        {
            "silhouette": rng.random((2, 16, 20)) > 0.5,
            "parts": np.ones((2, 16, 20), bool),
        },
        # One that says nothing, and one below zero.
        {"zero": np.zeros((2, 16, 20)), "signed": rng.normal(size=(2, 16, 20))},
        ["cat", "dog"],
    )
    curves = {
        kind: {"zero": np.linspace(1, 0, 9), "signed": np.ones(9)}
        for kind in ("deletion", "insertion")
    }
    path = scores.plate(seen, curves, title="a title", path=tmp_path / "plate.png")
    assert_png(path)
