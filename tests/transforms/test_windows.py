"""Intervals and the regions around them, of many positions at once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from zf_jax.transforms import windows
from zf_jax.transforms.windows import Interval, Region

QUICK = settings(max_examples=50, deadline=None, derandomize=True)


@st.composite
def intervals(draw, length=None):
    """An interval at some positions; positions where nothing changes are among them."""
    length = length or draw(st.integers(1, 20))
    ends = st.integers(0, length)
    pairs = draw(st.lists(st.tuples(ends, ends).map(sorted), min_size=1, max_size=4))
    low, high = np.array(pairs).T
    return Interval(low, high, length)


def marked(interval: Interval) -> np.ndarray:
    """[T, length]: what changed."""
    entries = np.arange(interval.axis_length)
    return (entries >= interval.low[:, None]) & (entries < interval.high[:, None])


def assert_around(interval: Interval, changed: np.ndarray):
    """The interval begins and ends with what changed, and holds it all."""
    assert interval.axis_length == changed.shape[1]
    for low, high, entries in zip(interval.low, interval.high, changed, strict=True):
        assert 0 <= low <= high <= interval.axis_length
        where = np.flatnonzero(entries)
        if len(where):
            assert (low, high) == (where[0], where[-1] + 1)


def assert_in_region(region: Region, interval: Interval):
    """Windows of one size, within the map, around what changed."""
    assert 1 <= region.size <= interval.axis_length
    assert (region.first >= 0).all()
    assert (region.first + region.size <= interval.axis_length).all()
    changed = interval.low < interval.high
    assert (region.first <= interval.low)[changed].all()
    assert (region.first + region.size >= interval.high)[changed].all()
    # The smallest that suits all positions.
    assert region.size == max(1, (interval.high - interval.low).max())


@QUICK
@given(st.data(), st.integers(1, 20), st.integers(1, 3))
def test_union_is_around_all_of_them(data, length, count):
    positions = data.draw(st.integers(1, 4))
    found = [
        Interval(*np.sort(data.draw(_ends(length, positions)), axis=0), length)
        for _ in range(count)
    ]
    union = windows.union(found)
    assert_around(union, np.any([marked(interval) for interval in found], axis=0))
    assert_in_region(union.region, union)


def _ends(length, positions):
    ends = st.lists(st.integers(0, length), min_size=positions, max_size=positions)
    return st.tuples(ends, ends).map(np.array)


def test_shape_within_shortens_the_windows_axes_alone():
    interval = Interval(np.array([2]), np.array([5]), 9)
    window = windows.Window((1, 3), (interval, interval._replace(high=np.array([4]))))
    assert window.shape_within((1, 9, 7, 9)) == (1, 3, 7, 2)
