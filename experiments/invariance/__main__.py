r"""Fig. 5: how features change as the image is translated, scaled and rotated.

    python -m experiments.invariance --checkpoint=runs/tiny
    python -m experiments.invariance --checkpoint=runs/zfnet --indices=3,14,15,92,65 \
        --layers=layer2,layer7 --raw --out=runs/invariance

A row for each of the three; the images, the distance of two layers' features to those
of the unchanged image, and the probability of the true class, where there are classes.
Behind the curves of five images the quartiles of --background_images. The numbers:
invariance.npz.
"""

import dataclasses
import itertools
import pathlib

import jax.numpy as jnp
import numpy as np

from experiments.common import dataset, image_choice, model, output
from experiments.common.config import ExperimentConfig
from experiments.common.image_choice import ChosenImage, ImageConfig
from experiments.common.model import LoadedModel
from experiments.invariance import warp_grid
from experiments.invariance.warp_grid import WarpConfig, WarpGrid
from zf_jax import cli, io
from zf_jax.errors import BadInput
from zf_jax.figures import invariance as figure
from zf_jax.figures import raster
from zf_jax.probes import invariance, warps


@dataclasses.dataclass(frozen=True)
class InvarianceConfig(ExperimentConfig):
    """A net, two of its layers, images, and what they are put through."""

    choice: ImageConfig = ImageConfig()
    warps: WarpConfig = WarpConfig()
    layers: tuple[str, ...] = cli.field(
        (), "two; the first and the last before the classes if unset"
    )
    border: str = cli.field(
        "mean",
        "what lies beyond the image: the mean colour, or the colour of its edge",
        choices=("mean", "edge"),
    )
    raw: bool = cli.field(False, "draw distances as they are, not over the norm")
    background_images: int = cli.field(
        200,
        "images of the data set behind the curves, 0: none",
        minimum=0,
        formerly="many",
    )


def main(config: InvarianceConfig) -> list[pathlib.Path]:
    """Measures the images under all warps, then draws."""
    loaded = model.load(config.model)
    layers = _layers(config, loaded)
    out = output.folder(config.output, loaded.run, "invariance")
    images = _images(config, loaded)
    chosen, *_ = images
    grids = warp_grid.make(config.warps, len(chosen[0].image))
    found = _measure(config, loaded, layers, images, grids)
    panels = _panels(config, loaded, layers, found, chosen)
    ends = np.cumsum([len(grid.amounts) for grid in grids])[:-1]
    by_panel = [np.split(curves, ends, axis=1) for curves in panels.values()]
    rows = []
    for grid, *curves in zip(grids, *by_panel, strict=True):
        _print_rise(grid, dict(zip(layers, curves, strict=False)))
        rows.append(_row(config, loaded, chosen, grid, curves))
    names = [image.name for image in chosen]
    title = f"{loaded.model.name} under translation, scale and rotation"
    path = out / "invariance.png"
    picture = figure.draw(rows, [*panels], names, title=title, path=path)
    numbers = {grid.name: grid.amounts for grid in grids}
    numbers |= {f"distance_{layer}": found.distances[layer] for layer in layers}
    numbers |= {f"norm_{layer}": found.norms[layer] for layer in layers}
    if loaded.labels:
        numbers |= {"probability": found.probability, "labels": found.labels}
    return [picture, io.save_arrays(out / "invariance.npz", names=names, **numbers)]


def _layers(config: InvarianceConfig, loaded: LoadedModel) -> list[str]:
    """The two layers, in the net's order."""
    names = loaded.default_layers
    features = [name for name in names if not loaded.class_names(name)]
    wanted = config.layers or (*features[:1], *features[-1:])
    if len(set(wanted)) != 2:
        raise BadInput(f"--layers={','.join(wanted)}: give two of {', '.join(names)}")
    return loaded.check_layers("layers", wanted)


def _images(
    config: InvarianceConfig, loaded: LoadedModel
) -> tuple[list[ChosenImage], dataset.Dataset | None, int]:
    """The images that are drawn, the data set, and how many of it stand behind."""
    files = dataset.ImageFiles(config.data, loaded) if config.data.images else None
    known = config.data.dataset or loaded.dataset
    # A net that takes any size may see files of another size than the data set's.
    comparable = loaded.crop_size or not files
    background = config.background_images if known and comparable else 0
    data = None
    if not files or config.choice.indices or background:
        data = dataset.Dataset(config.data, loaded)
        background = min(background, len(data))
    chosen = image_choice.choose(config.choice, loaded, files, data, default_classes=5)
    return chosen, data, background


def _measure(
    config: InvarianceConfig,
    loaded: LoadedModel,
    layers: list[str],
    images: tuple[list[ChosenImage], dataset.Dataset | None, int],
    grids: list[WarpGrid],
) -> invariance.Invariance:
    """Distances and probabilities of the drawn images, then of the background's."""
    chosen, data, background = images
    count = len(chosen) + background
    size = min(config.data.batch_size, count)
    every = itertools.chain(
        chosen, (image_choice.of_data(loaded, data, i) for i in range(background))
    )
    with cli.progress(range(0, count, size), desc="batches of images") as bar:
        return invariance.measure(
            _make_model_fn(loaded, layers),
            (image_choice.stack(itertools.islice(every, size)) for _ in bar),
            np.concatenate([grid.warps for grid in grids]),
            border=config.border,
        )


def _make_model_fn(loaded: LoadedModel, layers: list[str]):
    """Images to the layers' outputs, and to probabilities where there are classes."""
    apply = loaded.with_outputs(layers)

    def model_fn(images):
        logits, features = apply(images)
        probabilities = loaded.model.probabilities
        return features, probabilities(logits) if loaded.labels else None

    return model_fn


def _panels(
    config: InvarianceConfig,
    loaded: LoadedModel,
    layers: list[str],
    found: invariance.Invariance,
    chosen: list[ChosenImage],
) -> dict[str, np.ndarray]:
    """Curves [N, A] under all warps, by the panel's title."""
    drawn = found.distances if config.raw else found.relative()
    unit = "" if config.raw else " / norm"
    panels = {f"{layer}: distance{unit}": drawn[layer] for layer in layers}
    if loaded.labels:
        true = "true " * all(image.label is not None for image in chosen)
        panels[f"probability of the {true}class"] = found.probability
    else:
        print(f"{loaded.model.name} has no classes: no panel of their probability")
    return panels


def _print_rise(grid: WarpGrid, curves: dict[str, np.ndarray]) -> None:
    """How soon the median distance of each layer rises, over all images."""
    print(f"{grid.name}: of the largest distance, after a step and half-way,")
    for layer, curve in curves.items():
        # A distance over a norm of 0 is not a number.
        curve = curve[np.isfinite(curve).all(axis=1)]
        median = np.median(curve, axis=0) if len(curve) else 0 * grid.change
        first, half = invariance.early_response(grid.change, median)
        print(f"  {layer}: {first:.0%}, {half:.0%}")


def _row(
    config: InvarianceConfig,
    loaded: LoadedModel,
    chosen: list[ChosenImage],
    grid: WarpGrid,
    curves: tuple[np.ndarray, ...],
) -> figure.WarpRow:
    """Pictures of the images at quarters of the range, and the panels' curves."""
    images = jnp.asarray(image_choice.stack(chosen)[0])
    shown = np.rint(np.linspace(0, len(grid.amounts) - 1, 5)).astype(int)
    warped = [warps.apply(images, grid.warps[i], config.border) for i in shown]
    pictures = raster.denormalize(np.stack(warped, axis=1), loaded.input)
    return figure.WarpRow(
        grid.axis, grid.amounts, grid.amounts[shown], pictures, curves
    )


if __name__ == "__main__":
    cli.run(main)
