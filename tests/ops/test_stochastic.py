"""Dropout and mirroring: an image's random bits depend on its position alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zf_jax.ops import stochastic

KEY = jax.random.key(0)
POSITIONS = jnp.arange(64)
# No image, nor its mirror image, is another.
IMAGES = np.random.default_rng(0).integers(1, 256, (64, 2, 5, 3), np.uint8)


@pytest.mark.parametrize(
    "draw",
    [stochastic.mirror, functools.partial(stochastic.dropout, rate=0.25)],
    ids=["mirror", "dropout"],
)
def test_a_part_of_the_batch_draws_what_the_whole_does(draw):
    images = IMAGES.astype(np.float32)
    whole = draw(KEY, images, POSITIONS)
    part = draw(KEY, images[40:50], POSITIONS[40:50])
    np.testing.assert_array_equal(part, whole[40:50])
    # Another place draws otherwise, and so does another key.
    assert np.any(draw(KEY, images[40:50], POSITIONS[:10]) != part)
    assert np.any(draw(jax.random.key(1), images, POSITIONS) != whole)


def test_dropout():
    x = jnp.ones((64, 100), jnp.bfloat16)
    dropped = stochastic.dropout(KEY, x, POSITIONS, rate=0.25)
    assert dropped.dtype == x.dtype
    kept = np.asarray(dropped) > 0
    # What is kept is scaled to keep the mean; 6400 draws, within six deviations.
    np.testing.assert_array_equal(dropped[kept], np.asarray(1 / 0.75, jnp.bfloat16))
    assert abs(np.mean(kept) - 0.75) < 6 * np.sqrt(0.25 * 0.75 / 6400)
    # Images differ from one another.
    assert len({row.tobytes() for row in kept}) == 64


def test_mirror():
    images = np.asarray(stochastic.mirror(KEY, IMAGES, POSITIONS))
    assert images.dtype == np.uint8
    same = np.all(images == IMAGES, axis=(1, 2, 3))
    turned = np.all(images == IMAGES[:, :, ::-1], axis=(1, 2, 3))
    assert np.all(same ^ turned)
    # 32 +- 4, a deviation of the binomial distribution; four deviations.
    assert 16 < turned.sum() < 48
