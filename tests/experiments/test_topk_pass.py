"""A pass over images that is kept, gone on from, and not taken for another's."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from experiments.common import model, topk_pass
from zf_jax import convnet
from zf_jax import model as models
from zf_jax.probes import topk

SIZE, BATCH = 22, 4


class Images:
    """Random pixels, and which of them were looked at."""

    key = "some images"
    batch_size = BATCH
    sizes_differ = False

    def __init__(self, loaded, stop=None):
        self._pixels = np.random.default_rng(0).integers(
            0, 256, (SIZE, *loaded.crop_size, 3), np.uint8
        )
        self._stop, self.seen = stop, []

    def __len__(self):
        return SIZE

    def batches(self, start=0, shard=None):
        for first in range(start, SIZE, BATCH):
            if first == self._stop:
                raise KeyboardInterrupt
            self.seen.append(first)
            yield self._pixels[first : first + BATCH]


@pytest.fixture(scope="module")
def loaded(toy):
    network = convnet.ConvNet(toy.net, kernel_init=jax.nn.initializers.he_normal())
    images = np.zeros((1, *toy.net.input.size, 3), np.float32)
    params = network.init(jax.random.key(0), images)["params"]
    return model.LoadedModel(models.of_spec(toy.net, params), 0, toy.net.input.size)


def run(loaded, data, path, layers=("layer1", "layer3"), k=3):
    return topk_pass.scan(loaded, data, layers, k=k, path=path)


def assert_same(one, other):
    assert set(one) == set(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def wanted(loaded, tmp_path_factory):
    return run(loaded, Images(loaded), tmp_path_factory.mktemp("whole") / "pass.npz")


def test_is_what_the_gallery_gives(loaded, wanted, toy):
    network = convnet.ConvNet(toy.net)

    def read_maps(pixels):
        params = {"params": loaded.model.params}
        _, trace = network.apply(params, convnet.prepare(pixels, toy.net.input))
        return {layer: trace.maps[layer] for layer in ("layer1", "layer3")}

    data = Images(loaded)
    assert_same(wanted, topk.scan(read_maps, data.batches(), k=3))


@pytest.mark.parametrize("stop", [8, 20])
def test_goes_on_where_it_was_interrupted(loaded, wanted, tmp_path, stop):
    path = tmp_path / "pass.npz"
    with pytest.raises(KeyboardInterrupt):
        run(loaded, Images(loaded, stop), path)
    data = Images(loaded)
    assert_same(run(loaded, data, path), wanted)
    assert data.seen[0] == stop


def test_is_kept_as_it_goes(loaded, wanted, tmp_path, monkeypatch):
    # As if the process were killed: what is kept is from before, not from the end.
    path, kept = tmp_path / "pass.npz", []
    clock = itertools.count(0, 100)
    monkeypatch.setattr(topk_pass.time, "monotonic", lambda: next(clock))
    save = topk_pass._save
    monkeypatch.setattr(
        topk_pass, "_save", lambda *a: (save(*a), kept.append(path.read_bytes()))
    )
    run(loaded, Images(loaded), path)
    assert len(kept) > 3
    path.write_bytes(kept[1])
    data = Images(loaded)
    assert_same(run(loaded, data, path), wanted)
    assert data.seen[0] == 8


def test_is_not_done_twice(loaded, wanted, tmp_path):
    path, data = tmp_path / "pass.npz", Images(loaded)
    run(loaded, Images(loaded), path)
    assert_same(run(loaded, data, path), wanted)
    assert data.seen == []


def test_another_pass_starts_over(loaded, tmp_path):
    path = tmp_path / "pass.npz"
    run(loaded, Images(loaded), path)
    changed = jax.tree.map(lambda leaf: leaf * 2, loaded.model.params)
    for net, more in (
        (loaded, {"k": 2}),
        (loaded, {"layers": ("layer1",)}),
        (dataclasses.replace(loaded, model=loaded.model.with_params(changed)), {}),
    ):
        data = Images(loaded)
        run(net, data, path, **more)
        assert data.seen[0] == 0
    data = Images(loaded)
    data.key = "other images"
    run(loaded, data, path)
    assert data.seen[0] == 0


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "pickle"])
def test_a_damaged_file_is_set_aside(loaded, wanted, tmp_path, capsys, damage):
    path = tmp_path / "pass.npz"
    run(loaded, Images(loaded), path)
    whole = path.read_bytes()
    if damage == "pickle":
        np.savez(path, key=np.array([{}], object))
    else:
        left = {"cut": whole[: len(whole) // 2], "text": b"no", "empty": b""}
        path.write_bytes(left[damage])
    before, data = path.read_bytes(), Images(loaded)
    assert_same(run(loaded, data, path), wanted)
    assert data.seen[0] == 0
    assert (tmp_path / "pass.damaged").read_bytes() == before
    assert "pass.npz: damaged, set aside as pass.damaged" in capsys.readouterr().out
