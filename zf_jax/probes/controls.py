"""Controls of a projection: what it would look like had its unit learned nothing.

A sharp picture is no evidence: the image's switches carry much of it (Mahendran
& Vedaldi 2016; Nie et al. 2018; Adebayo et al. 2018). A control projects the same unit,
of the same image, with something taken away:

    control           what is taken away
    random_weights    what the unit's layer learned, and the layers below it one by one
    wrong_unit        the channel of the seed: another one, active at the same position
    centre_switches   the position of each window's maximum: its centre instead
    random_switches   the same: a random position in the window

Where the projection and its control look alike (`similarity.py`), the picture is no
finding about the unit.

Random weights are other parameters of the model (`random_weights.py`). The other
controls are what `projection.Projector` takes as its `control`; their arrays travel as
arguments, so that another key compiles nothing anew.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from zf_jax.errors import BadInput
from zf_jax.transforms.crop import Crop
from zf_jax.transforms.saved import PoolPart


def wrong_unit(key: jax.Array) -> Partial:
    """Another channel's unit, at the same position of the same image.

    It is drawn, for each channel, from the channels that are active there; from all
    others where none is. The seed keeps its value, which only scales the projection.
    """
    return Partial(_wrong_unit, key)


def centre_switches() -> Partial:
    """Unpooling to the centre of every window (Mahendran & Vedaldi 2016).

    An even window has four central entries, of which the upper left is taken. Where the
    centre is padding, the nearest entry that is not is taken.
    """
    return Partial(_centre_switches)


def random_switches(key: jax.Array) -> Partial:
    """Unpooling to a random position in every window, drawn for each channel.

    These are the switches of maps of noise: overlapping windows share their maxima, as
    in true maps, and padding never wins.
    """
    return Partial(_random_switches, key)


def _wrong_unit(key, crop: Crop, saved, column, offsets, channel, seed):
    if crop.channels < 2:
        raise BadInput("wrong_unit: the layer has one channel and no other")
    draws = jax.random.uniform(jax.random.fold_in(key, channel), (crop.channels,))
    own = jnp.arange(crop.channels) == channel
    # Active channels lie above 1, silent ones above 0, the unit's own below both.
    other = jnp.argmax(draws + (column > 0) - 3.0 * own)
    return saved, jnp.zeros_like(seed).at[other].set(seed.sum())


def _centre_switches(crop: Crop, saved, column, offsets, channel, seed):
    def centre(pool: PoolPart) -> jax.Array:
        index = jnp.zeros((1,) * len(pool.shape), jnp.int32)
        for axis, size in enumerate(pool.dimensions):
            starts, length = pool.starts[axis], pool.lengths[axis]
            centres = jnp.clip(starts + (size - 1) // 2, 0, length - 1) - starts
            # Windows of padding alone, which a crop may have, pass nothing on.
            shape = [-1 if a == axis else 1 for a in range(len(pool.shape))]
            index = index * size + jnp.clip(centres, 0, size - 1).reshape(shape)
        return jnp.broadcast_to(index.astype(jnp.uint8), pool.shape)

    return _switched(crop, saved, offsets, centre), seed


def _random_switches(key, crop: Crop, saved, column, offsets, channel, seed):
    own = jax.random.fold_in(key, channel)

    def draw(pool: PoolPart) -> jax.Array:
        shape = pool.operand
        noise = jax.random.uniform(jax.random.fold_in(own, pool.key[0]), shape)
        for axis, length in enumerate(pool.lengths):
            entries = pool.first(axis) + jnp.arange(shape[axis])
            real = (entries >= 0) & (entries < length)
            real = real.reshape([-1 if a == axis else 1 for a in range(len(shape))])
            noise = jnp.where(real, noise, -jnp.inf)
        return pool.gate.save(noise)[0]

    return _switched(crop, saved, offsets, draw), seed


def _switched(crop: Crop, saved, offsets, switch: Callable) -> dict:
    """The saved values, with other switches for every pool."""
    return saved | {
        pool.key: switch(pool) for pool in crop.pools(offsets) if pool.key in saved
    }
