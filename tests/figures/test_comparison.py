"""Fig. 6's sheet: nets of one size and of two, one of them nearly dead."""

import numpy as np
import pytest

from tests.figures.test_plates import assert_drawn
from zf_jax.figures import comparison, sheets

RNG = np.random.default_rng(0)


def net(name, size, maps, stride):
    kernel = RNG.normal(size=(size, size, 3, maps))
    rms, folded = RNG.random(maps) * 0.3, RNG.random(maps)
    return comparison.Filters(name, kernel, (stride,) * 2, rms, (0.2, 0.5, 0.3), folded)


@pytest.mark.parametrize(
    "nets",
    [
        [net("one", 7, 96, 2), net("other", 11, 96, 4)],
        [net("small", 5, 6, 2), net("smaller", 3, 1, 1)],
        [
            net("live", 7, 32, 2),
            net("dead", 7, 32, 2)._replace(
                kernel=np.zeros((7, 7, 3, 32)), rms=np.zeros(32), aliased=np.zeros(32)
            ),
        ],
    ],
    ids=["the paper's", "small", "dead"],
)
def test_filters(tmp_path, nets):
    path = comparison.filters(
        nets,
        bands=("above 8", "8 to 4", "below 4"),
        flat=(0.05, 0.15, 0.8),
        limit=0.1,
        path=tmp_path / "filters.png",
    )
    assert_drawn(path, tmp_path)


def test_one_scale_shows_which_filter_dominates():
    # Two filters of one picture, one ten times as large.
    kernel = np.stack([np.ones((5, 5, 3)), 10 * np.ones((5, 5, 3))], axis=-1)
    own, together = (
        sheets.filter_sheet(kernel, together=each)[0, [0, -1], 0]
        for each in (False, True)
    )
    np.testing.assert_allclose(own, [1, 1])
    # By hand: grey is 0.5, and a tenth of the way to white.
    np.testing.assert_allclose(together, [0.55, 1])
