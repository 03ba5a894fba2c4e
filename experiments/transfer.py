r"""Tables 4, 5 and 7, fig. 9: what a net's features are worth for few images of others.

    python -m experiments.transfer --checkpoint=runs/tiny --scratch=50
    python -m experiments.transfer --checkpoint=runs/zfnet \
        --dataset=folder:caltech256 --split=train --per_class=15,30,45,60 \
        --layers=layer2,layer3,layer4,layer5,layer6,layer7 \
        --scratch=15,30,45,60 --scratch_steps=10000 --scratch_folds=5

The net's layers are frozen. On the features of each a new softmax and a linear SVM
learn from a few images a class, and are judged by others, fold by fold (Table 7); with
those of the last, from fewer and fewer images (fig. 9), beside the same net trained on
nothing but these. Prints the tables, with the paper's own numbers where the data is the
same (TFDS has no Caltech-256: give a folder of that name, of one sub-folder a class);
writes transfer.json and transfer.png. Features are kept in features/.
"""

import pathlib

import numpy as np
from absl import flags

from experiments import accuracies, frozen, scratch
from experiments.common import dataset, model, output
from zf_jax import cli
from zf_jax.data import sources
from zf_jax.errors import BadInput
from zf_jax.probes import transfer

flags.adopt_module_key_flags(model)
flags.adopt_module_key_flags(dataset)
flags.adopt_module_key_flags(output)
_LAYERS = flags.DEFINE_list("layers", ["all"], "layer1,layer2,... or all but the last")
_PER_CLASS = flags.DEFINE_list(
    "per_class", ["1", "2", "5", "10", "20", "50"], "images a class to learn from"
)
_SCRATCH = flags.DEFINE_list(
    "scratch", [], "images a class from which the whole net is trained anew, beside"
)
_STEPS = flags.DEFINE_integer(
    "scratch_steps", 1000, "of each such training", lower_bound=1
)
_SCRATCH_FOLDS = flags.DEFINE_integer("scratch_folds", 1, "of it", lower_bound=1)
_TEST = flags.DEFINE_integer("test", 50, "images a class, at most, to judge by")
_FOLDS = flags.DEFINE_integer("folds", 5, "draws of the images", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "of the draws, and of training from scratch")


def main() -> list[pathlib.Path]:
    """Features of all images that are drawn, then classifiers fold by fold."""
    known = model.load()
    out = output.folder(known.run, "transfer")
    layers, sizes = _layers(known), _sizes("per_class")
    small = _sizes("scratch")
    data = dataset.Dataset(known)
    if small:
        # Refuses a net that ends without classes.
        known.net.with_classes(len(data.labels))
    labels = sources.classes(data.source)
    how = {"train": max(sizes + small), "test": _TEST.value, "count": _FOLDS.value}
    folds = transfer.folds(labels, data.labels, **how, seed=_SEED.value)
    if data.labels == known.labels:
        print(
            "the net learned these very classes, so this is no transfer to others: it "
            "shows the protocol, and how far each layer has come"
        )
    # From here on there are no other images.
    drawn = np.unique(np.concatenate([part.ravel() for f in folds for part in f]))
    folds = [transfer.Fold(*(np.searchsorted(drawn, p) for p in f)) for f in folds]
    data, labels = data.only(drawn), labels[drawn]
    features = frozen.features(known, data, layers, out / "features")
    found = _frozen(features, labels, folds, sizes)
    found |= scratch.accuracies(
        known.net,
        data,
        labels,
        folds[: _SCRATCH_FOLDS.value],
        small,
        steps=_STEPS.value,
        seed=_SEED.value,
    )
    judged = len(folds[0].test) // len(data.labels)
    over = f", +- its deviation over {len(folds)} folds" if len(folds) > 1 else ""
    print(
        f"{data.name}: mean per-class accuracy, %{over}; "
        f"some {judged} images a class to judge by"
    )
    return accuracies.report(known.net.name, data, layers, sizes, found, out)


def _layers(known: model.LoadedModel) -> list[str]:
    names = [layer.name for layer in known.net.layers]
    if _LAYERS.value != ["all"]:
        return sorted(set(_LAYERS.value), key=known.net.index)
    # The last one's are the old classes, where there are any.
    return names[:-1] if known.labels else names


def _sizes(flag: str) -> list[int]:
    given = flags.FLAGS[flag].value
    if not all(n.isdigit() and int(n) for n in given) or not (
        given or flag == "scratch"
    ):
        raise BadInput(f"--{flag}={','.join(given)}: give images a class, as 5,10,50")
    return sorted(map(int, given))


def _frozen(features, labels, folds, sizes) -> dict:
    """Accuracies by (classifier, layer, images), one a fold; few images: last layer."""
    wanted = [(layer, sizes[-1]) for layer in features]
    wanted += [(list(features)[-1], n) for n in sizes[:-1]]
    found = {}
    every = [(fold, *each) for fold in folds for each in wanted]
    for fold, layer, n in cli.progress(every, desc="classifiers"):
        for name, one in transfer.measure(features[layer], labels, fold, n).items():
            found.setdefault((name, layer, n), []).append(one)
    return found


if __name__ == "__main__":
    cli.run(main)
