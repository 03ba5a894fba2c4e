"""Fig. 4 for every unit: its strongest projection at each of the kept checkpoints."""

import pathlib
from collections.abc import Sequence

import numpy as np

from experiments.common import model, topk_pass
from experiments.common.model import LoadedModel
from zf_jax.figures import raster
from zf_jax.probes.topk import TopK
from zf_jax.training import checkpoint


class Evolution:
    """Draws the strongest projections of units at every epoch that is looked at.

    Attributes:
      epochs: in order.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        steps: dict[int, int],
        data,
        layers: Sequence[str],
        folder: pathlib.Path,
    ):
        """Passes over the images once for each epoch.

        Args:
          loaded: the net, of a training run.
          steps: the step of each epoch.
          data: the images.
          layers: their names.
          folder: keeps the passes.
        """
        self.epochs, self._projectors, self._best = tuple(steps), [], []
        for epoch, step in steps.items():
            then = loaded.with_params(_params(loaded, step))
            best = topk_pass.scan(
                then,
                data,
                layers,
                k=1,
                path=folder / f"pass-{epoch}.npz",
                desc=f"epoch {epoch}",
            )
            best = {name: _only_active(each) for name, each in best.items()}
            every = dict.fromkeys(layers)
            self._projectors.append(then.projector(data, best, every))
            self._best.append(best)

    def of_units(
        self, layer: str, units: np.ndarray, size: tuple[int, int]
    ) -> np.ndarray:
        """[u, E, *size, 3] uint8; grey where a unit is silent at an epoch."""
        drawn = np.full((len(units), len(self.epochs), *size, 3), 128, np.uint8)
        for index, projector in enumerate(self._projectors):
            best = self._best[index][layer]
            live = np.flatnonzero(best.images[units, 0] >= 0)
            if len(live):
                projections = projector.project(layer, units[live])[1][:, 0]
                height, width = projections.shape[1:3]
                pictures = np.rint(255 * raster.stretch(projections))
                drawn[live, index, :height, :width] = pictures
        return drawn


def kept_steps(loaded: LoadedModel, step: int | None) -> dict[int, int]:
    """The steps of the epochs of fig. 4 and the newest, up to `step`; few are none."""
    if loaded.run is None:
        return {}
    kept = {
        epoch: each
        for epoch, each in checkpoint.epochs(loaded.run).items()
        if step is None or each <= step
    }
    chosen = {*checkpoint.FIG_4, *list(kept)[-1:]} & set(kept)
    return {epoch: kept[epoch] for epoch in sorted(chosen)} if len(chosen) > 1 else {}


def _params(loaded: LoadedModel, step: int):
    """The weights after a step of the run, of the layers that the net has."""
    then = model.from_run(loaded.run, step, upto=loaded.upto)
    return then.model.params


def _only_active(best: TopK) -> TopK:
    is_active = np.isfinite(best.values) & (np.asarray(best.values) != 0)
    return best._replace(images=np.where(is_active, best.images, -1))
