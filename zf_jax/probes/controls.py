"""Controls of a projection: what it would look like had its unit learned nothing.

A sharp picture is no evidence: the image's switches alone carry much of it (Mahendran
& Vedaldi 2016; Nie et al. 2018; Adebayo et al. 2018). A control projects the same unit,
of the same image, with something taken away:

    control           what is taken away
    random_weights    what the unit's layer learned, and the layers below it one by one
    wrong_unit        the channel of the seed: another one, active at the same position
    centre_switches   the position of each window's maximum: its centre instead
    random_switches   the same: a random position in the window

Where the projection and its control look alike (`similarity.py`), the picture is no
finding about the unit.

A control is called under jit with the arguments of `deconvnet.reconstruct`, and returns
changed ones; `projection.Projector` takes a control. Its arrays travel as arguments, so
that another key or other weights compile nothing anew.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from zf_jax import convnet
from zf_jax.convnet import Trace, ValidMask
from zf_jax.errors import BadInput
from zf_jax.layers import Pool
from zf_jax.ops import pooling
from zf_jax.spec import Spec

# (net, params, seed, trace, *, layer, valid) -> (params, seed, trace).
Control = Callable[..., tuple[dict, jax.Array, Trace]]


def random_weights(
    net: Spec, params: dict, key: jax.Array, *, layer: str, lowest: str | None = None
) -> Control:
    """Random weights in the unit's layer and all layers below it, down to `lowest`.

    The cascade of Adebayo et al. goes from the top of a net downwards. Layers above a
    unit have no part in its projection, so here it starts at the unit's own layer. As
    `lowest` goes down, ever more layers are random; each draw stays the same.

    The random net's forward pass gives the switches and rectified maps. The seed keeps
    its position and value, whether the random net's unit is active or not; the mask of
    the unit's own layer (rules "gradient" and "guided") is the true net's.

    Not in the paper: a kernel is drawn from a normal distribution around 0 with the
    kernel's own standard deviation, so that maps keep their scale; biases are 0.

    Args:
      net: the architecture.
      params: its parameters.
      key: of the draws; the same for every `lowest`.
      layer: the unit's layer.
      lowest: the lowest random layer; the net's first by default.

    Raises:
      BadInput: an unknown layer, or `lowest` is above the unit's layer.
    """
    low = net.index(lowest or net.layers[0].name)
    high = net.index(layer)
    if low > high:
        raise BadInput(f"lowest {lowest!r}: above {layer}, where it has no effect")
    drawn = dict(params)
    for index in range(low, high + 1):
        name = net.layers[index].name
        kernel = params[name]["kernel"]
        normal = jax.random.normal(jax.random.fold_in(key, index), kernel.shape)
        drawn[name] = {
            "kernel": normal * jnp.std(kernel),
            "bias": jnp.zeros_like(params[name]["bias"]),
        }
    return Partial(_random_weights, drawn)


def cascade(net: Spec, layer: str) -> list[str]:
    """The steps of `random_weights`: its `lowest`, from the unit's layer down."""
    return [each.name for each in reversed(net.upto(layer).layers)]


def wrong_unit(key: jax.Array) -> Control:
    """Another channel's unit, at the same position of the same image.

    It is drawn, for each channel, from the channels that are active there; from all
    others where none is. The seed keeps its value, which only scales the projection.
    """
    return Partial(_wrong_unit, key)


def centre_switches() -> Control:
    """Unpooling to the centre of every window (Mahendran & Vedaldi 2016).

    An even window has four central entries, of which the upper left is taken. Where the
    centre is padding, the nearest entry that is not is taken.
    """
    return Partial(_centre_switches)


def random_switches(key: jax.Array) -> Control:
    """Unpooling to a random position in every window, drawn for each channel.

    These are the switches of maps of noise: overlapping windows share their maxima, as
    in true maps, and padding never wins.
    """
    return Partial(_random_switches, key)


def _random_weights(drawn, net, params, seed, trace, *, layer, valid):
    model = convnet.ConvNet(net)
    _, other = model.apply({"params": drawn}, trace.images, valid=valid)
    maps = other.maps | {layer: trace.maps[layer]}
    return drawn, seed, other._replace(maps=maps)


def _wrong_unit(key, net, params, seed, trace, *, layer, valid):
    count, *_, channels = seed.shape
    if channels < 2:
        raise BadInput(
            f"wrong_unit: {layer} of {net.name} has one channel and no other"
        )
    flat = seed.reshape(count, -1, channels)
    maps = trace.maps[layer].reshape(flat.shape)
    position = (flat != 0).any(axis=-1, keepdims=True)
    own = (flat != 0).any(axis=1)
    active = jnp.where(position, maps, 0).max(axis=1) > 0
    draws = jax.vmap(lambda each: jax.random.uniform(each, (channels,)))(
        _keys(key, seed)
    )
    # Active channels lie above 1, silent ones above 0, the unit's own below both.
    other = jnp.argmax(draws + active - 3.0 * own, axis=-1)
    chosen = jax.nn.one_hot(other, channels, dtype=seed.dtype)[:, None, :]
    value = flat.sum(axis=(1, 2), keepdims=True)
    return params, jnp.where(position, value * chosen, 0).reshape(seed.shape), trace


def _centre_switches(net, params, seed, trace, *, layer, valid):
    def centre(op: Pool, name: str, shape: tuple[int, ...]) -> jax.Array:
        down, across = (
            _centres(op, axis, shape[axis + 1], _valid_along(valid, name, axis))
            for axis in (0, 1)
        )
        index = down[:, :, None] * op.size[1] + across[:, None, :]
        return index[..., None].astype(jnp.uint8)

    return params, seed, _switched(net, trace, valid, centre)


def _random_switches(key, net, params, seed, trace, *, layer, valid):
    def draw(op: Pool, name: str, shape: tuple[int, ...]) -> jax.Array:
        keys = jax.vmap(jax.random.fold_in, (0, None))(
            _keys(key, seed), net.index(name)
        )
        noise = jax.vmap(lambda each: jax.random.uniform(each, shape[1:]))(keys)
        if valid and name in valid.maps:
            noise = jnp.where(valid.maps[name], noise, -jnp.inf)
        return pooling.pool(op, noise)[1]

    return params, seed, _switched(net, trace, valid, draw)


def _keys(key: jax.Array, seed: jax.Array) -> jax.Array:
    """A key for each unit, one for each channel, however units are batched."""
    flat = jnp.abs(seed).reshape(len(seed), -1, seed.shape[-1])
    return jax.vmap(jax.random.fold_in, (None, 0))(key, flat.max(axis=1).argmax(-1))


def _switched(net: Spec, trace: Trace, valid, switch: Callable) -> Trace:
    """The trace with the switches `switch(op, layer's name, shape of its maps)`."""
    switches = {}
    for each in net.layers:
        for op in each.ops_after_maps:
            if isinstance(op, Pool):
                new = switch(op, each.name, trace.maps[each.name].shape)
                shape = trace.switches[each.name].shape
                new = jnp.broadcast_to(new, shape)
                switches[each.name] = (
                    valid.mask_switches(each.name, new) if valid else new
                )
    return trace._replace(switches=switches)


def _valid_along(valid: ValidMask | None, name: str, axis: int) -> jax.Array | None:
    """Which rows (axis 0) or columns of a crop lie in the maps, [N, length]."""
    if valid is None or name not in valid.maps:
        return None
    return valid.maps[name].any(axis=(2 - axis, 3))


def _centres(op: Pool, axis: int, length: int, valid: jax.Array | None) -> jax.Array:
    """Each window's centre along an axis, counted in the window, [N or 1, windows]."""
    before, after = op.padding[axis]
    size, stride = op.size[axis], op.stride[axis]
    starts = np.arange(0, length + before + after - size + 1, stride)[None] - before
    if valid is None:
        first, last = 0, length - 1
    else:
        first = valid.argmax(axis=1)[:, None]
        last = length - 1 - valid[:, ::-1].argmax(axis=1)[:, None]
    centres = jnp.clip(starts + (size - 1) // 2, first, last)
    # Windows of padding alone, which a crop may have, pass nothing on.
    return jnp.clip(centres - starts, 0, size - 1)
