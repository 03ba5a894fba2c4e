"""Fig. 6: the first-layer filters of two nets side by side, and what layer 2 makes.

    python -m experiments.filters --checkpoint=runs/tiny
    python -m experiments.filters --checkpoint=runs/zfnet --beside=runs/alexnet \
        --dataset=imagenet2012 --out=runs/filters

The second net is --beside, or the first net after the first epoch that its run keeps.
filters.png shows the filters, their size, their energy by frequency and what part of it
the layer's stride folds (aliasing). filters.json has the figures, dead filters too:
weak, with an RMS of at most a tenth of the median, and silent, with a map that no image
of the split excites. Projections of the second layer (or --layers): a picture a net.
"""

import pathlib
import re

import numpy as np
from absl import flags

from experiments.common import (
    comparison,
    dataset,
    model,
    output,
    topk_pass,
    unit_choice,
)
from zf_jax import cli, io
from zf_jax.errors import BadInput
from zf_jax.figures import feature_pages, filter_comparison, raster, text
from zf_jax.layers import Conv
from zf_jax.probes import filters, projection
from zf_jax.training.recipe import PAPER

flags.adopt_module_key_flags(comparison)
flags.adopt_module_key_flags(dataset)
flags.adopt_module_key_flags(unit_choice)
flags.adopt_module_key_flags(output)
# Images a map, as in fig. 2.
_K = 9
_BANDS = ("above 8", "8 to 4", "below 4")


def _first(name: str, known: model.LoadedModel) -> filter_comparison.FirstLayer:
    """The first layer's filters and their measures."""
    layer = known.net.layers[0]
    if not isinstance(layer.filter, Conv):
        raise BadInput(
            f"{name}: {layer.name} is dense; give nets whose first layer filters"
        )
    kernel = np.asarray(known.params[layer.name]["kernel"])
    if kernel.shape[2] != 3:
        raise BadInput(
            f"{name}: the filters of {layer.name} see {kernel.shape[2]} colours; give "
            "nets whose first layer sees three"
        )
    stride, rms = layer.filter.stride, filters.rms(kernel)
    shares = [float(each.mean()) for each in filters.bands(kernel)]
    folded = filters.aliased(kernel, stride)
    return filter_comparison.FirstLayer(name, kernel, stride, rms, shares, folded)


def _projections(name: str, known, data, layer: str, best, path) -> list[pathlib.Path]:
    """Fig. 6 (d, e): what excites some maps of the layer, projected."""
    maps = unit_choice.maps(known, layer, best.values[:, 0])
    maps = maps[best.values[maps, 0] != 0]
    if not len(maps):
        print(f"{name}, {layer}: none of the maps is ever active, so it has no picture")
        return []
    patches, projections = projection.project(
        known.net, known.params, data, best, layer=layer, channels=maps, rule=known.rule
    )
    picture = feature_pages.draw(
        raster.denormalize(patches, known.net.input),
        projections,
        [f"map {m}, max {text.number(best.values[m, 0])}" for m in maps],
        title=f"{name}, {layer}: the strongest of {data.title} ({known.rule})",
        path=path,
        shown=best.values[maps] != 0,
    )
    return [picture]


def main() -> list[pathlib.Path]:
    """Measures both nets, and projects the second layer of each."""
    nets = comparison.load()
    firsts = {name: _first(name, known) for name, known in nets.items()}
    chosen = {
        name: unit_choice.layers(known.net, unset=known.net.layers[:2][-1].name)
        for name, known in nets.items()
    }
    out = output.folder(next(iter(nets.values())).run, "filters")
    kind = dataset.ImageFiles if dataset.files_given() else dataset.Dataset
    data = {name: kind(known) for name, known in nets.items()}
    if len({each.title for each in data.values()}) > 1:
        seen = " and ".join(f"{each.title} for {name}" for name, each in data.items())
        raise BadInput(f"--beside: {seen}; give one --dataset for both")
    written, found = [], {}
    for name, known in nets.items():
        slug, first = "-".join(re.findall(r"\w+", name)), known.net.layers[0].name
        layers = list(dict.fromkeys([first, *chosen[name]]))
        look = known.net, known.params, data[name], layers
        path, k = out / f"pass-{slug}.npz", min(_K, len(data[name]))
        best = topk_pass.strongest(*look, k=k, path=path, desc=name)
        silent = int((best[first].values[:, 0] == 0).sum())
        found[name] = {"images": len(data[name]), "silent": silent}
        given = firsts[name].kernel, firsts[name].stride, PAPER.filter_rms
        found[name] |= filters.summary(*given)
        for each in chosen[name]:
            path = out / f"{each}-{slug}.png"
            written += _projections(name, known, data[name], each, best[each], path)
    picture = filter_comparison.draw(
        list(firsts.values()),
        bands=_BANDS,
        # A single pixel has all frequencies alike.
        white_noise=[float(share[0]) for share in filters.bands(np.ones((1, 1, 1, 1)))],
        rms_limit=PAPER.filter_rms,
        path=out / "filters.png",
    )
    print(f"{'':<28}" + "".join(f"{name:>20}" for name in found))
    for row in found[name]:
        cells = (f"{text.number(each[row]):>20}" for each in found.values())
        print(f"{row:<28}" + "".join(cells))
    data[name].tell_skipped()
    return [picture, io.save_json(out / "filters.json", found), *written]


if __name__ == "__main__":
    cli.run(main)
