"""What imported nets do along an axis is followed: units see no more than they read."""

import numpy as np
import onnx

from tests.pretrained.graphs import Chain
from zf_jax.pretrained import onnx as onnx_import
from zf_jax.transforms import capture


def test_resizing_and_padding(tmp_path):
    chain = Chain((1, 3, 24, 24))
    chain.add("Pad", np.int64([0, 0, 2, 2, 0, 0, 2, 2]), mode="reflect")
    chain.conv(4, 3, (3, 3)).add("Clip", np.float32(0), np.float32(6))
    twice = np.float32([1, 1, 2, 2])
    chain.add("Resize", "", twice, mode="nearest").conv(4, 4, (3, 3))
    chain.add("Resize", "", twice, mode="linear")
    onnx.save(chain.model(), tmp_path / "net.onnx")
    net = onnx_import.load(tmp_path / "net.onnx", mean=0.0)
    images = np.zeros((1, 24, 24, 3), np.float32)
    table = capture.layers(net.function, images, channels="first")
    seen = {row.name: row.receptive_field for row in table}
    names = [f"made{i}_0" for i in range(6)]
    # 3 positions of twice as many lie in 2, 4 (two neighbours of 3 each) in 3 of them.
    expected = [(1, 1), (3, 3), (3, 3), (3, 3), (4, 4), (5, 5)]
    assert [tuple(seen[name]) for name in names] == expected
