"""Projections of a model that is a function, through the whole image."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from experiments.common.hidden_layers import HiddenLayer
from zf_jax import deconvnet
from zf_jax.probes.topk import TopK

# Units that are projected together.
_BATCH = 16


class Projector:
    """Projects the strongest images of several layers' channels, layer by layer.

    Args:
      apply: prepared images to a pytree; it closes over its weights.
      images: the data set by index, each [H, W, C] float32 as `apply` takes them, all
        of one size.
      best: the strongest images of each layer.
      layers: all layers by name.
      **options: of `deconvnet.project`.
    """

    def __init__(
        self,
        apply: Callable,
        images: Sequence[np.ndarray],
        best: Mapping[str, TopK],
        layers: Mapping[str, HiddenLayer],
        **options,
    ):
        self._apply, self._images, self._options = apply, images, options
        self._layers = layers
        self._best = {
            name: TopK(*(np.asarray(part) for part in each))
            for name, each in best.items()
        }

    def project(
        self, layer: str, channels: Sequence[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images and projections of some channels, [M, K, H, W, C] float32 each.

        They are zero where a channel has fewer than K images.
        """
        best = self._best[layer]
        chosen = np.arange(len(best.values)) if channels is None else np.array(channels)
        rows, ranks = np.nonzero(best.images[chosen] >= 0)
        numbers = best.images[chosen[rows], ranks]
        shape = (*best.images[chosen].shape, *np.shape(self._images[int(numbers[0])]))
        patches, projections = np.zeros(shape, "f4"), np.zeros(shape, "f4")
        positions = best.positions[chosen[rows], ranks]
        for start in range(0, len(rows), _BATCH):
            # The last batch is filled up, so that it compiles nothing new.
            units = np.minimum(np.arange(start, start + _BATCH), len(rows) - 1)
            images = np.stack([self._images[int(each)] for each in numbers[units]])
            pixels = deconvnet.project(
                self._apply,
                images,
                layer=layer,
                channel=chosen[rows[units]],
                position=positions[units] if self._layers[layer].has_maps else None,
                **self._options,
            )
            patches[rows[units], ranks[units]] = images
            projections[rows[units], ranks[units]] = pixels
        return patches, projections
