r"""Which maps say where a class is seen? Scored by the annotations of `creatures`.

    python -m experiments.scores --checkpoint=runs/tiny
    python -m experiments.scores --checkpoint=runs/tiny --count=500 --side=12 --stride=3

Maps of the class that the net predicts: by occlusion (how much it lowers the
probability), and of the class's logit projected by each rule (largest magnitude over
the channels); the image's centre and noise for comparison. The table has mean and
standard error over images: of the pointing game (does the maximum lie in the
silhouette, or in a box of a part), of the share of energy inside, and of the areas
under RISE's curves of deletion (low is good) and insertion (high is good). Written as
scores.json; curves and some maps are drawn in scores.png.
"""

import dataclasses
import pathlib

import jax
import numpy as np

from experiments.common import dataset, model, output
from experiments.common.config import ExperimentConfig
from experiments.common.model import LoadedModel
from experiments.scores import maps
from zf_jax import cli, io
from zf_jax.errors import BadInput
from zf_jax.figures import raster, saliency_comparison
from zf_jax.probes import saliency


@dataclasses.dataclass(frozen=True)
class ScoresConfig(ExperimentConfig):
    """A net, images with annotations, and how maps are made and scored."""

    count: int = cli.field(100, "images, the first ones", minimum=2)
    side: int | None = cli.field(
        None, "of the occluder, pixels; a fifth of the image if unset", minimum=1
    )
    stride: int | None = cli.field(
        None,
        "between the occluder's positions, pixels; a quarter of its side if unset",
        minimum=1,
    )
    tolerance: float = cli.field(
        0.0, "of the pointing game: pixels beside the region that count", minimum=0
    )
    steps: int = cli.field(32, "of deletion and insertion", minimum=2)
    shown: int = cli.field(4, "images in the picture", minimum=1, maximum=maps.GROUP)


def main(config: ScoresConfig) -> list[pathlib.Path]:
    """Makes and scores the maps group by group."""
    loaded = model.load(config.model)
    if not loaded.labels:
        raise BadInput(
            f"{loaded.model.name} has no classes: there is nothing to look for"
        )
    if config.data.images:
        raise BadInput("--images: files have no annotations to score maps by")
    data = dataset.Dataset(config.data, loaded)
    if len(data) < config.count:
        raise BadInput(f"--count={config.count}: {data.name} has {len(data)} images")
    out = output.folder(config.output, loaded.run, "scores")
    scores, shown = _score_groups(config, loaded, data)
    rows = {name: maps.summary(of_map) for name, of_map in scores.items()}
    title = f"{loaded.model.name}, {config.count} images of {data.name}"
    print(
        f"{title}: mean +- standard error; pointing within {config.tolerance:g} pixels"
    )
    print(saliency_comparison.table(rows))
    curves = {
        metric: {
            name: of_map[f"{metric} curve"].mean(axis=0)
            for name, of_map in scores.items()
        }
        for metric in ("deletion", "insertion")
    }
    picture = saliency_comparison.draw(
        shown, curves, title=title, path=out / "scores.png"
    )
    found = {"images": config.count, "tolerance": config.tolerance, "scores": rows}
    return [picture, io.save_json(out / "scores.json", found)]


def _score_groups(
    config: ScoresConfig, loaded: LoadedModel, data: dataset.Dataset
) -> tuple[dict[str, dict[str, np.ndarray]], saliency_comparison.SaliencyMaps]:
    """The scores of all images by map and score, and what is drawn of the first."""
    rng = np.random.default_rng(0)

    def model_fn(pixels: jax.Array) -> jax.Array:
        return loaded.model.probabilities(loaded.model.logits(pixels))

    height, width = loaded.crop_size
    side = config.side or max(1, min(height, width) // 5)
    occluder = {"side": side, "stride": config.stride or max(1, side // 4)}
    how = {
        "tolerance": config.tolerance,
        "step": -(-height * width // config.steps),
        "batch_size": config.data.batch_size,
    }
    groups, shown = [], None
    starts = range(0, config.count, maps.GROUP)
    for start in cli.progress(starts, desc="scores", unit=" groups"):
        # A group that is short is filled up, so that it compiles nothing new.
        indices = np.minimum(np.arange(start, start + maps.GROUP), config.count - 1)
        pixels = np.stack([data[index] for index in indices])
        labels = saliency.predicted(model_fn, pixels)
        regions = maps.regions(data, indices)
        found = maps.compute(loaded, model_fn, pixels, labels, rng, **occluder)
        groups.append(
            {
                name: maps.score(model_fn, pixels, labels, each, regions, **how)
                for name, each in found.items()
            }
        )
        if shown is None:
            first = slice(min(config.shown, config.count))
            shown = _shown(loaded, first, pixels, labels, regions, found)
    scores = {
        name: _join([group[name] for group in groups], config.count)
        for name in groups[0]
    }
    return scores, shown


def _shown(
    loaded: LoadedModel,
    first: slice,
    pixels: np.ndarray,
    labels: np.ndarray,
    regions: dict[str, np.ndarray],
    found: dict[str, np.ndarray],
) -> saliency_comparison.SaliencyMaps:
    return saliency_comparison.SaliencyMaps(
        raster.denormalize(pixels[first], loaded.input),
        {name: region[first] for name, region in regions.items()},
        {name: found[name][first] for name in maps.COMPUTED},
        [loaded.labels[label] for label in labels[first]],
    )


def _join(groups: list[dict[str, np.ndarray]], count: int) -> dict[str, np.ndarray]:
    """The scores of `count` images; what filled up the last group is left out."""
    return {
        name: np.concatenate([group[name] for group in groups])[:count]
        for name in groups[0]
    }


if __name__ == "__main__":
    cli.run(main)
