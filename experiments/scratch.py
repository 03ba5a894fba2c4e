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


class _Last:
    """In place of a `checkpoint.Store`: the weights last saved, in memory."""

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
      sizes: how many images a class are learned from, one after the other.
      steps: of each training, at least.
      seed: of the weights, the order of the images, crops and dropout.

    Returns:
      By ("scratch", "test", size) of the images that are judged; ("scratch", "train",
      size) of those learned from, which tells whether it learned for long enough.
    """
    found = {}
    runs = [(n, fold, fold.train[:, :n].ravel()) for n in sizes for fold in folds]
    total = sum(math.prod(_length(net, len(train), steps)) for _, _, train in runs)
    with cli.progress(total=total, desc="from scratch", unit=" steps") as bar:
        how = {"steps": steps, "seed": seed, "on_step": bar.update}
        for n, fold, train in runs:
            parts = _accuracy(net, data, labels, train, fold.test, **how)
            for name, one in zip(("test", "train"), parts, strict=True):
                found.setdefault(("scratch", name, n), []).append(one)
    return found


def _accuracy(
    net: spec.Spec,
    data: dataset.Dataset,
    labels: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    *,
    steps: int,
    seed: int,
    on_step: Callable[[], None],
) -> tuple[float, float]:
    """Of the images judged, and of those learned from."""
    net = net.with_classes(len(data.labels))
    how = {"resize": data.cut["resize"], "steps": steps, "seed": seed}
    params = _train(net, data.only(train).source, **how, on_step=on_step)
    network = convnet.ConvNet(net)

    def read(pixels):
        prepared = convnet.prepare(pixels, net.input)
        return network.apply({"params": params}, prepared)[0].argmax(axis=1)

    def judge(which: np.ndarray) -> float:
        batches = data.only(which).batches()
        predicted = np.concatenate(list(batched.over(read, batches)))
        return transfer.mean_class_accuracy(labels[which], predicted)

    return judge(test), judge(train)


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
    more often; too few steps for that see some of the images, of any class. A rate
    that waits for an error to stall is told that of the images themselves: no others
    are looked at.
    """
    count = len(source.examples)
    epochs, each = _length(net, count, steps)
    batch = _batch(net)
    changed = {"epochs": epochs, "batch_size": batch, "resize": resize, "seed": seed}
    how = dataclasses.replace(recipe.default(net), **changed)
    order = np.random.default_rng(seed).permutation(count)
    repeated = np.resize(order, each * batch)
    run = loop.Run(net, how, sources.subset(source, repeated), source)
    store = _Last()
    for _ in loop.epochs(run, store, on_step=lambda done, loss: on_step()):
        pass
    return store.params


def _length(net: spec.Spec, count: int, steps: int) -> tuple[int, int]:
    """Epochs over so many images, and the steps of each: `steps` in all, or some more.

    No more epochs than the recipe's, nor than passes over the images.
    """
    passes = max(1, steps * _batch(net) // count)
    epochs = min(recipe.default(net).epochs, steps, passes)
    return epochs, -(-steps // epochs)


def _batch(net: spec.Spec) -> int:
    """The recipe's, shared evenly by the devices."""
    return -(-recipe.default(net).batch_size // jax.device_count()) * jax.device_count()
