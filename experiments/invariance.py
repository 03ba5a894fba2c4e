r"""Fig. 5: how features change as the image is translated, scaled and rotated.

    python -m experiments.invariance --checkpoint=runs/tiny
    python -m experiments.invariance --checkpoint=runs/zfnet --indices=3,14,15,92,65 \
        --layers=layer2,layer7 --raw --out=runs/invariance

A row for each of the three; the images, the distance of two layers' features to the
image's own, and the probability of the true class, where there are classes. Behind the
curves of five images the quartiles of --many. The numbers: invariance.npz.
"""

import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments import moves
from experiments.common import dataset, image_choice, model, output
from zf_jax import cli, convnet, io
from zf_jax.errors import BadInput
from zf_jax.figures import invariance as figure
from zf_jax.figures import raster
from zf_jax.probes import invariance, warps

for _module in (model, image_choice, moves, output):
    flags.adopt_module_key_flags(_module)
_LAYERS = flags.DEFINE_list(
    "layers", [], "two; the first and the last before the classes if unset"
)
_BORDER = flags.DEFINE_enum(
    "border", "mean", ["mean", "edge"], "beyond the image: the mean colour, or its edge"
)
_RAW = flags.DEFINE_bool("raw", False, "draw distances as they are, not over the norm")
_MANY = flags.DEFINE_integer(
    "many", 200, "images of the data set behind the curves, 0: none", lower_bound=0
)


def main() -> list[pathlib.Path]:
    """Measures the few images and the many under all warps, then draws."""
    known = model.load()
    layers, out = _layers(known), output.folder(known.run, "invariance")
    given = dataset.ImageFiles(known) if dataset.files_given() else None
    behind = _MANY.value and dataset.dataset_given(known)
    of_set = not given or image_choice.wants_data() or behind
    data = dataset.Dataset(known) if of_set else None
    few = image_choice.choose(known, given, data, otherwise=5)
    many = min(_MANY.value, len(data)) if data and (known.crop or not given) else 0
    kinds = moves.of_images(len(few[0].image))
    every = itertools.chain(
        few, (image_choice.of_data(known, data, i) for i in range(many))
    )
    size = min(flags.FLAGS.batch_size, len(few) + many)
    bar = cli.progress(range(0, len(few) + many, size), desc="batches of images")
    found = invariance.measure(
        _make_read(known, layers),
        (image_choice.stack(itertools.islice(every, size)) for _ in bar),
        np.concatenate([kind.warps for kind in kinds]),
        border=_BORDER.value,
    )
    numbers = {f"distance_{layer}": found.distances[layer] for layer in layers}
    numbers |= {f"norm_{layer}": found.norms[layer] for layer in layers}
    drawn = found.distances if _RAW.value else found.relative()
    unit = "" if _RAW.value else " / norm"
    panels = {f"{layer}: distance{unit}": drawn[layer] for layer in layers}
    if known.labels:
        numbers |= {"probability": found.probability, "labels": found.labels}
        true = "true " * all(one.label is not None for one in few)
        panels[f"probability of the {true}class"] = found.probability
    else:
        print(f"{known.net.name} has no classes: no panel of their probability")
    ends = np.cumsum([len(kind.amounts) for kind in kinds])[:-1]
    split = [np.split(panel, ends, axis=1) for panel in panels.values()]
    rows, pictures = [], jnp.asarray(image_choice.stack(few)[0])
    for kind, *curves in zip(kinds, *split, strict=True):
        print(f"{kind.name}: of the largest distance, after a step and half-way,")
        for layer, curve in zip(layers, curves, strict=False):
            # Over a norm of 0 there is no distance.
            curve = curve[np.isfinite(curve).all(axis=1)]
            middle = np.median(curve, axis=0) if len(curve) else 0 * kind.change
            rise = invariance.rise(kind.change, middle)
            print(f"  {layer}: {rise[0]:.0%}, {rise[1]:.0%}")
        numbers[kind.name] = kind.amounts
        rows.append(_row(known, pictures, kind, curves))
    names = [one.name for one in few]
    title = f"{known.net.name} under translation, scale and rotation"
    return [
        figure.draw(rows, [*panels], names, title=title, path=out / "invariance.png"),
        io.save_arrays(out / "invariance.npz", names=names, **numbers),
    ]


def _layers(known: model.LoadedModel) -> list[str]:
    names = [layer.name for layer in known.net.layers]
    features = names[:-1] if known.labels else names
    wanted = _LAYERS.value or [*features[:1], *features[-1:]]
    if len(set(wanted)) != 2:
        raise BadInput(f"--layers={','.join(wanted)}: give two of {', '.join(names)}")
    return sorted(wanted, key=known.net.index)


def _make_read(known: model.LoadedModel, layers: list[str]):
    """What the next layers see of these (their outputs), and the probabilities."""
    network = convnet.ConvNet(known.net if known.labels else known.net.upto(layers[-1]))

    def read(pixels):
        logits, trace = network.apply({"params": known.params}, pixels)
        features = {layer: trace.outputs[layer] for layer in layers}
        return features, jax.nn.softmax(logits) if known.labels else None

    return read


def _row(known: model.LoadedModel, few, kind: moves.WarpGrid, curves) -> figure.WarpRow:
    """With pictures of the few at quarters of the range."""
    shown = np.rint(np.linspace(0, len(kind.amounts) - 1, 5)).astype(int)
    moved = [warps.apply(few, kind.warps[i], _BORDER.value) for i in shown]
    pictures = raster.denormalize(np.stack(moved, axis=1), known.net.input)
    return figure.WarpRow(
        kind.axis, kind.amounts, kind.amounts[shown], pictures, curves
    )


if __name__ == "__main__":
    cli.run(main)
