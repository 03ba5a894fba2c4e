"""Scores of maps whose scores are known; deletion and insertion in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from zf_jax.errors import BadInput
from zf_jax.probes import saliency_metrics


@pytest.fixture
def regions():
    found = np.zeros((3, 12, 10), bool)
    found[0, 2:5, 3:9] = True
    found[1, 0, 0] = True
    found[2, 6:, :] = True
    return found


def test_a_map_that_is_the_region_and_one_that_is_the_rest(regions):
    for score in (saliency_metrics.pointing_game, saliency_metrics.energy_fraction):
        np.testing.assert_array_equal(score(regions.astype("f4"), regions), 1)
        np.testing.assert_array_equal(score(~regions * np.float32(2), regions), 0)


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-38])
def test_a_map_that_says_nothing_is_a_guess(regions, value):
    maps = np.full(regions.shape, value, "f4")
    share = regions.mean(axis=(1, 2))
    np.testing.assert_allclose(saliency_metrics.pointing_game(maps, regions), share)
    np.testing.assert_allclose(saliency_metrics.energy_fraction(maps, regions), share)
    # Below zero everywhere: no energy, and a maximum that is everywhere.
    np.testing.assert_allclose(
        saliency_metrics.energy_fraction(maps - 1, regions), share
    )


def test_a_region_that_is_empty(regions):
    maps = np.random.default_rng(0).random(regions.shape)
    for score in (saliency_metrics.pointing_game, saliency_metrics.energy_fraction):
        np.testing.assert_array_equal(score(maps, np.zeros_like(regions)), 0)
    np.testing.assert_array_equal(
        saliency_metrics.pointing_game(maps, np.zeros_like(regions), tolerance=3), 0
    )


def test_the_maximum_alone_counts_and_may_lie_beside(regions):
    maps = np.random.default_rng(0).random(regions.shape)
    # Three rows below the region's last, two columns right of it.
    maps[0, 7, 1] = 2.0
    for tolerance, hit in ((0, 0), (3.6, 0), (3.61, 1), (4, 1)):
        # Its nearest pixel, (4, 3), is sqrt(9 + 4) = 3.606 away.
        found = saliency_metrics.pointing_game(
            maps[:1], regions[:1], tolerance=tolerance
        )
        assert found == hit


def test_energy_by_hand():
    maps = np.array([[[1.0, 3.0], [-5.0, 4.0]]])
    region = np.array([[[True, False], [True, True]]])
    assert saliency_metrics.energy_fraction(maps, region) == pytest.approx(5 / 8)


def test_maps_that_are_none(regions):
    maps = np.zeros(regions.shape)
    for score in (saliency_metrics.pointing_game, saliency_metrics.energy_fraction):
        with pytest.raises(BadInput, match=r"maps of shape \(2, 12, 10\)"):
            score(maps[:2], regions)
        maps[1, 2, 3] = np.nan
        with pytest.raises(BadInput, match="are NaN"):
            score(maps, regions)
        maps[:] = 0


RNG = np.random.default_rng(3)
WEIGHTS = RNG.normal(size=(7, 6, 3, 4)).astype("f4")


def linear(images):
    return jnp.einsum("nhwc,hwcl->nl", images, WEIGHTS, precision="highest")


@pytest.mark.parametrize("step", [1, 5, 42, 50])
@pytest.mark.parametrize("batch_size", [4, 64])
def test_a_linear_function_in_closed_form(step, batch_size):
    images = RNG.normal(size=(3, 7, 6, 3)).astype("f4")
    maps = RNG.random((3, 7, 6)).astype("f4")
    labels = np.array([2, 0, 3])
    fill = 0.25
    given = {"step": step, "batch_size": batch_size}
    deleted = saliency_metrics.deletion(
        linear, images, maps, labels, fill=fill, **given
    )
    inserted = saliency_metrics.insertion(linear, images, maps, labels, **given)
    blurred = saliency_metrics.blur(images)
    total = -(-42 // step)
    assert deleted.shape == inserted.shape == (3, total + 1)
    for n, label in enumerate(labels):
        weights = WEIGHTS[..., label]
        order = np.argsort(-maps[n].ravel())
        counts = np.minimum(step * np.arange(total + 1), 42)
        for curve, first, last in (
            (deleted[n], images[n], np.full_like(images[n], fill)),
            (inserted[n], blurred[n], images[n]),
        ):
            # Each pixel that turns adds its weights times its change.
            gains = ((last - first) * weights).sum(axis=-1).ravel()[order]
            sums = np.concatenate([[0], np.cumsum(gains)])[counts]
            want = (first * weights).sum() + sums
            np.testing.assert_allclose(curve, want, atol=2e-5)
            # RISE's own formula of the area.
            area = (want.sum() - want[0] / 2 - want[-1] / 2) / total
            assert saliency_metrics.auc(np.asarray(curve)[None])[0] == pytest.approx(
                area, abs=2e-5
            )


def test_a_map_of_zeros_goes_in_reading_order():
    images = RNG.random((1, 7, 6, 3)).astype("f4")
    zero = saliency_metrics.deletion(linear, images, np.zeros((1, 7, 6)), [1], step=6)
    falling = -np.arange(42.0).reshape(1, 7, 6)
    by_rows = saliency_metrics.deletion(linear, images, falling, [1], step=6)
    np.testing.assert_array_equal(zero, by_rows)
    assert np.isfinite(np.asarray(zero)).all()


def test_blur_is_that_of_rise():
    # Its kernel, as its code makes it: a Gaussian of a point in 11 x 11 pixels.
    point = np.zeros((11, 11))
    point[5, 5] = 1
    kernel = gaussian_filter(point, 5)
    image = np.zeros((1, 31, 31, 2))
    image[0, 15, 14, 1] = 1
    found = saliency_metrics.blur(image)
    np.testing.assert_allclose(found[0, 10:21, 9:20, 1], kernel, atol=1e-12)
    assert found[..., 1].sum() == pytest.approx(1)
    assert not found[..., 0].any()
    # Beyond the border there are zeros.
    assert saliency_metrics.blur(np.ones((1, 31, 31, 1)))[0, 0, 0, 0] < 0.5


def test_compiled_once(compilations):
    def run():
        images = jax.random.normal(jax.random.key(1), (2, 7, 6, 3))
        return saliency_metrics.deletion(
            linear, images, np.zeros((2, 7, 6)), [0, 1], step=5
        )

    run()
    with compilations() as found:
        run()
    assert not found


def test_wrong_steps_and_shapes():
    images = np.zeros((2, 7, 6, 3), "f4")
    with pytest.raises(BadInput, match="step 0"):
        saliency_metrics.deletion(linear, images, np.zeros((2, 7, 6)), [0, 1], step=0)
    with pytest.raises(BadInput, match=r"maps of shape \(2, 6, 7\)"):
        saliency_metrics.insertion(linear, images, np.zeros((2, 6, 7)), [0, 1], step=1)
