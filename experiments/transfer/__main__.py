r"""Tables 4, 5 and 7, fig. 9: features of a net for few images of other classes.

    python -m experiments.transfer --checkpoint=runs/tiny --scratch=50
    python -m experiments.transfer --checkpoint=runs/zfnet \
        --dataset=folder:caltech256 --split=train --per_class=15,30,45,60 \
        --layers=layer2,layer3,layer4,layer5,layer6,layer7 \
        --scratch=15,30,45,60 --scratch_steps=10000 --scratch_folds=5

The net's layers are frozen. On the features of each a new softmax and a linear SVM
learn from a few images a class, and are tested on others, fold by fold (Table 7); with
those of the last, from fewer and fewer images (fig. 9), beside the same net trained on
nothing but these. Prints the tables, with the paper's own numbers where the data is the
same (TFDS has no Caltech-256: give a folder of that name, of one sub-folder a class);
writes transfer.json and transfer.png. Features are kept in features/.
"""

import dataclasses
import pathlib

import numpy as np

from experiments.common import dataset, model, output
from experiments.common.config import ExperimentConfig
from experiments.common.model import LoadedModel
from experiments.transfer import features, from_scratch, report
from zf_jax import cli
from zf_jax.data import sources
from zf_jax.errors import BadInput
from zf_jax.probes import transfer


@dataclasses.dataclass(frozen=True)
class TransferConfig(ExperimentConfig):
    """A net, its layers, images, and how many of them are learned from."""

    layers: tuple[str, ...] = cli.field(
        ("all",), "layer1,layer2,... or all but the last"
    )
    per_class: tuple[int, ...] = cli.field(
        (1, 2, 5, 10, 20, 50), "images a class to learn from"
    )
    scratch: tuple[int, ...] = cli.field(
        (), "images a class from which the whole net is trained anew, to compare"
    )
    scratch_steps: int = cli.field(1000, "of each training from scratch", minimum=1)
    scratch_folds: int = cli.field(1, "of training from scratch", minimum=1)
    test_per_class: int = cli.field(
        50, "images a class, at most, to test on", minimum=1, formerly="test"
    )
    folds: int = cli.field(5, "draws of the images", minimum=1)
    seed: int = cli.field(0, "of the draws, and of training from scratch")


def main(config: TransferConfig) -> list[pathlib.Path]:
    """Computes features of all images that are drawn, then classifies fold by fold."""
    loaded = model.load(config.model)
    out = output.folder(config.output, loaded.run, "transfer")
    layers = _layers(config.layers, loaded)
    sizes = _sizes("per_class", config.per_class)
    scratch_sizes = _sizes("scratch", config.scratch)
    if not sizes:
        raise BadInput("--per_class: give images a class, as 5,10,50")
    data = dataset.Dataset(config.data, loaded)
    if scratch_sizes:
        # Refuses a net that ends without classes.
        loaded.spec_for("--scratch").with_classes(len(data.labels))
    labels = sources.classes(data.source)
    folds = transfer.folds(
        labels,
        data.labels,
        train=max(sizes + scratch_sizes),
        test=config.test_per_class,
        count=config.folds,
        seed=config.seed,
    )
    if data.labels == loaded.labels:
        print(
            "the net learned these very classes, so this is no transfer to others: it "
            "shows the protocol, and how far each layer has come"
        )
    data, labels, folds = _only_drawn(data, labels, folds)
    frozen = features.compute(loaded, data, layers, out / "features")
    accuracies = _classify(frozen, labels, folds, sizes)
    accuracies |= from_scratch.accuracies(
        loaded.model.spec,
        data,
        labels,
        folds[: config.scratch_folds],
        scratch_sizes,
        steps=config.scratch_steps,
        seed=config.seed,
    )
    _print_head(data, folds)
    measured = report.Measured(loaded.model.name, data, layers, sizes, accuracies)
    return report.write(measured, out)


def _layers(wanted: tuple[str, ...], loaded: LoadedModel) -> list[str]:
    """In the net's order."""
    if wanted != ("all",):
        return loaded.check_layers("layers", wanted)
    # The last one's are the old classes, where there are any.
    return [name for name in loaded.default_layers if not loaded.class_names(name)]


def _sizes(flag: str, sizes: tuple[int, ...]) -> list[int]:
    if any(size < 1 for size in sizes):
        listed = ",".join(map(str, sizes))
        raise BadInput(f"--{flag}={listed}: give images a class, as 5,10,50")
    return sorted(sizes)


def _only_drawn(
    data: dataset.Dataset, labels: np.ndarray, folds: list[transfer.Fold]
) -> tuple[dataset.Dataset, np.ndarray, list[transfer.Fold]]:
    """Leaves out the images that no fold has drawn."""
    drawn = np.unique(np.concatenate([part.ravel() for fold in folds for part in fold]))
    folds = [
        transfer.Fold(*(np.searchsorted(drawn, part) for part in fold))
        for fold in folds
    ]
    return data.only(drawn), labels[drawn], folds


def _classify(
    frozen: dict[str, np.ndarray],
    labels: np.ndarray,
    folds: list[transfer.Fold],
    sizes: list[int],
) -> dict[tuple[str, str, int], list[float]]:
    """Accuracies by (classifier, layer, images), one a fold; few images: last layer."""
    wanted = [(layer, sizes[-1]) for layer in frozen]
    wanted += [(list(frozen)[-1], size) for size in sizes[:-1]]
    found = {}
    every = [(fold, *each) for fold in folds for each in wanted]
    for fold, layer, size in cli.progress(every, desc="classifiers"):
        accuracies = transfer.measure(frozen[layer], labels, fold, size)
        for classifier, accuracy in accuracies.items():
            found.setdefault((classifier, layer, size), []).append(accuracy)
    return found


def _print_head(data: dataset.Dataset, folds: list[transfer.Fold]) -> None:
    tested = len(folds[0].test) // len(data.labels)
    over = f", +- standard deviation over {len(folds)} folds" if len(folds) > 1 else ""
    print(
        f"{data.name}: mean per-class accuracy, %{over}; "
        f"some {tested} images a class to test on"
    )


if __name__ == "__main__":
    cli.run(main)
