"""The sheets of first-layer filters, of controls, and of a data set's images."""

import numpy as np

from tests.figures import pngs
from zf_jax.figures import (
    contact_sheet,
    control_sheet,
    filter_comparison,
    filter_sheet,
)

RNG = np.random.default_rng(0)


def test_filter_sheet(tmp_path):
    kernel = RNG.normal(size=(7, 7, 3, 32))
    path = filter_sheet.draw(kernel, title="filters", path=tmp_path / "filters.png")
    pngs.assert_drawn(path, tmp_path)


def test_a_shared_scale_shows_which_filter_dominates():
    # Two filters of one picture, one ten times as large.
    kernel = np.stack([np.ones((5, 5, 3)), 10 * np.ones((5, 5, 3))], axis=-1)
    own, shared = (
        filter_sheet.filter_grid(kernel, shared_scale=each)[0, [0, -1], 0]
        for each in (False, True)
    )
    np.testing.assert_allclose(own, [1, 1])
    # By hand: grey is 0.5, and a tenth of the way to white.
    np.testing.assert_allclose(shared, [0.55, 1])


def first_layer(name, size, filters, stride, kernel_scale=1.0):
    kernel = kernel_scale * RNG.normal(size=(size, size, 3, filters))
    rms, aliased = RNG.random(filters) * 0.3, RNG.random(filters)
    bands = 0.2, 0.5, 0.3
    return filter_comparison.FirstLayer(
        name, kernel, (stride,) * 2, rms, bands, aliased
    )


def test_filter_comparison(tmp_path):
    # One net has a single filter, one is dead.
    nets = [first_layer("live", 11, 1, 4), first_layer("dead", 7, 32, 2, 0)]
    path = filter_comparison.draw(
        nets,
        bands=("above 8", "8 to 4", "below 4"),
        white_noise=(0.05, 0.15, 0.8),
        rms_limit=0.1,
        path=tmp_path / "filters.png",
    )
    pngs.assert_drawn(path, tmp_path)


def test_control_sheet(tmp_path):
    shape = (3, 30, 20, 3)
    projections = {f"control {i}\nin two lines": RNG.normal(size=shape) for i in (0, 1)}
    # One that is silent.
    projections["control 0\nin two lines"][0] = 0
    path = control_sheet.draw(
        RNG.random(shape),
        projections,
        [f"map {i}" for i in range(3)],
        title="a projection and its controls",
        path=tmp_path / "controls.png",
    )
    pngs.assert_drawn(path, tmp_path)


def test_contact_sheet(tmp_path):
    rows = {
        "cat": list(RNG.random((4, 16, 16, 3))),
        "dog": list(RNG.random((2, 9, 9, 3))),
        "none of these": [],
    }
    path = contact_sheet.draw(rows, title="a sheet", path=tmp_path / "sheet.png")
    pngs.assert_drawn(path, tmp_path)
