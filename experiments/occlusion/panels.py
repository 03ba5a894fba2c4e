"""The picture and the numbers of one image."""

import pathlib
from typing import NamedTuple

import jax
import numpy as np

from experiments.common import topk_pass
from experiments.common.image_choice import ChosenImage
from experiments.common.model import LoadedModel
from zf_jax import io
from zf_jax.figures import occlusion_panels, raster
from zf_jax.figures.occlusion_panels import ClassMaps, OcclusionMaps
from zf_jax.probes.topk import TopK


class Square(NamedTuple):
    """What covers the image.

    Attributes:
      side: pixels.
      stride: between its positions, pixels.
      fill: [C], its colour as the net takes it.
    """

    side: int
    stride: int
    fill: jax.Array


class SweepResult(NamedTuple):
    """What is known of an image.

    Attributes:
      chosen: the image.
      outputs: by the square's position, [R, S, ...] each.
      clean: the same for the image itself, [...] each.
      best: of the layer, what excites each channel most in this image.
    """

    chosen: ChosenImage
    outputs: dict[str, np.ndarray]
    clean: dict[str, np.ndarray]
    best: TopK

    @property
    def label(self) -> int:
        """The class that is examined: the true one, else what the net says."""
        if self.chosen.label is not None:
            return self.chosen.label
        return int(self.clean["probability"].argmax())


class Neighbours:
    """The images that excite a layer's channels most, drawn beside one's own."""

    def __init__(
        self,
        loaded: LoadedModel,
        layer: str,
        data,
        path: pathlib.Path,
        count: int,
    ):
        """Passes over the images; `path` keeps the pass."""
        self._loaded, self._layer = loaded, layer
        self._data, self._count = data, count
        self._best = topk_pass.scan(
            loaded,
            data,
            [layer],
            # One to spare: an image is not shown beside itself.
            k=min(count + 1, len(data)),
            path=path,
            desc="neighbour images",
        )[layer]

    def projections(self, channel: int, chosen: ChosenImage) -> np.ndarray:
        """[K, h, w, C]: projections of a channel, from images other than `chosen`."""
        _, (found,) = self._loaded.project(
            self._data, self._best, layer=self._layer, channels=[channel]
        )
        # Of few images, the channel may be silent in some.
        keep = np.asarray(self._best.values[channel]) > 0
        if chosen.source is self._data:
            keep &= np.asarray(self._best.images[channel]) != chosen.index
        return found[keep][: self._count]


def draw(
    loaded: LoadedModel,
    layer: str,
    swept: SweepResult,
    square: Square,
    neighbours: Neighbours | None,
    out: pathlib.Path,
) -> list[pathlib.Path]:
    """Writes the picture and the arrays of one image to the folder `out`."""
    one = swept.chosen
    # Not in the paper: whether the strongest channel has the largest peak or sum.
    strongest = int(np.asarray(swept.best.values)[:, 0].argmax())
    projections = _project(loaded, layer, swept, strongest)
    if neighbours:
        others = neighbours.projections(strongest, one)
        projections = np.concatenate([projections, others])
    picture = out / f"{one.name}.png"
    maps = OcclusionMaps(
        image=raster.denormalize(one.image, loaded.input),
        occluded=raster.denormalize(_covered(one.image, square), loaded.input),
        activation=swept.outputs["activity"][..., strongest],
        clean=swept.clean["activity"][strongest],
        projections=projections,
        map_name=f"{layer} map {strongest}",
        side=(square.side, square.side),
        stride=(square.stride, square.stride),
        classes=_classes(loaded, swept) if loaded.labels else None,
    )
    occlusion_panels.draw(maps, title=f"{loaded.model.name}, {one.name}", path=picture)
    clean = {f"clean_{name}": value for name, value in swept.clean.items()}
    label = {"label": swept.label} if loaded.labels else {}
    numbers = io.save_arrays(
        out / f"{one.name}.npz", **swept.outputs, **clean, **label, map=strongest
    )
    return [picture, numbers]


def _project(
    loaded: LoadedModel, layer: str, swept: SweepResult, channel: int
) -> np.ndarray:
    """[1, h, w, C]: the projection of a channel from the image itself."""
    images = [swept.chosen.image]
    unit = {"layer": layer, "channels": [channel]}
    return loaded.project(images, swept.best, **unit, batch_size=1)[1][0]


def _covered(image: np.ndarray, square: Square) -> np.ndarray:
    """The image with the square in its middle."""
    covered, side = np.array(image), square.side
    top, left = ((length - side) // 2 for length in image.shape[:2])
    covered[top : top + side, left : left + side] = square.fill
    return covered


def _classes(loaded: LoadedModel, swept: SweepResult) -> ClassMaps:
    label, labels = swept.label, loaded.labels
    # A single unit tells its class from all else.
    top_labels = (f"not {labels[0]}", *labels) if len(labels) == 1 else labels
    return ClassMaps(
        probability=swept.outputs["probability"][..., label],
        clean=swept.clean["probability"][label],
        name=labels[label],
        top=swept.outputs["top"],
        labels=top_labels,
    )
