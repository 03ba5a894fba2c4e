"""The baseline of transfer: the whole net, learned from the same few images alone."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from experiments import images
from launch import script
from zf_jax import convnet, spec
from zf_jax.data import sources
from zf_jax.probes import sharded, transfer
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
    data: images.Dataset,
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
      folds: of them.
      sizes: how many images a class are learned from, one after the other.
      steps: of each training, at least.
      seed: of the weights, the order of the images, crops and dropout.

    Returns:
      By ("scratch", "test", size) of the images that are judged; ("scratch", "train",
      size) of those learned from, which tells whether it learned for long enough.
    """
    found = {}
    total = len(folds) * len(sizes) * steps
    with script.progress(total=total, desc="from scratch", unit=" steps") as bar:
        for n in sizes:
            for fold in folds:
                train = fold.train[:, :n].ravel()
                how = {"steps": steps, "seed": seed, "on_step": bar.update}
                parts = _accuracy(net, data, train, fold.test, **how)
                for name, one in zip(("test", "train"), parts, strict=True):
                    found.setdefault(("scratch", name, n), []).append(one)
    return found


def _accuracy(
    net: spec.Spec,
    data: images.Dataset,
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
    model = convnet.ConvNet(net)

    def read(pixels):
        prepared = convnet.prepare(pixels, net.input)
        return model.apply({"params": params}, prepared)[0].argmax(axis=1)

    def judge(which: np.ndarray) -> float:
        judged = data.only(which)
        predicted = np.concatenate(list(sharded.over(read, judged.batches())))
        return transfer.per_class(sources.classes(judged.source), predicted)

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

    The recipe's epochs are stretched to `steps` in all, each many times over the
    images. A rate that waits for an error to stall is told that of the images
    themselves: no others are looked at.
    """
    how = recipe.default(net)
    epochs = min(how.epochs, steps)
    # The devices share a batch evenly.
    batch = -(-how.batch_size // jax.device_count()) * jax.device_count()
    changed = {"epochs": epochs, "batch_size": batch, "resize": resize, "seed": seed}
    how = dataclasses.replace(how, **changed)
    length = -(-steps // epochs) * how.batch_size
    repeated = np.resize(np.arange(len(source.examples)), length)
    run = loop.Run(net, how, sources.subset(source, repeated), source)
    store = _Last()
    for _ in loop.epochs(run, store, on_step=lambda done, loss: on_step()):
        pass
    return store.params
