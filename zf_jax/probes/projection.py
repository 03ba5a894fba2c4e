"""The gallery (fig. 2): the images that excite a map most, and what in them does.

The strongest activations are gathered in one pass over a data set (`strongest.py`),
then projected, each from its own cone of the net alone.
"""

import collections
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from zf_jax import deconvnet, geometry
from zf_jax.errors import BadInput
from zf_jax.probes import (
    compiled_passes,
    controls,
    receptive_field_crops,
    unit_projector,
)
from zf_jax.probes.topk import (
    TopK,
)
from zf_jax.spec import Spec


class Projector:
    """Projects the strongest images of some layers' maps, layer by layer.

    Only what a unit sees is run, up and down (`geometry.cone`), where that is less than
    the image. An image that excites so many units that it is less work to run all of it
    up once is kept for them all, in all layers.

    Args:
      net: the net.
      params: its parameters.
      images: the data set by index, each [H, W, C] float as `convnet.prepare` makes
        them.
      best: what `strongest` gives, of the layers.
      channels: which maps will be asked for, by layer; None stands for all.
      rule: what the ReLU does on the way down.
      batch_size: projections computed together. None takes what fits a budget.
      control: what is changed before a unit is projected (`controls.py`).
      own_values: projects what a unit is in this net, not the value that `best` has,
        which another net may have given.

    Raises:
      BadInput: an unknown layer or map.
    """

    def __init__(
        self,
        net: Spec,
        params: dict,
        images: Sequence[np.ndarray],
        best: Mapping[str, TopK],
        channels: Mapping[str, Sequence[int] | None],
        *,
        rule: deconvnet.Rule = "deconvnet",
        batch_size: int | None = None,
        control: controls.Control | None = None,
        own_values: bool = False,
    ):
        for layer in channels:
            net.index(layer)
            if layer not in best:
                raise BadInput(f"{layer}: `best` has {', '.join(best)}")
        asked = [layer for layer, each in channels.items() if each is None or len(each)]
        highest = max(asked or channels, key=net.index, default=net.layers[0].name)
        self._net, self._params, self._images = net.upto(highest), params, images
        self._own_values = own_values
        self._settings = {
            "rule": rule,
            "control": control,
            "batch_size": batch_size,
            "all_of_trace": own_values or control is not None,
        }
        self._best = {
            layer: TopK(*(np.asarray(part) for part in best[layer]))
            for layer in channels
        }
        self._cache = unit_projector.ForwardCache(self._net, params, rule)
        self._projectors = {}
        self._work = collections.Counter()
        self._costs = {}
        for layer, each in channels.items():
            self._costs[layer] = unit_projector.unit_cost(net, layer, rule)
            numbers = self._best[layer].images[self._chosen(layer, each)]
            for number in numbers[numbers >= 0].tolist():
                self._work[number] += self._costs[layer]

    def project(
        self, layer: str, channels: Sequence[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The patches and projections of one of the layers, as `project` gives them.

        Args:
          layer: its name.
          channels: some of its maps; None stands for all.

        Raises:
          BadInput: another layer, an unknown map or rule, or no image for any of the
            maps.
        """
        if layer not in self._best:
            raise BadInput(f"{layer}: this Projector has {', '.join(self._best)}")
        best = self._best[layer]
        chosen = self._chosen(layer, channels)
        rows, ranks = np.nonzero(best.images[chosen] >= 0)
        if not len(rows):
            raise BadInput(f"{layer}: no image excites the maps {list(chosen)}")
        index = chosen[rows], ranks
        values = None if self._own_values else best.values[index]
        units = compiled_passes.Units(chosen[rows], best.positions[index], values)
        field = geometry.fields(self._net)[layer]
        size = tuple(map(min, field.size, self._net.input.size))
        shape = *best.images[chosen].shape, *size, self._net.input.channels
        patches, projections = np.zeros(shape, "f4"), np.zeros(shape, "f4")

        def project_batch(way, batch: list[tuple]) -> None:
            numbers, images, seen = zip(*batch, strict=True)
            now = units.at(list(numbers))
            firsts, parts = way(seen, now)
            sizes = np.array([image.shape[:2] for image in images])
            corners = np.stack(
                [field.first(axis, now.positions[:, axis]) for axis in (0, 1)], axis=1
            )
            corners = corners.clip(0, np.maximum(0, sizes - size))
            for number, image, first, part, corner in zip(
                numbers, images, firsts, parts, corners, strict=True
            ):
                place = rows[number], ranks[number]
                patches[place] = receptive_field_crops.cut(image, corner, size)
                projections[place] = receptive_field_crops.cut(
                    part, corner - first, size
                )

        unit_projector.in_threads(
            project_batch, self._batches(layer, best.images[index])
        )
        return patches, projections

    def _batches(self, layer: str, which: np.ndarray) -> Iterator[tuple]:
        """Ways to project, and batches of (unit's number, its image, what is seen).

        By image, so that each is read once.

        Args:
          layer: the units'.
          which: [N] int, their images' numbers.
        """
        projector = self._projector(layer)
        waiting = {projector.project_images: [], projector.project_cached: []}
        for number in np.unique(which).tolist():
            image = np.asarray(self._images[number])
            own = np.flatnonzero(which == number)
            way, seen = projector.project_images, image
            if self._is_shared(layer, number, image, len(own) * self._costs[layer]):
                way, seen = projector.project_cached, self._cache.get(number, image)
            for unit in own.tolist():
                waiting[way].append((unit, image, seen))
                if len(waiting[way]) == projector.batch_size:
                    yield way, waiting[way]
                    waiting[way] = []
            self._work[number] -= len(own) * self._costs[layer]
            if self._work[number] <= 0:
                self._cache.drop(number)
        yield from ((way, batch) for way, batch in waiting.items() if batch)

    def _is_shared(self, layer: str, number: int, image: np.ndarray, now: int) -> bool:
        """Whether to run all of the image up, rather than cones of so much work now.

        Images of other sizes than the net's own would each compile anew, and all of a
        trace is too much to keep, or a whole batch of them.
        """
        size, batch_size = self._net.input.size, self._projector(layer).batch_size
        if self._settings["all_of_trace"] or image.shape[:2] != size:
            return False
        if batch_size * self._cache.bytes > unit_projector.MOST_KEPT:
            return False
        if number in self._cache:
            return True
        to_come = 0 if self._cache.is_full() else self._work[number]
        return max(now, to_come) > self._cache.cost

    def _projector(self, layer: str) -> unit_projector.UnitProjector:
        """The layer's, kept until another layer is looked at: its kernels are large."""
        if layer not in self._projectors:
            projector = unit_projector.UnitProjector(
                self._net, self._params, layer, **self._settings
            )
            self._projectors = {layer: projector}
        return self._projectors[layer]

    def _chosen(self, layer: str, channels: Sequence[int] | None) -> np.ndarray:
        count = len(self._best[layer].values)
        chosen = np.arange(count) if channels is None else np.asarray(channels, int)
        wrong = chosen[(chosen < 0) | (chosen >= count)]
        if len(wrong):
            raise BadInput(
                f"channel {wrong[0]}: {layer} of {self._net.name} has 0 to {count - 1}"
            )
        return chosen


def project(
    net: Spec,
    params: dict,
    images: Sequence[np.ndarray],
    best: TopK | Mapping[str, TopK],
    *,
    layer: str,
    channels: Sequence[int] | None = None,
    rule: deconvnet.Rule = "deconvnet",
    batch_size: int | None = None,
    control: controls.Control | None = None,
    own_values: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The strongest images' patches and their projections, cut to what the unit sees.

    A `Projector` for one layer. The result is what `deconvnet.reconstruct` gives of the
    whole image.

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
      channels: which maps, all by default.
      rule: what the ReLU does on the way down.
      batch_size: projections computed together. None takes what fits a budget.
      control: what is changed before a unit is projected (`controls.py`).
      own_values: the seed holds what the unit is in this net, not the value that `best`
        has.

    Returns:
      patches, projections: both [M, K, h, w, C] float32, zero where `best` has no
      image.

    Raises:
      BadInput: an unknown layer or map, or no image for any of the maps.
    """
    best = best if isinstance(best, Mapping) else {layer: best}
    projector = Projector(
        net,
        params,
        images,
        best,
        {layer: channels},
        rule=rule,
        batch_size=batch_size,
        control=control,
        own_values=own_values,
    )
    return projector.project(layer, channels)
