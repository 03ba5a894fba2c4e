"""Spans and regions against what a sliding operation in NumPy really does."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from zf_jax.transforms import windows
from zf_jax.transforms.windows import Interval, Region

QUICK = settings(max_examples=200, deadline=None, derandomize=True)


@st.composite
def spans(draw, length=None):
    """A span of some places; places where nothing changes are among them."""
    length = length or draw(st.integers(1, 20))
    ends = st.integers(0, length)
    pairs = draw(st.lists(st.tuples(ends, ends).map(sorted), min_size=1, max_size=4))
    low, high = np.array(pairs).T
    return Interval(low, high, length)


def marked(span: Interval) -> np.ndarray:
    """[T, length]: what changed."""
    entries = np.arange(span.length)
    return (entries >= span.low[:, None]) & (entries < span.high[:, None])


def seen(changed, size, stride, before, after):
    """[T, out]: which sums over sliding windows change, by doing them."""
    padded = np.pad(changed, ((0, 0), (before, after)))
    views = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)
    return views.sum(axis=-1)[:, ::stride] > 0


def assert_around(span: Interval, changed: np.ndarray):
    """The span begins and ends with what changed, and holds it all."""
    assert span.length == changed.shape[1]
    for low, high, entries in zip(span.low, span.high, changed, strict=True):
        assert 0 <= low <= high <= span.length
        where = np.flatnonzero(entries)
        if len(where):
            assert (low, high) == (where[0], where[-1] + 1)


def assert_in_region(region: Region, span: Interval):
    """Windows of one size, within the map, around what changed."""
    assert 1 <= region.size <= span.length
    assert (region.first >= 0).all()
    assert (region.first + region.size <= span.length).all()
    changed = span.low < span.high
    assert (region.first <= span.low)[changed].all()
    assert (region.first + region.size >= span.high)[changed].all()
    # The smallest that suits all places.
    assert region.size == max(1, (span.high - span.low).max())


@QUICK
@given(
    spans(),
    st.integers(1, 7),
    st.integers(1, 5),
    st.tuples(st.integers(0, 6), st.integers(0, 6)),
)
def test_slide_is_what_a_sliding_sum_changes(span, size, stride, padding):
    before, after = padding
    assume(span.length + before + after >= size)
    changed = seen(marked(span), size, stride, before, after)
    slid = windows.slide(span, changed.shape[1], size, stride, before)
    assert_around(slid, changed)
    assert_in_region(slid.region, slid)


@QUICK
@given(spans(), st.integers(1, 7), st.integers(1, 5), st.integers(0, 6))
def test_below_is_what_the_outputs_look_at(span, size, stride, before):
    region = span.region
    looked = windows.below(region, size, stride, before)
    for first, began in zip(region.first, looked.first, strict=True):
        at = [
            output * stride - before + entry
            for output in range(first, first + region.size)
            for entry in range(size)
        ]
        assert (min(at), max(at) + 1) == (began, began + looked.size)


@QUICK
@given(st.data(), st.integers(1, 20), st.integers(1, 3))
def test_box_is_around_all_of_them(data, length, count):
    places = data.draw(st.integers(1, 4))
    found = [
        Interval(*np.sort(data.draw(_ends(length, places)), axis=0), length)
        for _ in range(count)
    ]
    boxed = windows.box(found)
    assert_around(boxed, np.any([marked(span) for span in found], axis=0))
    assert_in_region(boxed.region, boxed)


def _ends(length, places):
    ends = st.lists(st.integers(0, length), min_size=places, max_size=places)
    return st.tuples(ends, ends).map(np.array)


@QUICK
@given(spans(), st.integers(-5, 5), st.integers(-5, 5))
def test_shift_is_padding_ahead(span, before, after):
    length = span.length + before + after
    assume(length >= 1)
    changed = marked(span)
    # Padding below 0 takes entries away.
    changed = np.pad(changed, ((0, 0), (max(before, 0), max(after, 0))))
    changed = changed[:, max(-before, 0) :][:, :length]
    assert_around(windows.shift(span, before, length), changed)


def test_at_is_some_of_the_places():
    span = Interval(np.array([0, 3, 5]), np.array([4, 5, 6]), 8).at(np.array([2, 1]))
    np.testing.assert_array_equal(span.low, [5, 3])
    np.testing.assert_array_equal(span.high, [6, 5])
    # Of the two that are left the larger has two entries.
    assert (span.size, span.length) == (2, 8)


def test_regions_lie_within_the_map():
    # By hand: windows of 3 on 8 entries; what changed at the end is {7} alone, and its
    # window begins at 5.
    span = Interval(np.array([0, 7]), np.array([3, 8]), 8)
    np.testing.assert_array_equal(span.region.first, [0, 5])
    assert span.region.size == 3


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        (Region(np.array([1, 2]), 3), True),
        (Region(np.array([1, 3]), 3), False),
        (Region(np.array([1, 2]), 4), False),
    ],
)
def test_same(other, alike):
    assert windows.same(Region(np.array([1, 2]), 3), other) == alike


def test_cut_shortens_the_windows_axes_alone():
    span = Interval(np.array([2]), np.array([5]), 9)
    window = windows.Window((1, 3), (span, span._replace(high=np.array([4]))))
    assert window.cut((1, 9, 7, 9)) == (1, 3, 7, 2)
