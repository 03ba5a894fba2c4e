"""Fig. 8 beside Table 1: the same parts covered in several images."""

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from zf_jax import io
from zf_jax.figures import raster


def table(rows: dict[str, dict], *, paper: dict[str, dict]) -> str:
    """Table 1 as text: each layer's scores, and the paper's own for layers it has.

    Args:
      rows: by part, layer and kind of score, mean and deviation.
      paper: by part and layer, mean and deviation.
    """
    layers = next(iter(rows.values()))
    beside = [layer for layer in layers if any(layer in row for row in paper.values())]
    kinds = [(layer, kind) for layer in layers for kind in layers[layer]]
    heads = [f"{layer}, {kind}" for layer, kind in kinds]
    heads += [f"{layer}, paper" for layer in beside]
    lines = [f"{'covered':<12}" + "".join(f"{head:>18}" for head in heads)]
    for part, row in rows.items():
        cells = [row[layer][kind] for layer, kind in kinds]
        cells += [paper.get(part, {}).get(layer) for layer in beside]
        texts = [f"{c[0]:.3f} +- {c[1]:.3f}" if c else "" for c in cells]
        lines.append(f"{part:<12}" + "".join(f"{text:>18}" for text in texts))
    lines += [
        "share of features whose sign of change differs between two images, "
        "mean +- deviation over pairs",
        "all: of all; changed: of those that change in either"
        + "; paper: of all, five dogs of its own" * bool(beside),
    ]
    return "\n".join(lines)


def plate(
    pictures: np.ndarray,
    boxes: np.ndarray,
    names: Sequence[str],
    *,
    grey: np.ndarray,
    table: str,
    title: str,
    path: pathlib.Path,
) -> pathlib.Path:
    """A row an image: itself, then with each of its boxes covered; below, a table.

    Args:
      pictures: [N, H, W, 3] in 0..1.
      boxes: [N, B, 4] int: top, left, bottom, right in pixels, the last two excluded.
      names: of the boxes, B.
      grey: [3] in 0..1, what covers them.
      table: text of aligned columns.
      title: of the plate.
      path: of the PNG.
    """
    shown = []
    for picture, own in zip(pictures, boxes, strict=True):
        shown.append(picture)
        for top, left, bottom, right in own:
            covered = picture.copy()
            covered[top:bottom, left:right] = grey
            shown.append(covered)
    columns = 1 + len(names)
    sheet = raster.grid(np.stack(shown), columns=columns)
    width = 1.3 * columns
    height = width * sheet.shape[0] / sheet.shape[1]
    lines = table.splitlines()
    # Inches: of the text's lines, and of the longest at this size of type.
    below, size = 0.2 * len(lines) + 0.1, width / max(map(len, lines)) * 72 / 0.62
    figure = Figure(figsize=(width, height + below))
    axis = figure.add_axes((0, below / (height + below), 1, height / (height + below)))
    axis.imshow(sheet, interpolation="nearest", aspect="auto")
    axis.axis("off")
    step = (sheet.shape[1] + max(1, pictures.shape[1] // 24)) / columns
    for index, name in enumerate(["original", *names]):
        middle = index * step + pictures.shape[2] / 2
        axis.text(middle, -3, name, ha="center", va="bottom", fontsize=9)
    figure.text(0.5, 1 + 0.32 / (height + below), title, ha="center", fontsize=10)
    style = {"family": "monospace", "fontsize": min(9, size), "linespacing": 1.4}
    figure.text(0, below / (height + below) - 0.02, table, va="top", **style)
    return io.save(figure, path, dpi=120)
