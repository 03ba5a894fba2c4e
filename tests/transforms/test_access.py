"""What operations read and change along an axis, against NumPy that does them."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.transforms.test_windows import (
    QUICK,
    assert_around,
    assert_in_region,
    intervals,
    marked,
)
from zf_jax.transforms.access import Access, Reversal, Slide, Table
from zf_jax.transforms.windows import Interval, Region


@st.composite
def regions(draw):
    """Regions that reach beyond an axis, too."""
    first = draw(st.lists(st.integers(-6, 20), min_size=1, max_size=4))
    return Region(np.array(first), draw(st.integers(1, 9)))


def seen(changed, slide, after):
    """[T, out]: which sums over sliding windows change, by doing them."""
    count, length = changed.shape
    spread = np.zeros((count, (length - 1) * slide.dilation + 1), bool)
    spread[:, :: slide.dilation] = changed
    # Padding below 0 takes entries away.
    before = slide.before
    spread = np.pad(spread, ((0, 0), (max(before, 0), max(after, 0))))
    end = spread.shape[1] + min(after, 0)
    views = np.lib.stride_tricks.sliding_window_view(
        spread[:, max(-before, 0) : end], slide.size, axis=1
    )
    return views.sum(axis=-1)[:, :: slide.stride] > 0


SLIDES = st.builds(
    Slide,
    axis=st.just(0),
    to=st.just(0),
    size=st.integers(1, 7),
    stride=st.integers(1, 5),
    before=st.integers(-5, 6),
    dilation=st.just(1),
) | st.builds(
    Slide,
    axis=st.just(0),
    to=st.just(0),
    size=st.integers(1, 7),
    stride=st.just(1),
    before=st.integers(-5, 6),
    dilation=st.integers(2, 4),
)


@QUICK
@given(intervals(), SLIDES, st.integers(-5, 6))
def test_slide_is_what_a_sliding_sum_changes(interval, slide, after):
    length = (interval.axis_length - 1) * slide.dilation + 1
    assume(length + min(slide.before, 0) + min(after, 0) >= 1)
    assume(length + slide.before + after >= slide.size)
    changed = seen(marked(interval), slide, after)
    touched = slide.outputs(interval, changed.shape[1])
    assert_around(touched, changed)
    assert_in_region(touched.region, touched)


@QUICK
@given(regions(), SLIDES)
def test_slide_is_what_a_sliding_sum_reads(region, slide):
    entries = [
        {
            place // slide.dilation
            for i in range(first, first + region.size)
            for place in np.arange(slide.size) + i * slide.stride - slide.before
            if place % slide.dilation == 0
        }
        for first in region.first.tolist()
    ]
    assume(all(entries))
    read = slide.inputs(region)
    assert read.first.tolist() == [min(each) for each in entries]
    assert read.size == max(max(each) - min(each) + 1 for each in entries)


@QUICK
@given(intervals())
def test_reversal_changes_what_a_flip_does(interval):
    reversal = Reversal(0, 0, interval.axis_length)
    touched = reversal.outputs(interval, interval.axis_length)
    assert_around(touched, marked(interval)[:, ::-1])


@QUICK
@given(regions(), st.integers(1, 20))
def test_reversal_reads_what_a_flip_does(region, length):
    read = Reversal(0, 0, length).inputs(region)
    for first, began in zip(region.first, read.first, strict=True):
        at = [length - 1 - i for i in range(first, first + region.size)]
        assert (min(at), max(at) + 1) == (began, began + read.size)


@st.composite
def tables(draw, length):
    """What each of some entries reads; some read nothing."""
    ends = st.integers(0, length)
    pairs = draw(st.lists(st.tuples(ends, ends).map(sorted), min_size=1, max_size=9))
    return Table(0, 0, *np.array(pairs).T)


@QUICK
@given(st.data(), intervals())
def test_table_changes_what_reads_a_change(data, interval):
    table = data.draw(tables(interval.axis_length))
    reads = marked(Interval(table.low, table.high, interval.axis_length))
    changed = (marked(interval)[:, None] & reads).any(axis=-1)
    assert_around(table.outputs(interval, len(reads)), changed)


@QUICK
@given(st.data(), regions())
def test_table_reads_what_its_entries_do(data, region):
    table = data.draw(tables(20))
    read, sizes = table.inputs(region), []
    for first, began in zip(region.first, read.first, strict=True):
        # Entries beyond the axis read what the outermost do.
        entries = np.arange(first, first + region.size).clip(0, len(table.low) - 1)
        low, high = table.low[entries].min(), table.high[entries].max()
        assert began == low
        sizes.append(high - low)
    assert read.size == max(1, *sizes)


@QUICK
@given(regions(), st.integers(1, 4), st.integers(0, 3))
def test_aligned_regions_are_around_and_begin_where_they_can(region, divisor, rest):
    rest %= divisor
    other = Region(region.first, 5)
    found = Access((), align={1: (divisor, rest)}).aligned({1: region, 2: other})
    assert found[2] is other
    assert (found[1].first % divisor == rest).all()
    assert found[1].size % divisor == 0
    assert (found[1].first <= region.first).all()
    assert (region.first - found[1].first < divisor).all()
    ends = region.first + region.size, found[1].first + found[1].size
    assert (ends[0] <= ends[1]).all()
    assert (ends[1] - ends[0]).min() < divisor


def test_axes_that_can_be_computed_in_part():
    access = Access(((Slide(0, 1),), (Reversal(2, 3, 5), Slide(1, 1))), free=(0,))
    assert access.axes == {0, 1, 3}
