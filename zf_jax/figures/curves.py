"""Curves over training."""

import pathlib

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from zf_jax import io


def training(rows: list[dict], path: pathlib.Path) -> pathlib.Path:
    """Loss and accuracy by epoch.

    Args:
      rows: one a epoch, as `loop.Report._asdict()` gives them.
      path: of the PNG.
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    for axes, names in (
        (loss, {"train_loss": "training", "loss": "validation"}),
        (
            accuracy,
            {
                "train_top1": "training, top-1",
                "top1": "validation, top-1",
                "top5": "validation, top-5",
            },
        ),
    ):
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


def transfer(
    by_layer: dict[str, dict[str, tuple[float, float]]],
    by_images: dict[str, dict[int, tuple[float, float]]],
    *,
    images: int,
    chance: float,
    title: str,
    path: pathlib.Path,
) -> pathlib.Path:
    """Accuracy by layer (Table 7) and by the images learned from (fig. 9).

    Args:
      by_layer: of each classifier, by layer, mean and deviation over folds, percent; no
        bar where that is NaN.
      by_images: of each curve, by images a class, the same.
      images: a class, that `by_layer` learned from.
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
            line = "--" if name.startswith("paper") else "-"
            axes.errorbar(
                list(curve),
                means,
                deviations,
                marker=".",
                capsize=2,
                ls=line,
                label=name,
            )
        axes.axhline(chance, color="0.6", lw=1, ls=":", label="chance")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8, loc="best")
    left.set_ylabel("mean per-class accuracy, %")
    left.set_ylim(0, 102)
    left.set_xlabel(f"features of; {images} images a class")
    right.set_xlabel("images a class to learn from")
    right.set_xlim(left=0)
    return io.save(figure, path)
