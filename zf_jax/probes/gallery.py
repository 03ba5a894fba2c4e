"""The gallery (fig. 2): the images that excite a map most, and what in them does.

The strongest activations are gathered in one pass over a data set. `Strongest` is a
commutative monoid (`nothing`, `merge`): any split of the data into batches, in any
order, gives the same answer.
"""

import collections
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax import convnet, deconvnet, geometry
from zf_jax.errors import BadInput
from zf_jax.layers import Pair
from zf_jax.spec import Spec
from zf_jax.transforms import closure


class Strongest(NamedTuple):
    """The k images that excite each map of a layer most, strongest first.

    An image counts once a map, with its strongest position; equal values stand in the
    order of the images. Where there are fewer than k images: value -inf, image -1.

    Attributes:
      values: [C, K] float32, the activations.
      images: [C, K] int32, index in the data set.
      positions: [C, K, 2] int32, (row, column) in the map; 0 for dense layers.
    """

    values: jax.Array
    images: jax.Array
    positions: jax.Array


def nothing(channels: int, k: int) -> Strongest:
    """The neutral element of `merge`: no image seen."""
    return Strongest(
        jnp.full((channels, k), -jnp.inf, jnp.float32),
        jnp.full((channels, k), -1, jnp.int32),
        jnp.zeros((channels, k, 2), jnp.int32),
    )


def of_batch(maps: jax.Array, images: jax.Array) -> Strongest:
    """Every image of a batch with its strongest position in each map.

    Args:
      maps: [N, H, W, C] or [N, D].
      images: [N] int, each image's index in the data set; -1 for what is none.
    """
    count, *places, channels = maps.shape
    flat = maps.astype(jnp.float32).reshape(count, -1, channels)
    values = jnp.where((images >= 0)[:, None], flat.max(axis=1), -jnp.inf)
    at = jnp.unravel_index(flat.argmax(axis=1), tuple(places) if places else (1, 1))
    positions = jnp.stack(at, axis=-1).astype(jnp.int32)
    images = jnp.broadcast_to(images.astype(jnp.int32), (channels, count))
    return Strongest(values.T, images, positions.swapaxes(0, 1))


def merge(one: Strongest, other: Strongest, k: int) -> Strongest:
    """The k strongest of both."""
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), one, other)
    values, images, rows, columns = lax.sort(
        (-both.values, both.images, both.positions[..., 0], both.positions[..., 1]),
        num_keys=2,
    )
    return Strongest(
        -values[:, :k], images[:, :k], jnp.stack([rows, columns], axis=-1)[:, :k]
    )


def strongest(
    read_maps: Callable[[jax.Array], dict[str, jax.Array]],
    batches: Iterable[np.ndarray],
    *,
    k: int = 9,
) -> dict[str, Strongest]:
    """The k strongest images of every map, in one pass for all layers.

    `read_maps` is compiled once per function, as in `occlusion.sweep`.

    Args:
      read_maps: a batch [N, ...] to the maps of each layer, [N, H, W, C] or [N, D].
      batches: of one size but for the last, in the data set's order.
      k: how many.

    Raises:
      BadInput: no batches, or k below 1.
    """
    if k < 1:
        raise BadInput(f"k {k}: starts at 1")
    best, seen, size = None, 0, None
    for batch in batches:
        size = size or len(batch)
        images = np.where(np.arange(size) < len(batch), seen + np.arange(size), -1)
        seen += len(batch)
        # The last batch is filled up, so that it compiles nothing new.
        missing = [(0, size - len(batch))] + [(0, 0)] * (batch.ndim - 1)
        batch = np.pad(batch, missing)
        read = closure.hoist(read_maps, jax.ShapeDtypeStruct(batch.shape, batch.dtype))
        if best is None:
            best = {
                name: nothing(maps.shape[-1], k) for name, maps in read.result.items()
            }
        best = _absorb(read.apply, read.weights, best, batch, images, k)
    if best is None:
        raise BadInput("batches: there are none, so no image is the strongest")
    return best


@functools.partial(jax.jit, static_argnames=("apply", "k"), donate_argnames="best")
def _absorb(apply, weights, best, batch, images, k: int):
    maps = apply(weights, batch)
    return {name: merge(best[name], of_batch(maps[name], images), k) for name in best}


def project(
    net: Spec,
    params: dict,
    images: Sequence[np.ndarray],
    best: Strongest | dict[str, Strongest],
    *,
    layer: str,
    maps: Sequence[int] | None = None,
    rule: deconvnet.Rule = "deconvnet",
    batch_size: int = 32,
) -> tuple[np.ndarray, np.ndarray]:
    """The strongest images' patches and their projections, cut to what the unit sees.

    A window is as large as the receptive field, or as the largest image where that is
    smaller; at the border it is moved inside, so it still holds all the unit sees.
    What a smaller image leaves of it is zero.

    Args:
      net: the net.
      params: its parameters.
      images: the data set by index, each [H, W, C] float as `convnet.prepare` makes
        them.
      best: of the layer, or the dict that `strongest` gives.
      layer: name of the layer.
      maps: which maps, all by default.
      rule: what the ReLU does on the way down.
      batch_size: projections computed together.

    Returns:
      patches, projections: both [M, K, h, w, C] float32, zero where `best` has no
      image.

    Raises:
      BadInput: an unknown layer or map.
    """
    net = net.upto(layer)
    best = best[layer] if isinstance(best, dict) else best
    values, indices, positions = (np.asarray(part) for part in best)
    chosen = np.arange(len(values)) if maps is None else np.asarray(maps, int)
    wrong = chosen[(chosen < 0) | (chosen >= len(values))]
    if len(wrong):
        raise BadInput(
            f"map {wrong[0]}: {layer} of {net.name} has 0 to {len(values) - 1}"
        )
    units = [
        (m, k) for m in chosen for k in range(values.shape[1]) if indices[m, k] >= 0
    ]
    if not units:
        raise BadInput(f"{layer}: no image excites the maps {list(chosen)}")
    # Images of one size are computed together.
    by_size = collections.defaultdict(list)
    for unit in units:
        by_size[images[indices[unit]].shape].append(unit)
    largest = tuple(map(max, zip(*by_size, strict=True)))
    size = tuple(map(min, geometry.fields(net)[layer].size, largest))
    shape = (len(chosen), values.shape[1], *size, largest[-1])
    patches, projections = np.zeros(shape, "f4"), np.zeros(shape, "f4")
    row = {m: i for i, m in enumerate(chosen)}
    for same in by_size.values():
        for start in range(0, len(same), batch_size):
            now = same[start : start + batch_size]
            # The last batch is filled up with its last unit: nothing recompiles.
            index = tuple(np.array(now + now[-1:] * (batch_size - len(now))).T)
            batch = np.stack([images[i] for i in indices[index]])
            parts = _project(
                net, params, batch, index[0], positions[index], layer=layer, rule=rule
            )
            for (m, k), patch, projection in zip(
                now, *map(np.asarray, parts), strict=False
            ):
                there = (row[m], k, *map(slice, patch.shape[:2]))
                patches[there], projections[there] = patch, projection
    return patches, projections


@functools.partial(jax.jit, static_argnames=("net", "layer", "rule"))
def _project(net: Spec, params, images, channels, positions, *, layer, rule):
    _, trace = convnet.ConvNet(net).apply({"params": params}, images)
    maps = trace.maps[layer]
    at = positions if maps.ndim == 4 else None
    seed = deconvnet.isolate(maps, channel=channels, position=at)
    pixels = deconvnet.reconstruct(net, params, seed, trace, layer=layer, rule=rule)
    return _cut(net, layer, images, positions), _cut(net, layer, pixels, positions)


def _cut(net: Spec, layer: str, images: jax.Array, positions: jax.Array) -> jax.Array:
    field, (_, *shape, channels) = geometry.fields(net)[layer], images.shape
    size: Pair = tuple(map(min, field.size, shape))
    starts = jnp.stack(
        [
            jnp.clip(field.first(axis, positions[:, axis]), 0, shape[axis] - size[axis])
            for axis in (0, 1)
        ],
        axis=-1,
    )
    cut = jax.vmap(lambda x, at: lax.dynamic_slice(x, (*at, 0), (*size, channels)))
    return cut(images, starts)
