"""The baseline of transfer: the whole net, learned from the same few images alone."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import numpy as np

from experiments.common import dataset
from zf_jax import cli, convnet, spec
from zf_jax.data import sources
from zf_jax.probes import batched, transfer
from zf_jax.training import loop, recipe


class _Memory:
    """Stands in for a `checkpoint.Store`: keeps the weights last saved, in memory."""

    params = None

    def restore(self, like):
        return None

    def save(self, state):
        self.params = jax.device_get(state.params)


def accuracies(
    net: spec.Spec,
    data: dataset.Dataset,
    labels: np.ndarray,
    folds: Sequence[transfer.Fold],
    sizes: Sequence[int],
    *,
    steps: int,
    seed: int,
) -> dict[tuple[str, str, int], list[float]]:
    """Mean per-class accuracies of the net begun anew, 0..1, one a fold.

    Args:
      net: as it was made, for whatever classes.
      data: the images.
      labels: [N] int, of them.
      folds: of them.
      sizes: images a class that are learned from, for each in turn.
      steps: of each training, at least.
      seed: of the weights, the order of the images, crops and dropout.

    Returns:
      By ("scratch", "test", size) of the test images; by ("scratch", "train", size) of
      those learned from, which tells whether it learned for long enough.
    """
    found = {}
    runs = [(n, fold, fold.train[:, :n].ravel()) for n in sizes for fold in folds]
    total = sum(math.prod(_length(net, len(train), steps)) for _, _, train in runs)
    with cli.progress(total=total, desc="from scratch", unit=" steps") as bar:
        how = {"steps": steps, "seed": seed, "on_step": bar.update}
        for n, fold, train in runs:
            classify = _train_classifier(net, data, train, **how)
            for name, indices in (("test", fold.test), ("train", train)):
                predicted = classify(data.only(indices).batches())
                accuracy = transfer.mean_class_accuracy(labels[indices], predicted)
                found.setdefault(("scratch", name, n), []).append(accuracy)
    return found


def _train_classifier(
    net: spec.Spec,
    data: dataset.Dataset,
    train: np.ndarray,
    *,
    steps: int,
    seed: int,
    on_step: Callable[[], None],
) -> Callable:
    """Trains on the images `train`; returns batches of images -> classes, [N] int."""
    net = net.with_classes(len(data.labels))
    how = {"resize": data.cut["resize"], "steps": steps, "seed": seed}
    params = _train(net, data.only(train).source, **how, on_step=on_step)
    network = convnet.ConvNet(net)

    def predict(pixels):
        prepared = convnet.prepare(pixels, net.input)
        return network.apply({"params": params}, prepared)[0].argmax(axis=1)

    return lambda batches: np.concatenate(list(batched.map_batches(predict, batches)))


def _train(
    net: spec.Spec,
    source: sources.Source,
    *,
    resize: int,
    steps: int,
    seed: int,
    on_step: Callable[[], None],
) -> dict:
    """Parameters of the net, begun anew and trained by its own recipe.

    The recipe's epochs are stretched to `steps` in all, each over all images, once or
    more often; where there are too few steps for that, only some of the images are
    seen, of any class. A schedule that waits for the error to stall is given the error
    of the training images themselves: the net sees no others.
    """
    count = len(source.examples)
    epochs, each = _length(net, count, steps)
    batch = _batch(net)
    changed = {"epochs": epochs, "batch_size": batch, "resize": resize, "seed": seed}
    how = dataclasses.replace(recipe.default(net), **changed)
    order = np.random.default_rng(seed).permutation(count)
    repeated = np.resize(order, each * batch)
    run = loop.Run(net, how, sources.subset(source, repeated), source)
    store = _Memory()
    state = loop.restore(run, store)
    for _ in loop.train_epochs(run, store, state, on_step=lambda done, loss: on_step()):
        pass
    return store.params


def _length(net: spec.Spec, count: int, steps: int) -> tuple[int, int]:
    """Epochs, and the steps of each: `steps` in all, or a few more.

    There are no more epochs than the recipe has, nor than passes over the images.
    """
    passes = max(1, steps * _batch(net) // count)
    epochs = min(recipe.default(net).epochs, steps, passes)
    return epochs, -(-steps // epochs)


def _batch(net: spec.Spec) -> int:
    """The recipe's batch size, rounded up so that the devices share it evenly."""
    return -(-recipe.default(net).batch_size // jax.device_count()) * jax.device_count()
