"""What is known of all units before a picture is drawn, and how a layer is written."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from experiments.common.model import LoadedModel
from experiments.explore import (
    evolution,
    image_views,
    occlusion_maps,
    unit_numbers,
    weights,
)
from experiments.explore.activation_table import LayerTable
from experiments.explore.evolution import Evolution
from experiments.explore.occlusion_maps import Occlusion
from experiments.explore.unit_numbers import Labels
from experiments.explore.unit_pictures import UnitPictures
from zf_jax.data import sources
from zf_jax.figures.explorer import content, writer
from zf_jax.probes.topk import TopK


class Gathered:
    """What the images tell of the units.

    Attributes:
      loaded: the net.
      data: the images.
      best: the strongest images of each layer's units.
      quantiles: images at quantiles of their activations.
      evolution: of the kept checkpoints; None where there are none.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        data,
        layers: Sequence[str],
        tables: Mapping[str, LayerTable],
        *,
        k: int,
    ):
        """Chooses k examples of each unit of the layers, and those at quantiles.

        `tables` may hold the logits beside the layers.
        """
        self.loaded, self.data, self._tables = loaded, data, tables
        k = min(k, len(data))
        self.best = {name: unit_numbers.top(tables[name], k) for name in layers}
        self.quantiles = {
            name: unit_numbers.at_quantiles(tables[name]) for name in layers
        }
        self.evolution: Evolution | None = None
        self._occlusion: Occlusion | None = None
        self._labels = _labels(data)
        self._below, self._above = {}, {}
        if loaded.model.spec:
            found = weights.strongest(loaded.model.spec, loaded.model.params)
            self._below, self._above = found

    def add_evolution(self, step: int | None, folder: pathlib.Path) -> None:
        """Passes over the images for each kept checkpoint, if there are several."""
        if steps := evolution.kept_steps(self.loaded, step):
            layers = list(self.best)
            self.evolution = Evolution(self.loaded, steps, self.data, layers, folder)

    def add_occlusion(self, chosen: bool | None, path: pathlib.Path, key: str) -> None:
        """Sweeps the strongest examples, where all of them have one size.

        Args:
          chosen: whether to do so; None: where it is cheap.
          path: keeps the maps.
          key: tells what they depend on.
        """
        if self.data.sizes_differ:
            strongest = occlusion_maps.strongest_images(self.best)
            if len({self.data[number].shape for number in strongest}) > 1:
                print("no occlusion maps: the images differ in size")
                return
        if chosen is None and not occlusion_maps.is_cheap(
            self.loaded, self.data, self.best
        ):
            print("no occlusion maps: they take long; --occlusion computes them")
            return
        self._occlusion = occlusion_maps.restore(path, key)
        if self._occlusion is None:
            self._occlusion = occlusion_maps.sweep(
                self.loaded, self.data, self.best, self._classes()
            )
            occlusion_maps.save(path, key, self._occlusion)

    def add_layer(
        self, pages: writer.Writer, layer: str, pictures: UnitPictures
    ) -> None:
        """Writes a layer's numbers and pictures."""
        best, quantiles = self.best[layer], self.quantiles[layer]
        maps = self._occlusion.units.get(layer) if self._occlusion else None
        similarity = np.full(len(best.images), np.nan)
        units = unit_numbers.of_layer(layer, self._tables[layer], best, self._labels)
        units = dataclasses.replace(
            units,
            examples=self._examples(layer, best, pictures),
            quantiles=self._examples(layer, quantiles, pictures),
            quantile=unit_numbers.QUANTILES,
            # It is filled in while the pictures are drawn.
            control_similarity=similarity,
            weights_below=self._shown(self._below.get(layer)),
            weights_above=self._shown(self._above.get(layer)),
            epochs=self.evolution.epochs if self.evolution else (),
        )
        blocks = pictures.of_layer(
            layer, occlusion=maps, evolution=self.evolution, likeness=similarity
        )
        pages.add_layer(units, blocks)

    def image_views(self) -> Iterator[content.ImageView]:
        """The images that examples refer to."""
        every = [*self.best.values(), *self.quantiles.values()]
        numbers = np.unique(np.concatenate([each.images.ravel() for each in every]))
        return image_views.views(
            self.loaded,
            self.data,
            numbers[numbers >= 0].tolist(),
            self._tables,
            labels=self._labels,
            occlusion=self._occlusion,
        )

    def _examples(
        self, layer: str, found: TopK, pictures: UnitPictures
    ) -> content.Examples:
        return content.Examples(
            found.images,
            found.values,
            found.positions if self.loaded.layers[layer].has_maps else None,
            pictures.boxes(layer, found),
        )

    def _shown(self, units: tuple | None) -> tuple | None:
        """Weights to layers of the explorer; None where there are none."""
        if units is None:
            return None
        kept = tuple(tuple(w for w in unit if w.layer in self.best) for unit in units)
        return kept if any(kept) else None

    def _classes(self) -> np.ndarray | None:
        """The class of each image: its own, else the most probable one."""
        if self._labels and self._labels.names == self.loaded.labels:
            return self._labels.numbers
        for name, table in self._tables.items():
            if self.loaded.class_names(name):
                return table.values.argmax(axis=1)
        return None


def _labels(data) -> Labels | None:
    if not data.labels:
        return None
    return Labels(sources.classes(data.source), data.labels)
