"""Fig. 2: what excites the maps of each layer, and what in it does.

    python -m experiments.features --checkpoint=runs/tiny --out=runs/features

One PNG a layer: for each chosen map its nine strongest images, as patches cut to what
the unit sees, beside their projections through the deconvnet.
"""

import pathlib

import numpy as np
from absl import flags

from experiments import trained
from launch import script
from zf_jax import convnet
from zf_jax.errors import BadInput
from zf_jax.figures import plates, raster
from zf_jax.probes import gallery

_OUT = flags.DEFINE_string("out", None, "folder for the pictures")
_LAYERS = flags.DEFINE_list("layers", ["all"], "layer1,layer2,... or all")
_MAPS = flags.DEFINE_list(
    "maps", ["12"], "one number: that many live maps at random; or the maps, as 3,17,"
)
_K = flags.DEFINE_integer("k", 9, "images a map", lower_bound=1)
_RULE = flags.DEFINE_enum(
    "rule", "deconvnet", ["deconvnet", "gradient", "guided"], "of the ReLU, downwards"
)
_SEED = flags.DEFINE_integer("seed", 0, "of the choice of maps")
# Not in the paper, which draws from all maps: one that never reaches this share of the
# layer's strongest activation has learned nothing to look at.
_LIVE = 0.05


def _layers(net) -> list[str]:
    if _LAYERS.value == ["all"]:
        return [layer.name for layer in net.layers]
    for layer in _LAYERS.value:
        net.index(layer)
    return _LAYERS.value


def _chosen(best: gallery.Strongest, layer: str, last: bool) -> np.ndarray:
    """Which maps to show; the paper takes a random subset of them."""
    try:
        given = np.array([int(number) for number in _MAPS.value if number])
    except ValueError:
        raise BadInput(f"--maps={','.join(_MAPS.value)}: write map numbers") from None
    if len(_MAPS.value) > 1:
        return given
    if given[0] < 1:
        raise BadInput(f"--maps={given[0]}: starts at 1")
    if last:
        return np.arange(len(best.values))[: given[0]]
    strongest = np.asarray(best.values)[:, 0]
    live = np.flatnonzero(strongest > _LIVE * strongest.max())
    if not len(live):
        raise BadInput(f"{layer}: none of its maps is ever active; leave it out")
    rng = np.random.default_rng([_SEED.value, len(best.values)])
    return np.sort(rng.permutation(live)[: given[0]])


def main() -> list[pathlib.Path]:
    """Gathers in one pass for all layers, then projects and draws layer by layer."""
    known = trained.load()
    net, params = known.about.net, known.params
    layers, written = _layers(net), []
    model = convnet.ConvNet(net)

    def read_maps(images):
        images = convnet.prepare(images, net.input)
        maps = model.apply({"params": params}, images)[1].maps
        return {layer: maps[layer] for layer in layers}

    data = trained.open_images(known.about)
    passed = script.progress(
        data.batches(), total=data.count_batches(), desc="strongest images"
    )
    best = gallery.strongest(read_maps, passed, k=_K.value)
    for layer in script.progress(layers, desc="projections"):
        last = layer == net.layers[-1].name
        maps = _chosen(best[layer], layer, last)
        patches, projections = gallery.project(
            net, params, data, best, layer=layer, maps=maps, rule=_RULE.value
        )
        names = known.about.labels if last else None
        path = plates.layer(
            raster.photograph(patches, net.input),
            projections,
            _captions(best[layer], maps, names),
            title=f"{net.name}, {layer}: projections ({_RULE.value}) and patches of "
            f"the {_K.value} strongest of {len(data):,} images in {data.name}",
            path=pathlib.Path(_OUT.value) / f"{layer}.png",
        )
        written.append(path)
    return written


def _captions(best: gallery.Strongest, maps: np.ndarray, names) -> list[str]:
    """A map's class, where it stands for one, or its number; and how strong it gets."""
    strongest = np.asarray(best.values)[:, 0]
    return [
        f"{names[m] if names else f'map {m}'}, max {strongest[m]:.3g}" for m in maps
    ]


if __name__ == "__main__":
    script.run(main, required=("checkpoint", "out"))
