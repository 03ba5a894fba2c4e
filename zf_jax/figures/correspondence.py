"""Fig. 8 and Table 1: the same parts covered in several images."""

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from zf_jax import io
from zf_jax.figures import raster


def table(scores: dict[str, dict], *, paper: dict[str, dict]) -> str:
    """Table 1 as text: our scores, and the paper's for the layers that it has.

    Args:
      scores: mean and standard deviation by part, layer and name of the score.
      paper: mean and standard deviation by part and layer.
    """
    layers = next(iter(scores.values()))
    known = {layer for row in paper.values() for layer in row}
    of_paper = [layer for layer in layers if layer in known]
    columns = [(layer, score) for layer in layers for score in layers[layer]]
    heads = [f"{layer}, {score}" for layer, score in columns]
    heads += [f"{layer}, paper" for layer in of_paper]
    # Names of hidden values may be long.
    width = max(18, *(len(head) + 2 for head in heads))
    lines = [f"{'covered':<12}" + "".join(f"{head:>{width}}" for head in heads)]
    for part, row in scores.items():
        cells = [row[layer][score] for layer, score in columns]
        cells += [paper.get(part, {}).get(layer) for layer in of_paper]
        texts = [f"{c[0]:.3f} +- {c[1]:.3f}" if c else "" for c in cells]
        lines.append(f"{part:<12}" + "".join(f"{text:>{width}}" for text in texts))
    lines += [
        "share of features whose sign of change differs between two images, "
        "mean +- standard deviation over pairs",
        "all: of all; changed: of those that change in either"
        + "; paper: of all, five dogs of its own" * bool(of_paper),
    ]
    return "\n".join(lines)


def draw(
    images: np.ndarray,
    boxes: np.ndarray,
    names: Sequence[str],
    *,
    fill: np.ndarray,
    table: str,
    title: str,
    path: pathlib.Path,
) -> pathlib.Path:
    """Draws a row an image: itself, then with each of its boxes covered; then a table.

    Args:
      images: [N, H, W, 3] in 0..1.
      boxes: [N, B, 4] int: top, left, bottom, right in pixels, the last two excluded.
      names: B names of the boxes.
      fill: [3] in 0..1, the colour that covers them.
      table: text of aligned columns.
      title: of the figure.
      path: of the PNG.
    """
    columns = 1 + len(names)
    sheet = raster.grid(_covered(images, boxes, fill), columns=columns)
    width = 1.3 * columns
    height = width * sheet.shape[0] / sheet.shape[1]
    lines = table.splitlines()
    # The height of the table in inches, and the type size at which its longest line
    # is as wide as the figure.
    below, size = 0.2 * len(lines) + 0.1, width / max(map(len, lines)) * 72 / 0.62
    whole = height + below
    figure = Figure(figsize=(width, whole))
    axis = figure.add_axes((0, below / whole, 1, height / whole))
    axis.imshow(sheet, interpolation="nearest", aspect="auto")
    axis.axis("off")
    step = images.shape[2] + raster.gap(images.shape[1])
    for index, name in enumerate(["original", *names]):
        middle = index * step + images.shape[2] / 2
        axis.text(middle, -3, name, ha="center", va="bottom", fontsize=9)
    figure.text(0.5, 1 + 0.32 / whole, title, ha="center", fontsize=10)
    style = {"family": "monospace", "fontsize": min(9, size), "linespacing": 1.4}
    figure.text(0, below / whole - 0.02, table, va="top", **style)
    return io.save(figure, path, dpi=120)


def _covered(images: np.ndarray, boxes: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """[N (1 + B), H, W, 3]: each image, followed by its copies with one box covered."""
    pictures = []
    for image, own in zip(images, boxes, strict=True):
        pictures.append(image)
        for top, left, bottom, right in own:
            covered = image.copy()
            covered[top:bottom, left:right] = fill
            pictures.append(covered)
    return np.stack(pictures)
