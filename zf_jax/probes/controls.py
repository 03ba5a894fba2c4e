"""Controls of a projection: what it would look like had its unit learned nothing.

A sharp picture is no evidence: the image's switches alone carry much of it (Mahendran
& Vedaldi 2016; Nie et al. 2018; Adebayo et al. 2018). A control projects the same unit,
of the same image, with something taken away:

    control           what is taken away
    random_weights    what the unit's layer learned, and the layers below it one by one
    wrong_unit        which map the seed stands in: another one active at its place
    centre_switches   where in its window a value was picked: the middle instead
    random_switches   the same: anywhere in the window

Where both look alike (`likeness.py`) the picture is no finding about the unit.

A control is called under jit with what `deconvnet.reconstruct` takes, and changes it:
`gallery.Projector` and `reconstruct` itself take what it gives. Its arrays travel as
arguments, so that another key or other weights compile nothing anew.
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
    """The unit of a net that is random from its own layer down to `lowest`.

    The cascade of Adebayo et al. goes from the top of a net downwards. Layers above a
    unit have no part in its projection, so here it starts at the unit's own; with
    `lowest` going down, ever more layers are drawn anew, each as it was before.

    The image is run up the random net, whose switches and rectified maps are then
    used. The seed stays where and what it was, whether that net's unit is active or
    not: only its own layer's mask (rules "gradient" and "guided") is the true net's.

    Not in the paper: a kernel is drawn from a normal distribution of its own
    deviation around 0, so that maps keep their size; biases are 0.

    Args:
      net: the net.
      params: its parameters.
      key: of the draws; the same for every `lowest`.
      layer: the unit's.
      lowest: the lowest random layer; the net's first by default.

    Raises:
      BadInput: an unknown layer, or a lowest one above the unit's.
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
    """Another map's unit at the same place of the same image.

    One that is active there, drawn for each map; any other where none is. The seed
    keeps its value, which only scales what is projected.
    """
    return Partial(_wrong_unit, key)


def centre_switches() -> Control:
    """Unpooling to the middle of every window (Mahendran & Vedaldi 2016).

    Of an even window the upper left of its four middles; where the middle is padding,
    the nearest place that is not.
    """
    return Partial(_centre_switches)


def random_switches(key: jax.Array) -> Control:
    """Unpooling to a place drawn uniformly from every window, anew for each map.

    These are the switches of maps of noise: overlapping windows share winners as those
    of true maps do, and padding never wins.
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
        raise BadInput(f"wrong_unit: {layer} of {net.name} has one map and no other")
    flat = seed.reshape(count, -1, channels)
    maps = trace.maps[layer].reshape(flat.shape)
    place = (flat != 0).any(axis=-1, keepdims=True)
    own = (flat != 0).any(axis=1)
    active = jnp.where(place, maps, 0).max(axis=1) > 0
    draws = jax.vmap(lambda each: jax.random.uniform(each, (channels,)))(
        _keys(key, seed)
    )
    # Active ones lie above 1, silent ones above 0, its own map below both.
    other = jnp.argmax(draws + active - 3.0 * own, axis=-1)
    chosen = jax.nn.one_hot(other, channels, dtype=seed.dtype)[:, None, :]
    value = flat.sum(axis=(1, 2), keepdims=True)
    return params, jnp.where(place, value * chosen, 0).reshape(seed.shape), trace


def _centre_switches(net, params, seed, trace, *, layer, valid):
    def centre(op: Pool, name: str, shape: tuple[int, ...]) -> jax.Array:
        down, across = (
            _middles(op, axis, shape[axis + 1], _seen(valid, name, axis))
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
    """A key for each unit, the same for all of a map, however units are batched."""
    flat = jnp.abs(seed).reshape(len(seed), -1, seed.shape[-1])
    return jax.vmap(jax.random.fold_in, (None, 0))(key, flat.max(axis=1).argmax(-1))


def _switched(net: Spec, trace: Trace, valid, switch: Callable) -> Trace:
    """The trace with other switches: `switch(op, layer's name, shape of its maps)`."""
    switches = {}
    for each in net.layers:
        for op in each.tail:
            if isinstance(op, Pool):
                new = switch(op, each.name, trace.maps[each.name].shape)
                shape = trace.switches[each.name].shape
                new = jnp.broadcast_to(new, shape)
                switches[each.name] = (
                    valid.mask_switches(each.name, new) if valid else new
                )
    return trace._replace(switches=switches)


def _seen(valid: ValidMask | None, name: str, axis: int) -> jax.Array | None:
    """Which rows (axis 0) or columns of a part lie in the maps, [N, length]."""
    if valid is None or name not in valid.maps:
        return None
    return valid.maps[name].any(axis=(2 - axis, 3))


def _middles(op: Pool, axis: int, length: int, seen: jax.Array | None) -> jax.Array:
    """Where along an axis each window's middle stands in it, [N or 1, windows]."""
    before, after = op.padding[axis]
    size, stride = op.size[axis], op.stride[axis]
    starts = np.arange(0, length + before + after - size + 1, stride)[None] - before
    if seen is None:
        first, last = 0, length - 1
    else:
        first = seen.argmax(axis=1)[:, None]
        last = length - 1 - seen[:, ::-1].argmax(axis=1)[:, None]
    middles = jnp.clip(starts + (size - 1) // 2, first, last)
    # Windows of padding alone, which a part may have, pass nothing on.
    return jnp.clip(middles - starts, 0, size - 1)
