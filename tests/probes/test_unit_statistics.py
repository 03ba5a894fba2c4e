"""Statistics of units by hand, and by NumPy and SciPy where they have them."""

import numpy as np
import pytest
import scipy.stats

from zf_jax.probes import unit_statistics

# Six images, three units; the second is the first's double, the third is dead.
VALUES = np.array(
    [[1, 2, 0], [0, 0, 0], [4, 8, 0], [3, 6, 0], [0, 0, 0], [4, 8, 0]], np.float32
)
LABELS = np.array([0, 1, 0, 0, 1, 2])


def test_strongest():
    # Images 2 and 5 are equal: in their order.
    found = unit_statistics.strongest(VALUES, 3)
    np.testing.assert_array_equal(found[0], [2, 5, 3])
    np.testing.assert_array_equal(found[2], [0, 1, 2])


def test_strongest_of_fewer_images():
    found = unit_statistics.strongest(VALUES[:2], 3)
    np.testing.assert_array_equal(found[0], [0, 1, -1])


def test_quantiles():
    # In order: images 1, 4, 0, 3, 2, 5; rank 2.5 rounds to the even one, 2.
    found = unit_statistics.at_quantiles(VALUES, np.array([0.0, 0.5, 1.0]))
    np.testing.assert_array_equal(found[0], [1, 0, 5])


def test_firing_rate():
    np.testing.assert_allclose(unit_statistics.firing_rate(VALUES), [4 / 6, 4 / 6, 0])


def test_class_means():
    # Class 3 has no image.
    found = unit_statistics.class_means(VALUES, LABELS, 4)
    np.testing.assert_allclose(found[0], [8 / 3, 0, 4, np.nan])
    np.testing.assert_allclose(found[1], [16 / 3, 0, 8, np.nan])


def test_selectivity():
    # Of the first unit: (4 - 4/3) / (4 + 4/3); one that is never positive has none.
    found = unit_statistics.selectivity(unit_statistics.class_means(VALUES, LABELS, 4))
    np.testing.assert_allclose(found, [0.5, 0.5, np.nan])


@pytest.mark.parametrize(
    ("means", "want"),
    [([[0.0, 3.0]], 1.0), ([[2.0, 2.0]], 0.0), ([[-1.0, 5.0]], 1.0), ([[5.0]], np.nan)],
)
def test_selectivity_at_its_ends(means, want):
    np.testing.assert_allclose(unit_statistics.selectivity(np.array(means)), [want])


def test_histogram():
    edges, counts = unit_statistics.histogram(VALUES, bins=4)
    np.testing.assert_allclose(edges[1], [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(counts[:2], [[2, 1, 0, 3], [2, 1, 0, 3]])
    assert counts[2].sum() == 6


def test_alike():
    rng = np.random.default_rng(0)
    # More rows than are correlated at a time; a unit that is constant among them.
    values = rng.normal(size=(5000, 6)).astype(np.float32)
    values[:, 4] = values[:, 1] + 0.1 * rng.normal(size=5000)
    values[:, 5] = 7
    units, correlations = unit_statistics.alike(values, 3)
    assert units[1, 0] == 4
    assert units[4, 0] == 1
    want = scipy.stats.pearsonr(values[:, 1], values[:, 4]).statistic
    np.testing.assert_allclose(correlations[[1, 4], 0], want, rtol=1e-4)
    assert not np.any(correlations[5])


def test_alike_of_few_units():
    units, correlations = unit_statistics.alike(VALUES, 6)
    assert units.shape == correlations.shape == (3, 2)
    np.testing.assert_allclose(correlations[0], [1, 0], atol=1e-12)
