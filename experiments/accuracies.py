"""The tables and the figure of transfer, with the paper's own numbers beside ours."""

import pathlib

import numpy as np

from experiments import paper
from experiments.common import dataset
from zf_jax import io
from zf_jax.figures import curves
from zf_jax.probes import transfer

Cell = tuple[float, float]


def report(
    net: str,
    data: dataset.Dataset,
    layers: list[str],
    sizes: list[int],
    found: dict[tuple[str, str, int], list[float]],
    out: pathlib.Path,
) -> list[pathlib.Path]:
    """Prints the tables, writes transfer.json and transfer.png.

    Args:
      net: its name.
      data: the images.
      layers: of Table 7.
      sizes: images a class, of fig. 9; Table 7 has the most.
      found: accuracies, 0..1, one a fold, by (classifier, layer, size) and
        ("scratch", "test" or "train", size).
      out: folder of the files.
    """
    cells = {key: _cell(each) for key, each in found.items()}
    name, most, last = data.source.name, sizes[-1], layers[-1]
    columns = {
        kind: {layer: cells[kind, layer, most] for layer in layers}
        for kind in transfer.CLASSIFIERS
    }
    for (kind, layer), cell in paper.by_layer(name, most).items():
        if layer in layers:
            columns.setdefault(f"paper, {kind}", {})[layer] = cell
    _print(f"{most} images a class", layers, columns)
    rows = {
        f"{last}, {kind}": {n: cells[kind, last, n] for n in sizes}
        for kind in transfer.CLASSIFIERS
    }
    scratch = {n: cell for (_, of, n), cell in cells.items() if of == "test"}
    if scratch:
        count = len(found["scratch", "test", min(scratch)])
        differs = count != len(found["svm", last, most])
        told = f", {count} fold{'s' * (count > 1)}" if differs else ""
        rows["from scratch" + told] = scratch
    for label, kind in (("pretrained", "pretrained"), ("from scratch", "scratch")):
        if own := paper.by_images(name, kind):
            rows[f"paper, {label}"] = own
    every = sorted({n for row in rows.values() for n in row})
    _print("images a class", every, rows)
    for n in scratch:
        learned = cells["scratch", "train", n][0]
        short = "; not learned yet: raise --scratch_steps" if learned < 90 else ""
        print(
            f"from scratch, {n} images a class: {learned:.1f} % of these "
            f"themselves{short}"
        )
    kept = [
        {"classifier": kind, "on": of, "images": n, "folds": each}
        for (kind, of, n), each in found.items()
    ]
    picture = curves.draw_transfer(
        columns,
        rows,
        images=most,
        chance=100 / len(data.labels),
        title=f"{net} on {data.name}",
        path=out / "transfer.png",
    )
    return [io.save_json(out / "transfer.json", {"accuracies": kept}), picture]


def _cell(folds: list[float]) -> Cell:
    """Mean and deviation over folds, percent; one has no deviation, NaN."""
    spread = np.std(folds, ddof=1) if len(folds) > 1 else np.nan
    return 100 * float(np.mean(folds)), 100 * float(spread)


def _print(corner: str, names: list, columns: dict[str, dict]) -> None:
    width = max(len(corner), *(len(str(name)) for name in names))
    print(f"\n{corner:<{width}}" + "".join(f"{column:>22}" for column in columns))
    for name in names:
        texts = (_text(*column.get(name, ())) for column in columns.values())
        print(f"{name:<{width}}" + "".join(f"{text:>22}" for text in texts))


def _text(mean: float | None = None, deviation: float = np.nan) -> str:
    if mean is None:
        return ""
    return f"{mean:.1f}" + ("" if np.isnan(deviation) else f" +- {deviation:.1f}")
