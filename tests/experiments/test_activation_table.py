"""The table of activations: what the maps hold, whatever interrupts the pass."""

import numpy as np
import pytest

from experiments.explore import activation_table
from tests.experiments.test_topk_pass import Images, loaded  # noqa: F401
from zf_jax import convnet

LAYERS = ("layer1", "layer3")


def gather(loaded, data, folder):  # noqa: F811
    return activation_table.gather(loaded, data, LAYERS, folder)


def assert_same(one, other):
    for layer in LAYERS:
        for a, b in zip(one[layer], other[layer], strict=True):
            np.testing.assert_array_equal(a, b)


def test_is_what_the_maps_hold(loaded, toy, tmp_path):  # noqa: F811
    data = Images(loaded)
    found = gather(loaded, data, tmp_path)
    pixels = np.concatenate(list(data.batches()))
    images = convnet.prepare(pixels, toy.net.input)
    _, trace = convnet.ConvNet(toy.net).apply({"params": loaded.model.params}, images)
    maps = np.asarray(trace.maps["layer1"])
    table = found["layer1"]
    np.testing.assert_allclose(table.values, maps.max(axis=(1, 2)), rtol=1e-5)
    image, unit = 17, 2
    row, column = table.positions[image, unit]
    assert maps[image, row, column, unit] == maps[image, ..., unit].max()
    mean = np.maximum(maps, 0).mean(axis=0)
    np.testing.assert_allclose(table.mean_map, mean.transpose(2, 0, 1), rtol=1e-4)
    # Logits, which have no positions, may be negative.
    table = found["layer3"]
    np.testing.assert_allclose(table.values, trace.maps["layer3"], rtol=1e-4, atol=1e-5)
    assert table.mean_map is None
    assert not table.positions.any()


def test_goes_on_where_it_was_interrupted(loaded, tmp_path):  # noqa: F811
    want = gather(loaded, Images(loaded), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        gather(loaded, Images(loaded, 12), tmp_path / "cut")
    rest = Images(loaded)
    assert_same(gather(loaded, rest, tmp_path / "cut"), want)
    assert rest.seen == [12, 16, 20]
    # One that has ended reads nothing; another's images are another pass.
    again = Images(loaded)
    assert_same(gather(loaded, again, tmp_path / "cut"), want)
    assert again.seen == []
    again.key = "other images"
    gather(loaded, again, tmp_path / "cut")
    assert again.seen[0] == 0
