"""A function over a data set: what it gives, on several devices, compiled once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zf_jax import parallel
from zf_jax.errors import BadInput
from zf_jax.probes import batched

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(12, 5)).astype(np.float32)
IMAGES = RNG.normal(size=(23, 2, 2, 3)).astype(np.float32)


def make_read():
    weights = jnp.asarray(WEIGHTS)

    def read(images):
        flat = images.reshape(len(images), -1)
        return {"product": flat @ weights, "sum": flat.sum(axis=1)}

    return read


def batches(size=6):
    return [IMAGES[i : i + size] for i in range(0, len(IMAGES), size)]


@pytest.mark.devices
@pytest.mark.parametrize("count", [1, 2])
def test_is_the_function_of_every_image(count, compilations):
    read, devices = make_read(), jax.local_devices()[:count]
    found = list(batched.map_batches(read, batches(), devices=devices))
    # 23 images by 6: the last batch is as short as it came.
    assert [len(each["sum"]) for each in found] == [6, 6, 6, 5]
    assert all(isinstance(each["sum"], np.ndarray) for each in found)
    flat = IMAGES.reshape(23, 12)
    product, total = (np.concatenate([f[n] for f in found]) for n in ("product", "sum"))
    np.testing.assert_allclose(product, flat @ WEIGHTS, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(total, flat.sum(axis=1), rtol=1e-4, atol=1e-5)
    with compilations() as again:
        list(batched.map_batches(read, batches(), devices=devices))
    assert not again


def test_batches_are_read_as_they_are_needed():
    read, seen = make_read(), []

    def given():
        for index, batch in enumerate(batches()):
            seen.append(index)
            yield batch

    found = batched.map_batches(read, given())
    next(found)
    # The one that is given, and the one that the devices are at.
    assert seen == [0, 1]


@pytest.mark.devices
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("images", [4, 6])
def test_what_was_sent_is_no_longer_the_callers(images, count):
    # Aligned as JAX reads the host's memory in place.
    memory = np.zeros(8 * 12 + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    batch = memory[start : start + images * 12].reshape(images, 2, 2, 3)
    batch[:] = IMAGES[:images]
    sent = parallel.shard_batch(batch, (2, 3), tuple(jax.local_devices()[:count]))
    batch[:] = 0
    assert sent.shape == (2, 3, 2, 2, 3)
    assert len(sent.devices()) == count
    sent = np.asarray(sent).reshape(6, 2, 2, 3)
    np.testing.assert_array_equal(sent[:images], IMAGES[:images])
    assert not sent[images:].any()


def test_a_buffer_that_is_filled_again_for_every_batch():
    read, buffer = make_read(), np.empty((4, *IMAGES.shape[1:]), np.float32)

    def given():
        for first in range(0, 20, len(buffer)):
            buffer[:] = IMAGES[first : first + len(buffer)]
            yield buffer

    found = np.concatenate([each["sum"] for each in batched.map_batches(read, given())])
    want = IMAGES[:20].reshape(20, 12).sum(axis=1)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_nothing_of_nothing():
    assert list(batched.map_batches(make_read(), [])) == []


def test_a_function_that_drops_the_images_is_refused():
    with pytest.raises(BadInput, match="axis of images"):
        list(batched.map_batches(lambda images: images.sum(), batches()))


@pytest.mark.parametrize("later", [IMAGES[:5], IMAGES[:3, :1]])
def test_a_later_batch_of_another_shape_is_refused(later):
    with pytest.raises(BadInput, match=r"batches: batch 1 has shape .*, the first \(4"):
        list(batched.map_batches(make_read(), [IMAGES[:4], later]))
