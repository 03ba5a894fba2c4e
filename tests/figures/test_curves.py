"""Curves over training and of transfer."""

import numpy as np

from tests.figures import pngs
from zf_jax.figures import curves


def test_draw_training(tmp_path):
    rows = [
        {
            "epoch": epoch,
            "train_loss": 2.0 / epoch,
            "loss": 2.1 / epoch,
            "train_top1": 1 - 1 / (epoch + 1),
            "top1": 1 - 1.1 / (epoch + 1),
            "top5": 1.0,
        }
        for epoch in range(1, 4)
    ]
    path = tmp_path / "curve.png"
    curves.draw_training(rows[:1], path)
    before = pngs.read(path)
    # Every epoch draws it anew.
    curves.draw_training(rows, path)
    assert not np.array_equal(pngs.assert_drawn(path, tmp_path), before)


def test_draw_transfer(tmp_path, kept):
    by_layer = {"softmax": {"layer1": (40.0, 2.0), "layer2": (60.0, np.nan)}}
    by_images = {"ours": {1: (20.0, 3.0), 5: (50.0, 1.0)}, "paper": {5: (60.0, 0.5)}}
    curves.draw_transfer(
        by_layer, by_images, images=5, chance=10, title="t", path=tmp_path / "it.png"
    )
    left, right = kept[0].axes
    assert left.get_legend_handles_labels()[1] == ["chance", "softmax"]
    np.testing.assert_array_equal(right.containers[0][0].get_xdata(), [1, 5])
    np.testing.assert_array_equal(right.containers[0][0].get_ydata(), [20, 50])
    # The paper's curves are dashed.
    assert [each[0].get_linestyle() for each in right.containers] == ["-", "--"]
