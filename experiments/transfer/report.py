"""The tables and the figure of transfer, with the paper's own numbers beside ours."""

import pathlib
from typing import NamedTuple

import numpy as np

from experiments.common import dataset, paper
from zf_jax import io
from zf_jax.figures import curves
from zf_jax.probes import transfer

# Mean and standard deviation over folds, percent.
Cell = tuple[float, float]
# Below this accuracy on the very images that it learned from, percent, a net that
# began from scratch has not learned for long enough.
_LEARNED = 90


class Measured(NamedTuple):
    """What was measured.

    Attributes:
      net: its name.
      data: the images.
      layers: of Table 7.
      sizes: images a class, of fig. 9; Table 7 has the most.
      accuracies: 0..1, one a fold, by (classifier, layer, size) and by ("scratch",
        "test" or "train", size).
    """

    net: str
    data: dataset.Dataset
    layers: list[str]
    sizes: list[int]
    accuracies: dict[tuple[str, str, int], list[float]]


def write(measured: Measured, out: pathlib.Path) -> list[pathlib.Path]:
    """Prints the tables, writes transfer.json and transfer.png into a folder."""
    cells = {key: _cell(folds) for key, folds in measured.accuracies.items()}
    columns, rows = _by_layer(measured, cells), _by_images(measured, cells)
    most = measured.sizes[-1]
    _print(f"{most} images a class", measured.layers, columns)
    sizes = sorted({size for row in rows.values() for size in row})
    _print("images a class", sizes, rows)
    _print_learned(cells)
    kept = [
        {"classifier": classifier, "on": of, "images": size, "folds": folds}
        for (classifier, of, size), folds in measured.accuracies.items()
    ]
    picture = curves.draw_transfer(
        columns,
        rows,
        images=most,
        chance=100 / len(measured.data.labels),
        title=f"{measured.net} on {measured.data.name}",
        path=out / "transfer.png",
    )
    return [io.save_json(out / "transfer.json", {"accuracies": kept}), picture]


def _by_layer(measured: Measured, cells: dict) -> dict[str, dict[str, Cell]]:
    """Table 7: a column for each classifier, and the paper's."""
    most = measured.sizes[-1]
    columns = {
        classifier: {layer: cells[classifier, layer, most] for layer in measured.layers}
        for classifier in transfer.CLASSIFIERS
    }
    of_paper = paper.accuracy_by_layer(measured.data.source.name, most)
    for (classifier, layer), cell in of_paper.items():
        if layer in measured.layers:
            columns.setdefault(f"paper, {classifier}", {})[layer] = cell
    return columns


def _by_images(measured: Measured, cells: dict) -> dict[str, dict[int, Cell]]:
    """Fig. 9: curves of the last layer's classifiers, from scratch, the paper's."""
    last = measured.layers[-1]
    rows = {
        f"{last}, {classifier}": {
            size: cells[classifier, last, size] for size in measured.sizes
        }
        for classifier in transfer.CLASSIFIERS
    }
    scratch = {size: cell for (_, of, size), cell in cells.items() if of == "test"}
    if scratch:
        count = len(measured.accuracies["scratch", "test", min(scratch)])
        differs = count != len(measured.accuracies["svm", last, measured.sizes[-1]])
        folds = f", {count} fold{'s' * (count > 1)}" if differs else ""
        rows[f"from scratch{folds}"] = scratch
    for label, start in (("pretrained", "pretrained"), ("from scratch", "scratch")):
        if own := paper.accuracy_by_images(measured.data.source.name, start):
            rows[f"paper, {label}"] = own
    return rows


def _print_learned(cells: dict[tuple[str, str, int], Cell]) -> None:
    """Whether the nets that began from scratch know the images they learned from."""
    for (_, of, size), (learned, _) in cells.items():
        if of == "train":
            short = "; not learned yet: raise --scratch_steps"
            print(
                f"from scratch, {size} images a class: {learned:.1f} % of these "
                f"themselves{short if learned < _LEARNED else ''}"
            )


def _cell(folds: list[float]) -> Cell:
    """Of accuracies; one fold has no standard deviation, NaN."""
    spread = np.std(folds, ddof=1) if len(folds) > 1 else np.nan
    return 100 * float(np.mean(folds)), 100 * float(spread)


def _print(corner: str, names: list, columns: dict[str, dict]) -> None:
    width = max(len(corner), *(len(str(name)) for name in names))
    # Names of hidden values may be long.
    wide = max(22, *(len(column) + 2 for column in columns))
    print(f"\n{corner:<{width}}" + "".join(f"{column:>{wide}}" for column in columns))
    for name in names:
        texts = (_text(*column.get(name, ())) for column in columns.values())
        print(f"{name:<{width}}" + "".join(f"{text:>{wide}}" for text in texts))


def _text(mean: float | None = None, deviation: float = np.nan) -> str:
    if mean is None:
        return ""
    return f"{mean:.1f}" + ("" if np.isnan(deviation) else f" +- {deviation:.1f}")
