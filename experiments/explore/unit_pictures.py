"""Patches of units and their projections: by every rule, true and under controls."""

import concurrent.futures
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np

from experiments.common.model import LoadedModel
from experiments.explore.evolution import Evolution
from experiments.explore.image_views import as_bytes, picture
from zf_jax import deconvnet
from zf_jax.errors import BadInput
from zf_jax.figures import raster
from zf_jax.figures.explorer.content import BLOCK, Pictures
from zf_jax.probes import controls, random_weights, similarity
from zf_jax.probes.projection import Projector, crop_with_zeros
from zf_jax.probes.topk import TopK
from zf_jax.transforms import rectify

# Examples that are projected by another rule than the first, and under a control:
# enough to compare, at a fraction of the seconds and bytes.
_RULED, _CONTROLLED = 3, 1
# The true projection, and the control that tells rules apart (Adebayo et al. 2018):
# those of every rule. The other controls are those of the first rule.
_EVERY_RULE = ("", "random_weights")


class UnitPictures:
    """Draws layers block by block, so that memory is bounded by a block."""

    def __init__(
        self,
        loaded: LoadedModel,
        data,
        best: Mapping[str, TopK],
        quantiles: Mapping[str, TopK],
        *,
        rules: Sequence[deconvnet.Rule],
        seed: int,
    ):
        """Projectors of all layers.

        Args:
          loaded: the net.
          data: the images.
          best: the strongest images of each layer's units.
          quantiles: other images of each layer's units, of which patches are cut.
          rules: for the ReLU in the backward pass; projections by the first are
            compared with those under controls.
          seed: of what is random in the controls.
        """
        self._loaded, self._data = loaded, data
        self._best, self._quantiles = best, quantiles
        every, image = dict.fromkeys(best), _image(best, data)
        self._has_switches = {
            layer: rectify.has_switches(loaded.maps([layer]), image) for layer in best
        }
        changes = {"": (loaded, None)} | _changes(loaded, list(best), image, seed)
        self._projectors: dict[str, dict[str, tuple[int, Projector]]] = {}
        for rule in rules:
            self._projectors[rule] = {}
            for name, (changed, control) in changes.items():
                if rule != rules[0] and name not in _EVERY_RULE:
                    continue
                k = _count(best)
                if name or rule != rules[0]:
                    k = min(k, _CONTROLLED if name else _RULED)
                ruled = dataclasses.replace(changed, rule=rule)
                projector = ruled.projector(
                    data, _first(best, k), every, control=control
                )
                self._projectors[rule][name] = k, projector

    def boxes(self, layer: str, found: TopK) -> np.ndarray:
        """[U, k, 4]: the receptive fields of examples, in pixels of their images."""
        _, projector = next(iter(self._projectors.values()))[""]
        boxes = np.zeros((*found.images.shape, 4), int)
        known = found.images >= 0
        boxes[known] = projector.boxes(
            layer, found.images[known], found.positions[known]
        )
        return boxes

    def of_layer(
        self,
        layer: str,
        *,
        occlusion: np.ndarray | None,
        evolution: Evolution | None,
        likeness: np.ndarray,
    ) -> Iterator[Pictures]:
        """The pictures of a layer's units, block by block.

        Args:
          layer: its name.
          occlusion: [U, R, S] uint8, maps of its units.
          evolution: draws the kept checkpoints.
          likeness: [U], is filled with how similar each unit's strongest projection
            is to the same under controls: the mean rank correlation.
        """
        best, quantiles = self._best[layer], self._quantiles[layer]
        size = _size(self.boxes(layer, best), self.boxes(layer, quantiles))
        for start in range(0, len(best.images), BLOCK):
            units = np.arange(start, min(start + BLOCK, len(best.images)))
            patches, drawn = self._project(layer, units, size)
            likeness[units] = _likeness(next(iter(drawn.values())))
            yield Pictures(
                patches=picture(patches, self._loaded),
                projections={
                    rule: {name: _drawn(each) for name, each in by_control.items()}
                    for rule, by_control in drawn.items()
                },
                quantile_patches=self._patches(layer, units, size),
                occlusion=None if occlusion is None else occlusion[units],
                evolution=evolution and evolution.of_units(layer, units, size),
            )

    def _project(
        self, layer: str, units: np.ndarray, size: tuple[int, int]
    ) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
        """Patches of all examples, and projections by rule and control."""
        live = self._best[layer].images[units, 0] >= 0

        def project(job):
            _, _, k, projector = job
            shape = len(units), k, *size, self._loaded.input.channels
            return _project(projector, layer, units, live, shape)

        jobs = [
            (rule, control, k, projector)
            for rule, projectors in self._projectors.items()
            for control, (k, projector) in projectors.items()
            if self._makes_sense(control, layer)
        ]
        # A block under a control is one batch, which leaves cores idle.
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            found = list(pool.map(project, jobs))
        drawn = {rule: {} for rule in self._projectors}
        for (rule, control, *_), (_, projections) in zip(jobs, found, strict=True):
            drawn[rule][control] = projections
        # The first of all is true, and has the patches of all examples.
        return found[0][0], drawn

    def _makes_sense(self, control: str, layer: str) -> bool:
        """Without a pool below there are no switches; one unit has no other."""
        if control == "random_switches":
            return self._has_switches[layer]
        return control != "wrong_unit" or len(self._best[layer].images) > 1

    def _patches(
        self, layer: str, units: np.ndarray, size: tuple[int, int]
    ) -> np.ndarray:
        """[u, q, *size, 3] uint8: what units see of the images at quantiles."""
        found = TopK(*(part[units] for part in self._quantiles[layer]))
        boxes = self.boxes(layer, found)
        drawn = np.zeros((*found.images.shape, *size, 3), np.uint8)
        for number in np.unique(found.images).tolist():
            pixels = picture(np.asarray(self._data[number]), self._loaded)
            for at in zip(*np.nonzero(found.images == number), strict=True):
                # As the patches of projections, moved into the image at its border.
                free = np.maximum(0, np.array(pixels.shape[:2]) - size)
                corner = np.clip(boxes[at][:2], 0, free)
                drawn[at] = crop_with_zeros(pixels, corner, size)
        return drawn


def _count(best: Mapping[str, TopK]) -> int:
    """How many examples a unit has."""
    return next(iter(best.values())).images.shape[1]


def _first(best: Mapping[str, TopK], count: int) -> dict[str, TopK]:
    """The strongest few of each unit's examples."""
    return {
        name: TopK(*(part[:, :count] for part in each)) for name, each in best.items()
    }


def _image(best: Mapping[str, TopK], data) -> jax.ShapeDtypeStruct:
    """One of the images, [1, H, W, C], without values."""
    number = max(0, max(int(each.images.max()) for each in best.values()))
    return jax.ShapeDtypeStruct((1, *np.shape(data[number])), np.float32)


def _changes(
    loaded: LoadedModel, layers: Sequence[str], image: jax.ShapeDtypeStruct, seed: int
) -> dict[str, tuple]:
    """The net and the control of a projection, by what is taken away."""
    weights, units, switches = jax.random.split(jax.random.key(seed), 3)
    found = {}
    try:
        # The last step of the cascade: nothing that was learned is left.
        *_, (_, params) = random_weights.cascade(
            lambda params, images: loaded.with_params(params).maps(layers)(images),
            loaded.model.params,
            image,
            weights,
        )
        found["random_weights"] = loaded.with_params(params), None
    except BadInput as error:
        print(f"no control with random weights: {error}")
    found["wrong_unit"] = loaded, controls.wrong_unit(units)
    found["random_switches"] = loaded, controls.random_switches(switches)
    return found


def _project(
    projector: Projector, layer: str, units: np.ndarray, live: np.ndarray, shape
) -> tuple[np.ndarray, np.ndarray]:
    """Patches and projections of units, both of a shape [u, k, h, w, C].

    They are zero where a unit is not live.
    """
    whole = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    if live.any():
        parts = projector.project(layer, units[live])
        for into, part in zip(whole, parts, strict=True):
            # Of the images of a few units, all may be smaller than others.
            into[live, :, : part.shape[2], : part.shape[3]] = part
    return whole


def _size(*boxes: np.ndarray) -> tuple[int, int]:
    """Rows and columns of the largest box."""
    every = np.concatenate([each.reshape(-1, 4) for each in boxes])
    return tuple(np.maximum(1, (every[:, 2:] - every[:, :2]).max(axis=0)).tolist())


def _likeness(by_control: Mapping[str, np.ndarray]) -> np.ndarray:
    """[u]: mean rank correlation of the true projections and those under controls."""
    true, *others = (each[:, 0] for each in by_control.values())
    if not others:
        return np.full(len(true), np.nan)
    ranks = [similarity.compare(true, other).spearman for other in others]
    known = np.isfinite(ranks)
    total, count = np.where(known, ranks, 0).sum(axis=0), known.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _drawn(projections: np.ndarray) -> np.ndarray:
    """Signed projections [u, k, h, w, C] as pictures, each stretched by itself."""
    flat = projections.reshape(-1, *projections.shape[2:])
    return as_bytes(raster.stretch(flat)).reshape(*projections.shape[:-1], 3)
