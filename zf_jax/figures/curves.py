"""Curves over training."""

import pathlib

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from zf_jax.figures import files


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
    return files.save(figure, path)
