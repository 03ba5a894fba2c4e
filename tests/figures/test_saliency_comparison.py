"""The figure of saliency maps and curves, the table as text."""

import numpy as np

from tests.figures import pngs
from zf_jax.figures import saliency_comparison


def test_table_keeps_the_order():
    rows = {
        "occlusion": {"points at parts": (0.5, 0.01), "deletion": (0.1, 0.02)},
        "deconvnet": {"points at parts": (1.0, 0.0), "deletion": (0.2, 0.03)},
    }
    head, first, second = saliency_comparison.table(rows).splitlines()
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


def test_draw(tmp_path):
    rng = np.random.default_rng(0)
    saliency = saliency_comparison.SaliencyMaps(
        rng.random((2, 16, 20, 3)),
        {
            "silhouette": rng.random((2, 16, 20)) > 0.5,
            "parts": np.ones((2, 16, 20), bool),
        },
        # One that is zero, and one with negative values.
        {"zero": np.zeros((2, 16, 20)), "signed": rng.normal(size=(2, 16, 20))},
        ["cat", "dog"],
    )
    curves = {
        metric: {"zero": np.linspace(1, 0, 9), "signed": np.ones(9)}
        for metric in ("deletion", "insertion")
    }
    path = tmp_path / "it.png"
    saliency_comparison.draw(saliency, curves, title="a title", path=path)
    pngs.assert_drawn(path, tmp_path)
