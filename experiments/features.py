r"""Fig. 2: what excites the maps of each layer, and what in it does.

    python -m experiments.features --checkpoint=runs/tiny --out=runs/features
    python -m experiments.features --onnx=vgg16.onnx --preset=caffe --images=holiday \
        --last=block5_conv3 --size=512 --order=strength --out=runs/features

One PNG a layer: for each chosen map its nine strongest images, as patches cut to what
the unit sees, beside their projections through the deconvnet.
"""

import pathlib

import numpy as np
from absl import flags

from experiments import images, trained
from launch import script
from zf_jax import convnet, geometry, spec
from zf_jax.errors import BadInput
from zf_jax.figures import plates, raster
from zf_jax.probes import gallery

flags.adopt_module_key_flags(trained)
flags.adopt_module_key_flags(images)
_OUT = flags.DEFINE_string("out", None, "folder for the pictures")
_LAYERS = flags.DEFINE_list("layers", ["all"], "layer1,layer2,... or all")
_MAPS = flags.DEFINE_list(
    "maps", ["12"], "one number: that many live maps; or which, as 3,17,"
)
_ORDER = flags.DEFINE_enum(
    "order",
    "random",
    ["random", "strength"],
    "which of the live maps: any, or the strongest",
)
_K = flags.DEFINE_integer("k", 9, "images a map", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "of the choice of maps")
# Not in the paper, which draws from all maps: one that never reaches this share of the
# layer's strongest activation has learned nothing to look at.
_LIVE = 0.05


def _layers(net: spec.Spec) -> list[str]:
    """The chosen layers, all of which have the chosen maps."""
    layers = [layer.name for layer in net.layers]
    if _LAYERS.value != ["all"]:
        layers = [net.layers[net.index(layer)].name for layer in _LAYERS.value]
    if not layers:
        raise BadInput("--layers: give some, as layer2,layer5, or all")
    _, given = _maps()
    for layer in layers:
        count = geometry.shapes(net)[layer].maps[-1]
        if given and max(given) >= count:
            raise BadInput(f"--maps={max(given)}: {layer} has 0 to {count - 1}")
    return layers


def _maps() -> tuple[int, list[int]]:
    """How many maps to choose, or which ones."""
    try:
        numbers = [int(number) for number in _MAPS.value if number]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or numbers == [0]:
        raise BadInput(
            f"--maps={','.join(_MAPS.value)}: give how many, or which, as 3,17"
        )
    return (numbers[0], []) if len(_MAPS.value) == 1 else (0, numbers)


def _chosen(best: gallery.Strongest, classes: bool) -> np.ndarray:
    """Which maps to show; the paper takes a random subset of them."""
    count, given = _maps()
    strongest = np.asarray(best.values)[:, 0]
    if given or classes:
        return np.array(given or range(min(count, len(strongest))))
    live = np.flatnonzero(strongest > _LIVE * strongest.max())
    if _ORDER.value == "strength":
        return live[np.argsort(-strongest[live], kind="stable")][:count]
    rng = np.random.default_rng([_SEED.value, len(strongest)])
    return np.sort(rng.permutation(live)[:count])


def main() -> list[pathlib.Path]:
    """Gathers in one pass for all layers, then projects and draws layer by layer."""
    known = trained.load()
    net, params = known.net, known.params
    layers, written = _layers(net), []
    model = convnet.ConvNet(net)

    def read_maps(pixels):
        prepared = convnet.prepare(pixels, net.input)
        maps = model.apply({"params": params}, prepared)[1].maps
        return {layer: maps[layer] for layer in layers}

    data = images.Photographs(known) if images.files_given() else images.Dataset(known)
    passed = script.progress(
        data.batches(), total=data.count_batches(), desc="strongest images"
    )
    k = min(_K.value, len(data))
    best = gallery.strongest(read_maps, passed, k=k)
    for layer in script.progress(layers, desc="projections"):
        names = known.labels if layer == net.layers[-1].name else ()
        maps = _chosen(best[layer], bool(names))
        if not len(maps):
            print(f"{layer}: none of its maps is ever active, so it has no picture")
            continue
        patches, projections = gallery.project(
            net, params, data, best, layer=layer, maps=maps, rule=known.rule
        )
        path = plates.layer(
            raster.photograph(patches, net.input),
            projections,
            _captions(best[layer], maps, names),
            title=f"{net.name}, {layer}: projections ({known.rule}) and patches of "
            f"the {k} strongest of {data.title}",
            path=pathlib.Path(_OUT.value) / f"{layer}.png",
            # A map may be silent in some of few images.
            shown=np.asarray(best[layer].values)[maps] != 0,
        )
        written.append(path)
    data.tell_skipped()
    return written


def _captions(best: gallery.Strongest, maps: np.ndarray, names) -> list[str]:
    """A map's class, where it stands for one, or its number; and how strong it gets."""
    strongest = np.asarray(best.values)[:, 0]
    return [
        f"{names[m] if names else f'map {m}'}, max {plates.number(strongest[m])}"
        for m in maps
    ]


if __name__ == "__main__":
    script.run(main, required=("out",))
