"""Fig. 6: the first-layer filters of two nets side by side, and what layer 2 makes.

    python -m experiments.filters --checkpoint=runs/tiny
    python -m experiments.filters --checkpoint=runs/zfnet --compare_with=runs/alexnet \
        --dataset=imagenet2012 --out=runs/filters

The second net is --compare_with, or the first net after the first epoch that its run
keeps. filters.png: the filters, their size, their energy by frequency and what part of
it the layer's stride folds (aliasing). filters.json: the numbers, with the dead
filters: weak ones, whose RMS is at most a tenth of the median, and silent ones, whose
channel no image of the split excites. LAYER-NET.png: projections of the second layer
(or of --layers), a picture a net.
"""

import dataclasses
import pathlib

import numpy as np

from experiments.common import comparison, dataset, output, topk_pass, unit_choice
from experiments.common.comparison import ComparisonConfig
from experiments.common.config import ExperimentConfig
from experiments.common.dataset import DataConfig
from experiments.common.model import LoadedModel
from experiments.common.unit_choice import UnitConfig
from zf_jax import cli, io
from zf_jax.errors import BadInput
from zf_jax.figures import feature_pages, filter_comparison, raster, text
from zf_jax.probes import filters, first_filters
from zf_jax.probes.topk import TopK
from zf_jax.training.recipe import PAPER

# Images a channel, as in fig. 2.
_K = 9
_BANDS = ("above 8", "8 to 4", "below 4")


@dataclasses.dataclass(frozen=True)
class FiltersConfig(ExperimentConfig):
    """Which two nets, and the images that tell what their layers make."""

    comparison: ComparisonConfig = ComparisonConfig()
    # Unset: the second layer of each net, whatever it is called.
    units: UnitConfig = UnitConfig(layers=())


def main(config: FiltersConfig) -> list[pathlib.Path]:
    """Measures both nets, and projects the second layer of each."""
    compared = comparison.load(config.comparison, config.model)
    firsts = {name: first_layer(name, loaded) for name, loaded in compared.items()}
    chosen = {
        name: unit_choice.layers(
            config.units, loaded, unset=loaded.default_layers[:2][-1]
        )
        for name, loaded in compared.items()
    }
    run = next(iter(compared.values())).run
    out = output.folder(config.output, run, "filters")
    data = _open(config.data, compared)
    written, found = [], {}
    for name, loaded in compared.items():
        best = _scan(name, loaded, data[name], chosen[name], out)
        found[name] = _numbers(firsts[name], data[name], best, loaded)
        for layer in chosen[name]:
            channels = unit_choice.channels(
                config.units, loaded, layer, best[layer].values[:, 0]
            )
            path = out / f"{output.slug(f'{layer}-{name}')}.png"
            written += _projections(
                name, loaded, data[name], layer, best[layer], channels, path
            )
    picture = filter_comparison.draw(
        list(firsts.values()),
        bands=_BANDS,
        # A single pixel has all frequencies alike.
        white_noise=[float(share[0]) for share in filters.bands(np.ones((1, 1, 1, 1)))],
        rms_limit=PAPER.filter_rms,
        path=out / "filters.png",
    )
    _print(found)
    data[name].report_skipped()
    return [picture, io.save_json(out / "filters.json", found), *written]


def first_layer(name: str, loaded: LoadedModel) -> filter_comparison.FirstLayer:
    """The first layer's filters and their measures.

    Raises:
      BadInput: the layer does not filter, or sees neither colour nor grey.
    """
    found = first_filters.find(loaded.model, loaded.crop_size or loaded.input.size)
    if found is None:
        raise BadInput(
            f"{name}: {loaded.default_layers[0]} is dense; give nets whose first layer "
            "filters"
        )
    kernel, stride = found
    if kernel.shape[2] not in (1, 3):
        raise BadInput(
            f"{name}: the first filters see {kernel.shape[2]} channels; give nets "
            "whose first layer sees three, or one"
        )
    rms = filters.rms(kernel)
    shares = [float(each.mean()) for each in filters.bands(kernel)]
    aliased = filters.aliased(kernel, stride)
    return filter_comparison.FirstLayer(name, kernel, stride, rms, shares, aliased)


def _open(
    config: DataConfig, compared: dict[str, LoadedModel]
) -> dict[str, dataset.Dataset | dataset.ImageFiles]:
    """The same images for each net, cut as it takes them."""
    data = {
        name: dataset.open_images(config, loaded) for name, loaded in compared.items()
    }
    if len({each.title for each in data.values()}) > 1:
        seen = " and ".join(f"{each.title} for {name}" for name, each in data.items())
        raise BadInput(f"--compare_with: {seen}; give one --dataset for both")
    return data


def _scan(
    name: str, loaded: LoadedModel, data, layers: list[str], out: pathlib.Path
) -> dict[str, TopK]:
    """The strongest images of the first layer and of the chosen ones."""
    first = loaded.default_layers[0]
    return topk_pass.scan(
        loaded,
        data,
        list(dict.fromkeys([first, *layers])),
        k=min(_K, len(data)),
        path=out / f"pass-{output.slug(name)}.npz",
        desc=name,
    )


def _numbers(
    first: filter_comparison.FirstLayer,
    data,
    best: dict[str, TopK],
    loaded: LoadedModel,
) -> dict[str, float]:
    """What filters.json says of a net."""
    silent = int((best[loaded.default_layers[0]].values[:, 0] == 0).sum())
    summary = filters.summary(first.kernel, first.stride, PAPER.filter_rms)
    return {"images": len(data), "silent": silent} | summary


def _projections(
    name: str,
    loaded: LoadedModel,
    data,
    layer: str,
    best: TopK,
    channels: np.ndarray,
    path: pathlib.Path,
) -> list[pathlib.Path]:
    """Fig. 6 (d, e): what excites some channels of the layer, projected."""
    channels = channels[best.values[channels, 0] != 0]
    if not len(channels):
        print(f"{name}, {layer}: none of the maps is ever active, so it has no picture")
        return []
    patches, projections = loaded.project(data, best, layer=layer, channels=channels)
    picture = feature_pages.draw(
        raster.denormalize(patches, loaded.input),
        projections,
        [f"map {c}, max {text.number(best.values[c, 0])}" for c in channels],
        title=f"{name}, {layer}: the strongest of {data.title} ({loaded.rule})",
        path=path,
        shown=best.values[channels] != 0,
    )
    return [picture]


def _print(found: dict[str, dict[str, float]]) -> None:
    """Prints the numbers as a table, a column a net."""
    print(f"{'':<28}" + "".join(f"{name:>20}" for name in found))
    for row in next(iter(found.values())):
        cells = (f"{text.number(each[row]):>20}" for each in found.values())
        print(f"{row:<28}" + "".join(cells))


if __name__ == "__main__":
    cli.run(main)
