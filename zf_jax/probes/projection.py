"""Projections of the strongest activations back to pixels (fig. 2).

The strongest images of each channel are gathered in one pass over a data set
(`topk.py`). Their units are then projected, each from its receptive-field crop alone.
"""

import collections
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from zf_jax import deconvnet, geometry
from zf_jax.errors import BadInput
from zf_jax.probes import (
    compiled_passes,
    controls,
    forward_cache,
    receptive_field_crops,
    unit_projector,
)
from zf_jax.probes.topk import TopK
from zf_jax.spec import Spec


class Projector:
    """Projects the strongest images of several layers' channels, layer by layer.

    A unit's forward and backward pass run on its receptive-field crop
    (`geometry.Crop`), where that is less work than the whole image. Where an image
    excites many units, one forward pass of the whole image is less work than all their
    crops; then it is computed once, and kept for the units of all layers.

    `channels` says which channels will be asked for, by layer; None stands for all. The
    other arguments are those of `project`.

    Raises:
      BadInput: an unknown layer or channel.
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
        self._cache = forward_cache.ForwardCache(self._net, params, rule)
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
          channels: some of its channels; None stands for all.

        Raises:
          BadInput: another layer, an unknown channel or rule, or no image for any of
            the channels.
        """
        if layer not in self._best:
            raise BadInput(f"{layer}: this Projector has {', '.join(self._best)}")
        best = self._best[layer]
        chosen = self._chosen(layer, channels)
        rows, ranks = np.nonzero(best.images[chosen] >= 0)
        if not len(rows):
            raise BadInput(f"{layer}: no image excites the channels {list(chosen)}")
        index = chosen[rows], ranks
        values = None if self._own_values else best.values[index]
        units = compiled_passes.Units(chosen[rows], best.positions[index], values)
        field = geometry.receptive_fields(self._net)[layer]
        size = tuple(map(min, field.size, self._net.input.size))
        shape = *best.images[chosen].shape, *size, self._net.input.channels
        patches, projections = np.zeros(shape, "f4"), np.zeros(shape, "f4")

        def project_batch(method, batch: list[tuple]) -> None:
            numbers, images, seen = zip(*batch, strict=True)
            now = units.at(list(numbers))
            firsts, parts = method(seen, now)
            sizes = np.array([image.shape[:2] for image in images])
            corners = np.stack(
                [field.first(axis, now.positions[:, axis]) for axis in (0, 1)], axis=1
            )
            corners = corners.clip(0, np.maximum(0, sizes - size))
            for number, image, first, part, corner in zip(
                numbers, images, firsts, parts, corners, strict=True
            ):
                at = rows[number], ranks[number]
                patches[at] = receptive_field_crops.crop_with_zeros(image, corner, size)
                projections[at] = receptive_field_crops.crop_with_zeros(
                    part, corner - first, size
                )

        unit_projector.in_threads(
            project_batch, self._batches(layer, best.images[index])
        )
        return patches, projections

    def _batches(self, layer: str, which: np.ndarray) -> Iterator[tuple]:
        """Batches for a method of `UnitProjector`: (method, [(unit, image, seen)]).

        `seen` is what the method takes for the unit, the image or its cached forward
        pass. Units are ordered by image, so that each image is read once. `which` has
        the units' images, [N] int.
        """
        projector = self._projector(layer)
        waiting = {projector.project_images: [], projector.project_cached: []}
        for number in np.unique(which).tolist():
            image = np.asarray(self._images[number])
            own = np.flatnonzero(which == number)
            method, seen = projector.project_images, image
            if self._is_shared(layer, number, image, len(own) * self._costs[layer]):
                method, seen = projector.project_cached, self._cache.get(number, image)
            for unit in own.tolist():
                waiting[method].append((unit, image, seen))
                if len(waiting[method]) == projector.batch_size:
                    yield method, waiting[method]
                    waiting[method] = []
            self._work[number] -= len(own) * self._costs[layer]
            if self._work[number] <= 0:
                self._cache.drop(number)
        yield from ((method, batch) for method, batch in waiting.items() if batch)

    def _is_shared(self, layer: str, number: int, image: np.ndarray, now: int) -> bool:
        """Whether to share a forward pass of the whole image, rather than run crops.

        Images of other sizes than the net's would each compile anew. A trace that is
        needed whole is too large to keep, and so may be a batch of traces. `now` has
        the multiply-adds of the crops that are to be projected now.
        """
        size, batch_size = self._net.input.size, self._projector(layer).batch_size
        if self._settings["all_of_trace"] or image.shape[:2] != size:
            return False
        if batch_size * self._cache.bytes > forward_cache.MAX_CACHE_BYTES:
            return False
        if number in self._cache:
            return True
        to_come = 0 if self._cache.is_full() else self._work[number]
        return max(now, to_come) > self._cache.cost

    def _projector(self, layer: str) -> unit_projector.UnitProjector:
        """The layer's projector, kept until another layer's: its kernels are large."""
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
    """The strongest images' patches and their projections, cut to the receptive field.

    This is a `Projector` for one layer. The projections are those that
    `deconvnet.reconstruct` gives of the whole image.

    A patch is as large as the receptive field, or as the net's input where that is
    smaller. At the border it is moved into the image, so that it still holds all that
    the unit sees. Where the image is smaller than the patch, the rest is zero.

    Args:
      net: the architecture.
      params: its parameters.
      images: the data set by index, each [H, W, C] float as `convnet.prepare` makes
        them.
      best: of the layer, or the dict that `topk.scan` gives.
      layer: name of the layer.
      channels: which channels, all by default.
      rule: what the ReLU does in the backward pass.
      batch_size: projections computed together. None takes what fits a budget.
      control: changes the net or the trace before a unit is projected (`controls.py`).
      own_values: the seed holds the unit's activation in this net, not the value in
        `best`, which another net may have given.

    Returns:
      patches, projections: both [M, K, h, w, C] float32 for M channels, zero where
      `best` has no image.

    Raises:
      BadInput: an unknown layer or channel, or no image for any of the channels.
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
