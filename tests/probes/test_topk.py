"""The top k of every channel against a sort in NumPy, however images are batched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.probes.toy_nets import net_maps, pictures
from zf_jax import xla
from zf_jax.errors import BadInput
from zf_jax.probes import topk


def oracle(maps, k):
    """Sorts the images of every channel; ties to the lower image, then position."""
    maps = np.asarray(maps)
    count, *extent, channels = maps.shape
    flat = maps.reshape(count, -1, channels)
    values = np.full((channels, k), -np.inf, np.float32)
    images = np.full((channels, k), -1)
    positions = np.zeros((channels, k, 2), int)
    for c in range(channels):
        peaks = flat[:, :, c].max(axis=1)
        order = sorted(range(count), key=lambda n: (-peaks[n], n))[:k]
        for rank, n in enumerate(order):
            at = np.unravel_index(flat[n, :, c].argmax(), extent or (1, 1))
            values[c, rank], images[c, rank] = peaks[n], n
            positions[c, rank] = at
    return topk.TopK(values, images, positions)


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def in_batches(images, size):
    return (images[i : i + size] for i in range(0, len(images), size))


def test_scan_equals_a_sort():
    k, images = 4, pictures(11)
    maps = xla.jit(net_maps)(images)
    best = topk.scan(net_maps, [images], k=k)
    assert set(best) == {"layer1", "layer2", "layer3", "layer4"}
    for layer, found in best.items():
        want = oracle(maps[layer], k)
        np.testing.assert_array_equal(found.images, want.images)
        np.testing.assert_array_equal(found.positions, want.positions)
        # Compiled twice in float32: equal but for roundings.
        np.testing.assert_allclose(found.values, want.values, rtol=1e-5, atol=1e-6)
        assert found.values.dtype == jnp.float32
        assert found.images.dtype == found.positions.dtype == jnp.int32


def plain(images):
    """Maps that need no rounding: all batches compute them bit for bit."""
    return {"maps": images, "dense": images[:, 0, 0]}


@pytest.mark.parametrize("size", [1, 5, 13])
def test_any_split_into_batches_gives_the_same(size):
    # 13 images: the last batch is short but for sizes 1 and 13; values from 0 to 5, so
    # that many are equal.
    images = np.random.default_rng(3).integers(0, 6, (13, 4, 5, 7)).astype(np.float32)
    best = topk.scan(plain, in_batches(images, size), k=4)
    assert_same(best["maps"], oracle(images, 4))
    assert_same(best["dense"], oracle(images[:, 0, 0], 4))


def test_a_buffer_that_is_filled_again_for_every_batch():
    images = np.random.default_rng(3).integers(0, 6, (12, 4, 5, 7)).astype(np.float32)
    buffer = np.empty((3, *images.shape[1:]), np.float32)

    def batches():
        for first in range(0, len(images), len(buffer)):
            buffer[:] = images[first : first + len(buffer)]
            yield buffer

    assert_same(topk.scan(plain, batches(), k=4)["maps"], oracle(images, 4))


def test_negative_values_and_the_filled_up_batch():
    # What fills up the last batch is zero, more than any of these; it must not win.
    images = -1 - np.random.default_rng(4).random((5, 2, 2, 3)).astype(np.float32)
    best = topk.scan(plain, in_batches(images, 3), k=5)
    assert_same(best["maps"], oracle(images, 5))


@pytest.mark.devices
def test_devices_give_the_same_bit_for_bit():
    images, devices = pictures(22), jax.devices()[:2]
    want = topk.scan(net_maps, in_batches(images, 8), devices=devices)
    got = topk.scan(net_maps, in_batches(images, 8), devices=devices[:1])
    for layer in want:
        assert_same(got[layer], want[layer])


def test_a_pass_is_resumed_where_it_was_interrupted():
    images, kept = pictures(19), None
    for each in topk.scan_states(net_maps, in_batches(images, 4), k=3):
        kept = jax.tree.map(np.asarray, each)
        if kept.seen == 12:
            break
    rest = topk.scan_states(net_maps, in_batches(images[12:], 4), k=3, start=kept)
    *_, last = rest
    assert last.seen == 19
    want = topk.scan(net_maps, in_batches(images, 4), k=3)
    for layer in want:
        assert_same(last.best[layer], want[layer])


def test_a_pass_with_another_k_is_not_resumed():
    images = pictures(4)
    (kept,) = topk.scan_states(net_maps, [images], k=3)
    with pytest.raises(BadInput, match=r"start: .*\(4, 3\).*\(4, 2\)"):
        next(topk.scan_states(net_maps, [images], k=2, start=kept))


def test_fewer_images_than_k():
    images = np.arange(1.0, 4.0, dtype=np.float32).reshape(3, 1, 1, 1)
    best = topk.scan(plain, in_batches(images, 2), k=5)["maps"]
    np.testing.assert_array_equal(best.values, [[3, 2, 1, -np.inf, -np.inf]])
    np.testing.assert_array_equal(best.images, [[2, 1, 0, -1, -1]])
    np.testing.assert_array_equal(best.positions, np.zeros((1, 5, 2)))


def test_uint8_batches_compile_once(compilations):
    images = np.random.default_rng(5).integers(0, 255, (9, 3, 3, 2), np.uint8)

    def read(images):
        return {"maps": images.astype(jnp.float32) / 2}

    topk.scan(read, in_batches(images[:4], 4), k=2)
    with compilations() as found:
        best = topk.scan(read, in_batches(images, 4), k=2)
    assert not found
    assert_same(best["maps"], oracle(images.astype(np.float32) / 2, 2))


K, CHANNELS = 3, 2
of_batch = jax.jit(topk.of_batch)
merge = jax.jit(topk.merge, static_argnums=2)
# Few values and few images: ties between images, and between positions, abound.
VALUES = st.integers(-1, 2).map(float)


@st.composite
def some_top_k(draw, first):
    """The top k of a few images, numbered from `first` on."""
    count = draw(st.integers(0, 4))
    shape = (count, 2, 2, CHANNELS)
    values = draw(
        st.lists(VALUES, min_size=count * 8, max_size=count * 8).map(np.array)
    )
    best = topk.empty(CHANNELS, K)
    if count:
        found = of_batch(
            jnp.asarray(values.reshape(shape), jnp.float32),
            first + jnp.arange(count),
        )
        best = merge(best, found, K)
    return best


def test_merge_by_hand():
    one = topk.TopK(
        jnp.array([[3.0, 1.0]]), jnp.array([[4, 2]]), jnp.array([[[0, 1], [1, 0]]])
    )
    other = topk.TopK(
        jnp.array([[3.0, -jnp.inf]]),
        jnp.array([[0, -1]]),
        jnp.array([[[1, 1], [0, 0]]]),
    )
    for both in (merge(one, other, 2), merge(other, one, 2)):
        assert both.values.tolist() == [[3, 3]]
        assert both.images.tolist() == [[0, 4]]
        assert both.positions.tolist() == [[[1, 1], [0, 1]]]
    assert_same(merge(one, topk.empty(1, 2), 2), one)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(some_top_k(0), some_top_k(4), some_top_k(8))
def test_merge_is_a_commutative_monoid(a, b, c):
    assert_same(merge(a, topk.empty(CHANNELS, K), K), a)
    assert_same(merge(topk.empty(CHANNELS, K), a, K), a)
    assert_same(merge(a, b, K), merge(b, a, K))
    assert_same(
        merge(merge(a, b, K), c, K),
        merge(a, merge(b, c, K), K),
    )


def test_k_below_one_is_refused():
    with pytest.raises(BadInput, match="k 0"):
        topk.scan(plain, [np.zeros((1, 2, 2, 1), np.float32)], k=0)


def test_no_batches_are_refused():
    with pytest.raises(BadInput, match="batches"):
        topk.scan(plain, [], k=3)


def test_a_later_batch_that_is_larger_is_refused():
    with pytest.raises(BadInput, match="batch 1 has 5 images, the first has 4"):
        topk.scan(net_maps, [pictures(4), pictures(5)])
