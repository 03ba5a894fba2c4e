r"""Table 1 and fig. 8: does the net know that images of a class share a part?

    python -m experiments.correspondence --checkpoint=runs/tiny
    python -m experiments.correspondence --checkpoint=runs/tiny --kind=cat --count=50
    python -m experiments.correspondence --checkpoint=runs/zfnet --images=dogs \
        --boxes=dogs.csv --out=runs/correspondence

The same part is covered in several images of one class, and boxes of the parts' sizes
at random places. Table: the share of features whose sign of change differs between two
images, mean and deviation over all pairs; low where features change alike. The paper's
stands beside it where the data is ImageNet. Written as correspondence.json, and beside
the images as correspondence.png.
"""

import pathlib

import jax
import numpy as np
from absl import flags

from experiments import paper, parted
from experiments.common import dataset, model, output
from zf_jax import cli, convnet, io, spec
from zf_jax.figures import correspondence as figure
from zf_jax.figures import raster
from zf_jax.layers import Conv, Dense
from zf_jax.probes import correspondence

flags.adopt_module_key_flags(model)
flags.adopt_module_key_flags(dataset)
flags.adopt_module_key_flags(parted)
flags.adopt_module_key_flags(output)
_LAYERS = flags.DEFINE_list(
    "layers", [], "their outputs; the last filtering and the last hidden one if unset"
)
_PLACES = flags.DEFINE_integer(
    "places", 15, "random places in each image", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "of the random places", lower_bound=0)
# Images and random places in the picture.
_ROWS, _RANDOM = 5, 3


def main() -> list[pathlib.Path]:
    """Covers every part of every image, then compares the changes pair by pair."""
    known = model.load()
    layers = _layers(known.net)
    out = output.folder(known.run, "correspondence")
    chosen = parted.choose(known)
    rng, shape = np.random.default_rng(_SEED.value), chosen.images[0].shape[:2]
    drawn = [
        correspondence.random_boxes(own, shape, _PLACES.value, rng)
        for own in chosen.boxes
    ]
    boxes = np.concatenate([chosen.boxes, drawn], axis=1)
    changes = correspondence.changes(
        _make_read(known, layers),
        chosen.images,
        boxes,
        batch_size=flags.FLAGS.batch_size,
    )
    bar = cli.progress(changes, total=len(boxes), desc="occlusions", unit=" images")
    each = list(bar)
    signs = {layer: np.stack([one[layer] for one in each]) for layer in layers}
    which = {part: [i] for i, part in enumerate(chosen.parts)}
    which["random"] = range(len(which), boxes.shape[1])
    rows = {
        part: {
            layer: correspondence.scores(each[:, own]).summary()
            for layer, each in signs.items()
        }
        for part, own in which.items()
    }
    title = f"{known.net.name}, {chosen.title}"
    of_paper = paper.parts(flags.FLAGS.dataset or known.dataset or "")
    table = figure.table(rows, paper=of_paper)
    print(f"{title}\n{table}")
    names = [*chosen.parts, *["random"] * min(_RANDOM, _PLACES.value)]
    picture = figure.draw(
        raster.denormalize(np.stack(chosen.images[:_ROWS]), known.net.input),
        boxes[:_ROWS, : len(names)],
        [name.replace("_", " ") for name in names],
        fill=np.array(known.net.input.mean) / 255,
        table=table,
        title=title,
        path=out / "correspondence.png",
    )
    found = {"images": chosen.names, "places": _PLACES.value, "scores": rows}
    return [picture, io.save_json(out / "correspondence.json", found)]


def _layers(net: spec.Spec) -> list[str]:
    """Those of the flag, or the last filtering and the last hidden layer."""
    if _LAYERS.value:
        return [net.layers[net.index(name)].name for name in _LAYERS.value]
    names = [
        [layer.name for layer in net.layers if isinstance(layer.filter, kind)]
        for kind in (Conv, Dense)
    ]
    return names[0][-1:] + names[1][:-1][-1:]


def _make_read(known: model.LoadedModel, layers: list[str]):
    network = convnet.ConvNet(known.net)

    def read(pixels: jax.Array) -> dict[str, jax.Array]:
        _, trace = network.apply({"params": known.params}, pixels)
        return {layer: trace.outputs[layer] for layer in layers}

    return read


if __name__ == "__main__":
    cli.run(main)
