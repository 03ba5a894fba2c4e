"""Forward passes of whole images that many units share, compared with crops."""

import collections
import concurrent.futures
import math
import time

import jax
import numpy as np
import pytest

from tests.probes.toy_nets import NET, TRUNK, everywhere
from zf_jax import geometry
from zf_jax.probes import (
    compiled_passes,
    controls,
    forward_cache,
    projection,
    unit_projector,
)


@pytest.mark.parametrize(
    ("layer", "rule"),
    [
        ("b", "deconvnet"),
        pytest.param("a", "guided", marks=pytest.mark.slow),
        pytest.param("c", "gradient", marks=pytest.mark.slow),
    ],
)
def test_units_that_share_an_image(trunk, layer, rule, monkeypatch):
    params, images = trunk
    best = everywhere(TRUNK, layer)
    own = best.images[0] == 0
    best = jax.tree.map(lambda part: part[:, own], best)

    def project(shared):
        monkeypatch.setattr(projection.Projector, "_is_shared", lambda *_: shared)
        return projection.project(
            TRUNK, params, images, best, layer=layer, rule=rule, batch_size=3
        )

    patches, want = project(False)
    same, found = project(True)
    np.testing.assert_array_equal(same, patches)
    largest = np.abs(want).max(axis=(2, 3, 4), keepdims=True)
    assert (np.abs(found - want) <= 1e-5 * largest).all()
    assert (largest > 0).mean() > 0.2


def counted(monkeypatch):
    """How often forward passes of whole images are run, and of crops."""
    counts, forward = collections.Counter(), compiled_passes.forward

    def counting(net, kernels, params, images, *rest, **settings):
        counts["whole" if len(images) == 1 else "crops"] += 1
        return forward(net, kernels, params, images, *rest, **settings)

    monkeypatch.setattr(compiled_passes, "forward", counting)
    return counts


@pytest.mark.parametrize("full", [False, True])
def test_an_image_is_kept_for_later(trunk, monkeypatch, full):
    params, images = trunk
    if full:
        monkeypatch.setattr(forward_cache.ForwardCache, "is_full", lambda _: True)
    best = {layer: everywhere(TRUNK, layer) for layer in ("b", "c")}
    maps = {"b": [4, 0], "c": [0, 1, 3, 4]}
    calls = [("b", [0, 4]), ("c", [3, 0]), ("c", [1, 4])]

    def project_alone(layer, some):
        return projection.project(
            TRUNK, params, images, best, layer=layer, channels=some
        )

    wanted = [project_alone(*call) for call in calls]
    counts = counted(monkeypatch)
    projector = projection.Projector(TRUNK, params, images, best, maps, batch_size=2)
    for call, want in zip(calls, wanted, strict=True):
        for one, other in zip(projector.project(*call), want, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6 * np.abs(other).max())
    # Without room an image is run for every call, where that is worth it.
    assert counts["whole"] == (2 if full else 1)
    assert not projector._cache._kept


def test_no_batch_of_traces_too_large_is_shared(trunk, monkeypatch):
    params, images = trunk
    counts, best = counted(monkeypatch), everywhere(TRUNK, "c")
    bytes_ = forward_cache.ForwardCache(TRUNK, params, "gradient").bytes
    # Of all maps, float32.
    entries = [math.prod(s.maps) for s in geometry.shapes(TRUNK).values()]
    assert 4 * sum(entries) < bytes_ < 5 * sum(entries)
    for most in (2 * bytes_ - 1, 2 * bytes_):
        monkeypatch.setattr(forward_cache, "MAX_CACHE_BYTES", most)
        settings = {"layer": "c", "rule": "gradient", "batch_size": 2}
        projection.project(TRUNK, params, images, best, **settings)
    assert counts["whole"] == 1


def test_an_image_is_run_once_from_any_thread():
    runs = []

    def run(image):
        time.sleep(0.05)
        runs.append(image)
        return image

    cached = forward_cache.CachedForward(run, "image")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = [pool.submit(cached.trace) for _ in range(8)]
    assert [each.result() for each in found] == ["image"] * 8
    assert runs == ["image"]


def test_pages_compile_once(trunk, compilations):
    params, images = trunk
    best = {"c": everywhere(TRUNK, "c")}
    projector = projection.Projector(TRUNK, params, images, best, {"c": None})
    projector.project("c", [0, 1])
    with compilations() as found:
        # Other maps, and a last batch that is not full.
        projector.project("c", [4])
        projection.project(TRUNK, params, images, best, layer="c", channels=[2, 3, 4])
    assert found == []


@pytest.mark.slow
def test_dense_layers_share_an_image(params, found):
    images, best = found
    maps = {"layer2": None, "layer3": None, "layer4": [2, 0]}
    projector = projection.Projector(NET, params, images, best, maps, rule="guided")
    for layer, each in maps.items():
        given = {"layer": layer, "channels": each, "rule": "guided", "batch_size": 1}
        want = projection.project(NET, params, images, best, **given)
        for one, other in zip(projector.project(layer, each), want, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())


def test_what_is_shared(trunk, monkeypatch):
    params, images = trunk
    costs = unit_projector.unit_cost(TRUNK, "c", "deconvnet")
    enough = forward_cache.forward_cost(TRUNK, "deconvnet") // costs + 1
    best = everywhere(TRUNK, "c")
    own = np.flatnonzero(best.images[0] == 0)

    def shared(maps, units, control=None):
        some = jax.tree.map(lambda part: part[:, own[:units]], best)
        counts = counted(monkeypatch)
        projection.Projector(
            TRUNK,
            params,
            images,
            {"c": some},
            {"c": maps},
            batch_size=2,
            control=control,
        ).project("c", maps)
        return counts["whole"] > 0

    assert enough <= len(own)
    assert shared([0], enough)
    assert not shared([0], enough - 1)
    # A control looks at more of a trace than is kept.
    assert not shared([0], enough, controls.centre_switches())
