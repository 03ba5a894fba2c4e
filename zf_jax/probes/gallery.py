"""The gallery (fig. 2): the images that excite a map most, and what in them does.

The strongest activations are gathered in one pass over a data set (`strongest.py`),
then projected, each from its own cone of the net alone.
"""

import functools
import math
from collections.abc import Sequence

import jax
import numpy as np

from zf_jax import convnet, deconvnet, geometry
from zf_jax.errors import BadInput
from zf_jax.layers import Dense, Pair
from zf_jax.probes import controls
from zf_jax.probes.strongest import (
    Pass,
    Strongest,
    gather,
    merge,
    nothing,
    of_batch,
    strongest,
)
from zf_jax.spec import Spec

__all__ = [
    "Pass",
    "Strongest",
    "gather",
    "merge",
    "nothing",
    "of_batch",
    "project",
    "strongest",
]


def project(
    net: Spec,
    params: dict,
    images: Sequence[np.ndarray],
    best: Strongest | dict[str, Strongest],
    *,
    layer: str,
    maps: Sequence[int] | None = None,
    rule: deconvnet.Rule = "deconvnet",
    batch_size: int | None = None,
    control: controls.Control | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The strongest images' patches and their projections, cut to what the unit sees.

    Only what a unit sees is run, up and down (`geometry.cone`), where that is less than
    the image. The result is what `deconvnet.reconstruct` gives of the whole image.

    A patch is as large as the receptive field, or as the net's input where that is
    smaller; at the border it is moved inside, so it still holds all the unit sees.
    What lies outside of an image smaller than that is zero.

    Args:
      net: the net.
      params: its parameters.
      images: the data set by index, each [H, W, C] float as `convnet.prepare` makes
        them.
      best: of the layer, or the dict that `strongest` gives.
      layer: name of the layer.
      maps: which maps, all by default.
      rule: what the ReLU does on the way down.
      batch_size: projections computed together. None takes what fits a budget.
      control: what is changed before a unit is projected (`controls.py`).

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
    rows, ranks = np.nonzero(indices[chosen] >= 0)
    if not len(rows):
        raise BadInput(f"{layer}: no image excites the maps {list(chosen)}")
    field = geometry.fields(net)[layer]
    size = tuple(map(min, field.size, net.input.size))
    shape = (len(chosen), values.shape[1], *size, net.input.channels)
    patches, projections = np.zeros(shape, "f4"), np.zeros(shape, "f4")
    look = _Look(net, params, layer, rule, control)
    batch_size = batch_size or look.fitting()
    # By image, so that each is read once.
    order = np.argsort(indices[chosen[rows], ranks], kind="stable")
    for start in range(0, len(order), batch_size):
        now = order[start : start + batch_size]
        index = chosen[rows[now]], ranks[now]
        read = {i: np.asarray(images[i]) for i in np.unique(indices[index])}
        seen = [read[i] for i in indices[index]]
        firsts, parts = look(seen, index[0], positions[index], batch_size)
        for row, rank, image, first, part, at in zip(
            rows[now], ranks[now], seen, firsts, parts, positions[index], strict=True
        ):
            corner = [
                np.clip(field.first(axis, at[axis]), 0, max(0, n - size[axis]))
                for axis, n in enumerate(image.shape[:2])
            ]
            patches[row, rank] = _cut(image, corner, size)
            projections[row, rank] = _cut(part, corner - first, size)
    return patches, projections


# Bytes that the maps of the projections computed together may take, and how many there
# are at the most. XLA's convolutions on CPU are two to three times slower by 64 than by
# 8, whose values stay in the cache (`--bench=projection`).
_BUDGET = 512 << 20
_MOST = {"cpu": 8}
_MOST_ACCELERATOR = 64


class _Look:
    """Projects units of one layer, from their cones or from whole images."""

    def __init__(self, net: Spec, params: dict, layer: str, rule, control):
        self._net, self._params, self._layer, self._rule = net, params, layer, rule
        self._control = control
        self._cone = None
        if not any(isinstance(each.filter, Dense) for each in net.layers):
            self._cone = geometry.cone(net, layer)
        self._whole = self._cone is None or self._cost(net) <= self._cost(
            self._cone.net
        )

    @staticmethod
    def _cost(net: Spec) -> int:
        return sum(geometry.multiply_adds(net).values())

    def fitting(self) -> int:
        """How many units' maps fit the budget."""
        net = self._net if self._whole else self._cone.net
        maps = geometry.shapes(net).values()
        entries = sum(2 * math.prod(m.maps) + math.prod(m.output) for m in maps)
        most = _MOST.get(jax.default_backend(), _MOST_ACCELERATOR)
        return max(1, min(most, _BUDGET // (4 * entries)))

    def __call__(self, images, channels, positions, batch_size: int):
        """The first pixels [N, 2] of what was projected, and the projections."""
        count = len(images)
        # The last batch is filled up with its last unit, so that nothing recompiles.
        filled = np.minimum(np.arange(batch_size), count - 1)
        images = [images[i] for i in filled]
        channels, positions = channels[filled], positions[filled]
        sizes = [image.shape[:2] for image in images]
        own = set(sizes) == {self._net.input.size}
        if self._cone is None or (self._whole and own):
            firsts, inside = np.zeros((batch_size, 2), int), None
            net, at = self._net, positions
        else:
            field = geometry.fields(self._net)[self._layer]
            firsts = np.stack(
                [field.first(axis, positions[:, axis]) for axis in (0, 1)], axis=1
            )
            images = [
                _cut(image, first, field.size)
                for image, first in zip(images, firsts, strict=True)
            ]
            inside = self._inside(sizes, positions)
            net, at = self._cone.net, np.zeros_like(positions)
        parts = _project(
            net,
            self._params,
            np.stack(images),
            channels,
            at,
            inside,
            self._control,
            layer=self._layer,
            rule=self._rule,
        )
        return firsts[:count], np.asarray(parts)[:count]

    def _inside(self, sizes: list[Pair], positions: np.ndarray) -> convnet.Inside:
        """What of the cones lies in the images of these sizes, and in their maps."""
        shapes = [geometry.shapes(self._net, size) for size in sizes]

        def lies_in(name: str, field: geometry.Field, kind: str) -> np.ndarray:
            ends = np.array([getattr(each[name], kind)[:2] for each in shapes])
            down, across = (
                (at >= 0) & (at < ends[:, axis, None])
                for axis, at in enumerate(_entries(field, positions))
            )
            return (down[:, :, None] & across[:, None, :])[..., None]

        return convnet.Inside(
            {n: lies_in(n, field, "maps") for n, field in self._cone.maps.items()},
            {n: lies_in(n, field, "output") for n, field in self._cone.outputs.items()},
        )


def _entries(field: geometry.Field, positions: np.ndarray) -> list[np.ndarray]:
    """Rows and columns that the units at `positions` [N, 2] see: two [N, size]."""
    return [
        field.first(axis, positions[:, axis, None]) + np.arange(field.size[axis])
        for axis in (0, 1)
    ]


def _cut(image: np.ndarray, first, size: Pair) -> np.ndarray:
    """`size` pixels of the image from `first` on, zero where it has none."""
    cut = np.zeros((*size, image.shape[-1]), np.float32)
    (top, left), (height, width) = (int(n) for n in first), image.shape[:2]
    rows = slice(max(top, 0), max(min(top + size[0], height), 0))
    columns = slice(max(left, 0), max(min(left + size[1], width), 0))
    seen = image[rows, columns]
    row, column = rows.start - top, columns.start - left
    cut[row : row + seen.shape[0], column : column + seen.shape[1]] = seen
    return cut


@functools.partial(jax.jit, static_argnames=("net", "layer", "rule"))
def _project(
    net: Spec, params, images, channels, positions, inside, control, *, layer, rule
):
    model = convnet.ConvNet(net)
    _, trace = model.apply({"params": params}, images, inside=inside)
    maps = trace.maps[layer]
    at = positions if maps.ndim == 4 else None
    seed = deconvnet.isolate(maps, channel=channels, position=at)
    if control is not None:
        params, seed, trace = control(
            net, params, seed, trace, layer=layer, inside=inside
        )
    return deconvnet.reconstruct(
        net, params, seed, trace, layer=layer, rule=rule, inside=inside
    )
