"""Curves over training (loss, accuracy) and of transfer (fig. 9, Table 7)."""

import pathlib

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from zf_jax import io

_LOSS = {"train_loss": "training", "loss": "validation"}
_ACCURACY = {
    "train_top1": "training, top-1",
    "top1": "validation, top-1",
    "top5": "validation, top-5",
}

# Characters of layers' names that stand side by side below a panel.
_ROOM = 60


def draw_training(rows: list[dict], path: pathlib.Path) -> pathlib.Path:
    """Draws loss and accuracy by epoch.

    Args:
      rows: one an epoch, as `loop.Report._asdict()` gives them.
      path: of the PNG.
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    for axes, names in ((loss, _LOSS), (accuracy, _ACCURACY)):
        for name, label in names.items():
            axes.plot(epochs, [row[name] for row in rows], marker=".", label=label)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    loss.set_ylabel("cross-entropy, nats")
    loss.set_ylim(bottom=0)
    accuracy.set_ylabel("accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    return io.save(figure, path)


def draw_transfer(
    by_layer: dict[str, dict[str, tuple[float, float]]],
    by_images: dict[str, dict[int, tuple[float, float]]],
    *,
    images: int,
    chance: float,
    title: str,
    path: pathlib.Path,
) -> pathlib.Path:
    """Draws accuracy by layer (Table 7) and by number of training images (fig. 9).

    Args:
      by_layer: by classifier and layer, mean and standard deviation over folds in
        percent; a standard deviation of NaN draws no bar.
      by_images: the same by curve and by training images a class.
      images: training images a class of `by_layer`.
      chance: accuracy of a guess, percent.
      title: of the figure.
      path: of the PNG.
    """
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    figure.suptitle(title, fontsize=10)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, curves in ((left, by_layer), (right, by_images)):
        for name, curve in curves.items():
            means, deviations = zip(*curve.values(), strict=True)
            style = {"ls": "--" if name.startswith("paper") else "-", "marker": "."}
            axes.errorbar(
                list(curve), means, deviations, capsize=2, label=name, **style
            )
        axes.axhline(chance, color="0.6", lw=1, ls=":", label="chance")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8, loc="best")
    layers = [layer for curve in by_layer.values() for layer in curve]
    if max(map(len, layers)) * len(set(layers)) > _ROOM:
        # Names of hidden values may be long.
        left.tick_params("x", labelrotation=90, labelsize=8)
    left.set_ylabel("mean per-class accuracy, %")
    left.set_ylim(0, 102)
    left.set_xlabel(f"features of; {images} images a class")
    right.set_xlabel("images a class to learn from")
    right.set_xlim(left=0)
    return io.save(figure, path)
