"""Projections of the strongest activations back to pixels (fig. 2), for any function.

The strongest images of each channel are gathered in one pass over a data set
(`topk.py`). Their units are then projected, each from its receptive field alone
(`transforms/crop.py`).
"""

import collections
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

from zf_jax.errors import BadInput
from zf_jax.probes import model_functions, threads, unit_passes
from zf_jax.probes.topk import TopK
from zf_jax.transforms import capture, gates, jaxpr, rectify, upper_bounds
from zf_jax.transforms.rectify import Nonlinear

# Bytes that the values of one batch of projections may take, and the most projections
# in a batch.
_BUDGET, _MOST = 2 << 30, 64
# On a CPU the values should stay in the cache. Batches have a least size too, since the
# filters are read again for each batch (measured by `--bench=projection`).
_BYTES_CPU, _FEWEST_CPU, _MOST_CPU = 20 << 20, 8, 16
# The most bytes of whole images' forward passes that are kept, or computed together,
# and the most images that are.
_MOST_KEPT, _IMAGES = 1 << 30, 8


class Projector:
    """Projects the strongest images of several layers' channels, layer by layer.

    A unit's forward and backward pass run on its receptive field. Where an image
    excites many units, one forward pass of the whole image is less work than all
    theirs; then it is computed once, and kept for the units of all layers.

    `channels` says which channels will be asked for, by layer; None stands for all. The
    other arguments are those of `project`.

    Raises:
      BadInput: an unknown layer or channel, no rectifier in the function, or another
        nonlinearity without a word on it (`rectify`).
    """

    def __init__(
        self,
        apply: Callable,
        images: Sequence[np.ndarray],
        best: Mapping[str, TopK],
        channels: Mapping[str, Sequence[int] | None],
        *,
        rule: gates.Rule = "deconvnet",
        nonlinear: Nonlinear | None = None,
        batch_size: int | None = None,
        control: unit_passes.Control | None = None,
        own_values: bool = False,
        channel_axis: capture.Channels = "last",
    ):
        for layer in channels:
            if layer not in best:
                raise BadInput(f"{layer}: `best` has {', '.join(best)}")
        maps = capture.maps(apply, list(channels), channels=channel_axis)
        rectified = rectify.rectify(maps, rule, nonlinear=nonlinear, may_have_none=True)
        self._function = upper_bounds.open_own(rectified, rule)
        self._apply, self._images = apply, images
        self._control, self._own_values = control, own_values
        self._batch_size = batch_size
        self._best = {
            layer: TopK(*(np.asarray(part) for part in best[layer]))
            for layer in channels
        }
        self._chosen_channels = {
            layer: self._chosen(layer, each) for layer, each in channels.items()
        }
        self._shapes: dict[tuple, _Shape] = {}
        self._shape_numbers: dict[int, _Shape] = {}
        self._left = collections.Counter()
        for layer, chosen in self._chosen_channels.items():
            numbers = self._best[layer].images[chosen]
            self._left.update((layer, n) for n in numbers[numbers >= 0].tolist())

    def project(
        self, layer: str, channels: Sequence[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The patches and projections of one of the layers, as `project` gives them.

        Args:
          layer: its name.
          channels: some of its channels; None stands for all.

        Raises:
          BadInput: another layer, an unknown channel, or no image for any of the
            channels.
        """
        if layer not in self._best:
            raise BadInput(f"{layer}: this Projector has {', '.join(self._best)}")
        best = self._best[layer]
        chosen = self._chosen(layer, channels)
        rows, ranks = np.nonzero(best.images[chosen] >= 0)
        if not len(rows):
            raise BadInput(f"{layer}: no image excites the channels {list(chosen)}")
        units = _Units(
            chosen[rows],
            best.positions[chosen[rows], ranks],
            None if self._own_values else best.values[chosen[rows], ranks],
            best.images[chosen[rows], ranks],
        )
        # Patches are as large as the largest of the images allows.
        shapes = {self._shape_of(n) for n in np.unique(units.images).tolist()}
        crops = [shape.passes(layer).crop for shape in shapes]
        size = tuple(max(crop.size[axis] for crop in crops) for axis in (0, 1))
        image_channels = max(shape.image.shape[-1] for shape in shapes)
        shape = *best.images[chosen].shape, *size, image_channels
        patches, projections = np.zeros(shape, "f4"), np.zeros(shape, "f4")

        def finish(numbers, images, firsts, parts) -> None:
            for number, image, first, part in zip(
                numbers, images, firsts, parts, strict=True
            ):
                # At the border a patch is moved into the image.
                corner = np.clip(
                    first, 0, np.maximum(0, image.shape[:2] - np.array(size))
                )
                at = rows[number], ranks[number]
                patches[at] = crop_with_zeros(image, corner, size)
                projections[at] = crop_with_zeros(part, corner - first, size)

        def work(key, numbers, images, wholes) -> None:
            shape, _ = key
            firsts, parts = self._project_batch(
                shape, layer, units.at(numbers), images, wholes
            )
            finish(numbers, images, firsts, parts)

        threads.in_threads(work, self._batches(layer, units))
        return patches, projections

    def boxes(
        self, layer: str, images: np.ndarray, positions: np.ndarray
    ) -> np.ndarray:
        """The receptive fields of units, in the pixels of their images.

        Args:
          layer: one of the layers.
          images: [N] int, each unit's image.
          positions: [N, 2] int, each unit's row and column.

        Returns:
          [N, 4] int: top, left, bottom, right, half open; they may lie beyond the
          image's border. A field has the image's size at most.
        """
        found = np.zeros((len(images), 4), int)
        for number in np.unique(images).tolist():
            at, crop = images == number, self._shape_of(number).passes(layer).crop
            found[at, :2] = crop.firsts(positions[at])
            found[at, 2:] = found[at, :2] + crop.size
        return found

    def _project_batch(self, shape: "_Shape", layer: str, units, images, wholes):
        """First pixels [N, 2] and projections of a batch; a short one is filled up."""
        passes, count = shape.passes(layer), len(images)
        filled = np.minimum(np.arange(self._size_of(passes)), count - 1)
        units = units.at(filled)
        firsts = passes.crop.firsts(units.positions)
        with_columns = self._own_values or self._control is not None
        if wholes is not None:
            forward = passes.cut([wholes[n] for n in filled], units.positions)
        elif passes.crop.reads or with_columns:
            crops = [
                crop_with_zeros(images[n], first, passes.crop.size)
                for n, first in zip(filled, firsts, strict=True)
            ]
            forward = passes.forward(
                shape.weights, np.stack(crops), units.positions, with_columns
            )
        else:
            forward = passes.nothing(len(filled))
        parts = passes.backward(
            shape.weights,
            forward,
            units.positions,
            units.channels,
            units.values,
            self._control,
        )
        return firsts[:count], np.asarray(parts)[:count]

    def _batches(self, layer: str, units: "_Units") -> Iterator[tuple]:
        """((shape, method), numbers of units, images, what is saved of them or None).

        Units are ordered by image, so that each image is read once for a layer.
        """
        waiting = collections.defaultdict(list)
        for shape, image, own, whole in self._forwards(layer, units):
            key = shape, whole is not None
            size = self._size_of(shape.passes(layer))
            for unit in own.tolist():
                waiting[key].append((unit, image, whole))
                if len(waiting[key]) == size:
                    yield _batch(key, waiting.pop(key))
        for key, batch in waiting.items():
            yield _batch(key, batch)

    def _forwards(self, layer: str, units: "_Units") -> Iterator[tuple]:
        """(shape, image, its units, what is saved of the whole image or None)."""
        waiting = collections.defaultdict(list)
        for number in np.unique(units.images).tolist():
            own, image = np.flatnonzero(units.images == number), self._read(number)
            shape = self._shape_of(number)
            if number in shape.kept:
                yield shape, image, own, shape.kept[number]
            elif not self._is_shared(shape, layer, number, len(own)):
                yield shape, image, own, None
            else:
                waiting[shape].append((number, image, own))
                if len(waiting[shape]) == shape.images_per_call:
                    yield from self._whole(shape, waiting.pop(shape))
            self._forget(layer, number, len(own))
        for shape, batch in waiting.items():
            yield from self._whole(shape, batch)

    def _whole(self, shape: "_Shape", batch: list[tuple]) -> Iterator[tuple]:
        """Forward passes of whole images: one call for a few of them."""
        images = [image for _, image, _ in batch]
        images += images[-1:] * (shape.images_per_call - len(images))
        saved = shape.whole(shape.weights, np.stack(images))
        for (number, image, own), each in zip(batch, saved, strict=False):
            if self._is_needed(number) and shape.has_room():
                shape.kept[number] = each
            yield shape, image, own, each

    def _is_shared(self, shape: "_Shape", layer: str, number: int, count: int) -> bool:
        """Whether a forward pass of the whole image is less work than its units'."""
        if self._control is not None or self._own_values:
            return False
        if self._size_of(shape.passes(layer)) * shape.whole.bytes > _MOST_KEPT:
            return False
        counts = {layer: count}
        if shape.has_room():
            counts = {each: self._left[each, number] for each in self._best}
        work = sum(
            count * shape.passes(each).crop.forward_work(whole=False)
            for each, count in counts.items()
            if count
        )
        return work > shape.whole.work

    def _is_needed(self, number: int) -> bool:
        return any(self._left[layer, number] > 0 for layer in self._best)

    def _forget(self, layer: str, number: int, count: int) -> None:
        self._left[layer, number] -= count
        if not self._is_needed(number):
            self._shape_of(number).kept.pop(number, None)

    def _size_of(self, passes: unit_passes.UnitPasses) -> int:
        if self._batch_size:
            return self._batch_size
        unit, most = passes.crop.bytes(), _MOST
        if jax.default_backend() == "cpu":
            most = min(max(_BYTES_CPU // unit, _FEWEST_CPU), _MOST_CPU)
        return int(max(1, min(most, _BUDGET // unit)))

    def _read(self, number: int) -> np.ndarray:
        """An image [H, W, C]: of a data set, it is decoded anew."""
        image = np.asarray(self._images[number], np.float32)
        if number not in self._shape_numbers:
            if image.shape not in self._shapes:
                self._shapes[image.shape] = _Shape(
                    self._apply, self._function, image.shape, tuple(self._best)
                )
            self._shape_numbers[number] = self._shapes[image.shape]
        return image

    def _shape_of(self, number: int) -> "_Shape":
        if number not in self._shape_numbers:
            self._read(number)
        return self._shape_numbers[number]

    def _chosen(self, layer: str, channels: Sequence[int] | None) -> np.ndarray:
        count = len(self._best[layer].values)
        chosen = np.arange(count) if channels is None else np.asarray(channels, int)
        wrong = chosen[(chosen < 0) | (chosen >= count)]
        if len(wrong):
            raise BadInput(f"channel {wrong[0]}: {layer} has 0 to {count - 1}")
        return chosen


class _Shape:
    """The function for images of one shape, and what is kept of such images."""

    def __init__(self, apply, function, shape: tuple, layers: tuple[str, ...]):
        self.image = jax.ShapeDtypeStruct((1, *shape), np.float32)
        # Layers below the first rectifier have none; the function has some.
        jax.eval_shape(
            rectify.rectify(apply, "gradient", nonlinear="gradient"), self.image
        )
        program = model_functions.prepare_arguments(
            function, self.image, differentiated=True
        )
        self.weights, self.kept = program.weights, {}
        self._given = program.apply, tuple(jaxpr.abstract(program.weights)), self.image
        self._layers = layers

    def passes(self, layer: str) -> unit_passes.UnitPasses:
        """Those of a layer's units."""
        return unit_passes.unit_passes(*self._given, layer)

    @functools.cached_property
    def whole(self) -> unit_passes.WholePass:
        """The forward pass of whole images, for the units of all layers."""
        return unit_passes.whole_pass(*self._given, self._layers)

    @property
    def images_per_call(self) -> int:
        """How many whole images are computed at once."""
        return max(1, min(_IMAGES, _MOST_KEPT // max(1, self.whole.bytes)))

    def has_room(self) -> bool:
        """Whether one more image's forward pass may be kept."""
        return (len(self.kept) + 1) * self.whole.bytes <= _MOST_KEPT


class _Units(collections.namedtuple("_Units", "channels positions values images")):
    """Units of one layer: [N] int, [N, 2] int, [N] float or None, [N] int."""

    def at(self, index) -> "_Units":
        """The units at some indices."""
        return _Units(*(part if part is None else part[index] for part in self))


def _batch(key, batch: list[tuple]) -> tuple:
    numbers, images, wholes = zip(*batch, strict=True)
    return key, np.array(numbers), images, wholes if key[1] else None


def crop_with_zeros(image: np.ndarray, first, size: tuple[int, int]) -> np.ndarray:
    """`size` pixels of the image from `first` on, zero where the image has none."""
    cut = np.zeros((*size, image.shape[-1]), np.float32)
    (top, left), (height, width) = (int(n) for n in first), image.shape[:2]
    rows = slice(max(top, 0), max(min(top + size[0], height), 0))
    columns = slice(max(left, 0), max(min(left + size[1], width), 0))
    seen = image[rows, columns]
    row, column = rows.start - top, columns.start - left
    cut[row : row + seen.shape[0], column : column + seen.shape[1]] = seen
    return cut


def project(
    apply: Callable,
    images: Sequence[np.ndarray],
    best: TopK | Mapping[str, TopK],
    *,
    layer: str,
    channels: Sequence[int] | None = None,
    **options,
) -> tuple[np.ndarray, np.ndarray]:
    """The strongest images' patches and their projections, cut to the receptive field.

    This is a `Projector` for one layer. The projections are those that
    `deconvnet.project` gives of the whole image.

    A patch is as large as the receptive field, or as the image where that is smaller.
    At the border it is moved into the image, so that it still holds all that the unit
    sees. Where images differ in size, what one of them lacks is zero.

    Args:
      apply: a JAX function of images [N, H, W, C]; it closes over its weights.
      images: the data set by index, each [H, W, C] float as `apply` takes them.
      best: of the layer, or the dict that `topk.scan` gives.
      layer: name of a hidden value (`capture.layers`).
      channels: which channels, all by default.
      **options: of `Projector`:
        rule: what rectifiers do in the backward pass, "deconvnet" by default;
        nonlinear: what other nonlinearities do (`rectify`);
        batch_size: projections computed together; None takes what fits a budget;
        control: takes something away before a unit is projected (`controls.py`);
        own_values: the seed holds the unit's activation in this function, not the value
          in `best`, which another one may have given;
        channel_axis: "first" where hidden maps are [N, C, h, w].

    Returns:
      patches, projections: both [M, K, h, w, C] float32 for M channels, zero where
      `best` has no image.

    Raises:
      BadInput: as `Projector` does, or no image for any of the channels.
    """
    best = best if isinstance(best, Mapping) else {layer: best}
    projector = Projector(apply, images, best, {layer: channels}, **options)
    return projector.project(layer, channels)
