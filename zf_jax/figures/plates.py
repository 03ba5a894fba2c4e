"""Plates of one layer (fig. 2) and of one occluded image (fig. 7), with matplotlib."""

import math
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from zf_jax import io
from zf_jax.figures import raster


def contact(
    rows: dict[str, list[np.ndarray]], *, title: str, path: pathlib.Path
) -> pathlib.Path:
    """A row of pictures per name, each [h, w, 3] in 0..1, of one size in a row."""
    rows = {name: list(pictures) for name, pictures in rows.items() if len(pictures)}
    longest = max(map(len, rows.values()))
    figure = Figure(figsize=(9, 0.4 + 0.9 * len(rows)), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = np.ravel(figure.subplots(len(rows), 1, squeeze=False))
    for axis, (name, pictures) in zip(axes, rows.items(), strict=True):
        # Places that a shorter row leaves stay white.
        pictures += [np.ones_like(pictures[0])] * (longest - len(pictures))
        axis.imshow(raster.grid(np.stack(pictures), columns=longest))
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        axis.set(xticks=[], yticks=[], frame_on=False)
    return io.save(figure, path)


# No page is wider or higher by much, pixels.
_WIDE, _HIGH = 4000, 7000
# A map's pictures are enlarged by a whole number, up to about this width.
_PAIR = 400
_CAPTION, _GAP = 32, 36


def a_page(size: tuple[int, int], k: int) -> int:
    """How many maps `layer` draws on a page of a readable size: k patches [h, w]."""
    nothing = np.zeros((k, *size, 3), np.float32)
    high, wide = _pair(nothing, nothing, np.ones(k, bool)).shape[:2]
    return _columns(wide) * max(1, min(16, _HIGH // (high + _CAPTION)))


def _columns(wide: int) -> int:
    """Large fields are full of small things: fewer to a row."""
    return max(1, min(2 if wide > 1.2 * _PAIR else 4, _WIDE // (wide + _GAP)))


def layer(
    patches: np.ndarray,
    projections: np.ndarray,
    captions: Sequence[str],
    *,
    title: str,
    path: pathlib.Path,
    shown: np.ndarray | None = None,
) -> pathlib.Path:
    """Fig. 2: per map, its strongest projections beside the patches they are from.

    A map of which nothing is shown has an empty place that says so.

    Args:
      patches: [M, K, h, w, 3] in 0..1.
      projections: [M, K, h, w, 3], signed.
      captions: one a map.
      title: of the plate.
      path: of the PNG.
      shown: [M, K] bool, which of them; the places of others stay white.
    """
    if shown is None:
        shown = np.ones(patches.shape[:2], bool)
    pairs = [_pair(*each) for each in zip(patches, projections, shown, strict=True)]
    high, wide = pairs[0].shape[:2]
    columns = min(len(pairs), _columns(wide))
    rows = math.ceil(len(pairs) / columns)
    # Pixels are copied, not resampled: a figure of matplotlib takes seconds a page.
    above, below = 40, 10
    broad = columns * (wide + _GAP)
    size = above + rows * (_CAPTION + high) + below, max(broad, _room(title) + _GAP)
    sheet = np.full((*size, 3), 255, np.uint8)
    middle = size[1] // 2
    words = [raster.Words(title, middle, above / 2, size[1], 17)]
    for index, (pair, kept) in enumerate(zip(pairs, shown, strict=True)):
        row, column = divmod(index, columns)
        top = above + row * (_CAPTION + high) + _CAPTION
        left = middle - broad // 2 + column * (wide + _GAP) + _GAP // 2
        sheet[top : top + high, left : left + wide] = np.rint(255 * pair)
        place = {"column": left + wide / 2, "room": wide + _GAP / 2, "size": 14}
        words.append(raster.Words(captions[index], row=top - 13, **place))
        if not kept.any():
            words.append(raster.Words("never fires", row=top + high / 2, **place))
    return io.save_picture(raster.write(sheet, words), path)


def _room(title: str) -> int:
    """What a title takes in the smallest size that is read with ease."""
    return math.ceil(raster.width(title, 12))


def _pair(seen: np.ndarray, projected: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """A map's projections [K, h, w, 3] beside its patches, in 0..1."""
    blank = ~kept[:, None, None, None]
    left, right = (
        raster.grid(np.where(blank, 1.0, pictures))
        for pictures in (raster.stretch(projected), seen)
    )
    middle = np.ones((len(left), max(2, len(left) // 20), 3))
    pair = np.concatenate([left, middle, right], axis=1)
    if not kept.any():
        pair = np.full_like(pair, 0.95)
    larger = max(1, round(_PAIR / pair.shape[1]))
    return pair.repeat(larger, axis=0).repeat(larger, axis=1)


class Classes(NamedTuple):
    """What fig. 7 shows of the classes.

    Attributes:
      probability: [R, S], of one class, by the square's place.
      clean: the same of the image itself.
      name: of that class.
      top: [R, S] int, the most probable class.
      labels: names of all classes.
    """

    probability: np.ndarray
    clean: float
    name: str
    top: np.ndarray
    labels: Sequence[str]


class Occluded(NamedTuple):
    """What fig. 7 shows of one image.

    Attributes:
      picture: [H, W, 3] in 0..1, the image.
      square: [H, W, 3] in 0..1, the image with an example of the square.
      activity: [R, S], the strongest map's total activity by the square's place.
      clean: the same of the image itself.
      projections: [K, h, w, 3] signed: this image's, then other images' of that map.
      map_name: the strongest map's.
      side, stride: of the squares, (rows, columns) in pixels.
      classes: what there is to show of them; None for a net without.
    """

    picture: np.ndarray
    square: np.ndarray
    activity: np.ndarray
    clean: float
    projections: np.ndarray
    map_name: str
    side: tuple[int, int]
    stride: tuple[int, int]
    classes: Classes | None


def number(value: float) -> str:
    """A number in a caption: 26,123 and not 2.61e+04."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def occlusion(seen: Occluded, *, title: str, path: pathlib.Path) -> pathlib.Path:
    """Fig. 7's panels for one image: (a) to (e), or to (c) for a net without classes.

    The maps are drawn over the image's own frame: each reading at the centre of its
    square. The scale of (b) spans its readings, that of (d) what there can be.
    """
    projected = raster.grid(raster.stretch(seen.projections))
    count = 5 if seen.classes else 3
    # Panels of one height, wide enough for their captions.
    long, broad = (p.shape[1] / p.shape[0] for p in (seen.picture, projected))
    height = 2.8 / max(1, long / 1.8)
    frames = [long, long, broad, *(long,) * (count - 3)]
    widths = [max(2.4, height * each) for each in frames]
    figure = Figure(figsize=(sum(widths) * 1.12, height + 1.2), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08)
    a, b, c, *classes = figure.subplots(1, count, width_ratios=widths)
    a.imshow(seen.square)
    a.set_title(f"(a) {title}\n{seen.side[0]}x{seen.side[1]} square", fontsize=9)
    _heat(figure, b, seen, seen.activity)
    b.set_title(
        f"(b) activity of {seen.map_name}\nclean: {number(seen.clean)}", fontsize=9
    )
    c.imshow(projected, interpolation="auto")
    _frame_first(c, seen.projections)
    beside = "; others: strongest" if len(seen.projections) > 1 else ""
    c.set_title(
        f"(c) projections of {seen.map_name}\nframed: this image{beside}", fontsize=9
    )
    if seen.classes:
        d, e = classes
        _heat(figure, d, seen, seen.classes.probability, vmin=0.0, vmax=1.0)
        d.set_title(
            f"(d) p({seen.classes.name})\nclean: {seen.classes.clean:.3f}", fontsize=9
        )
        _top(e, seen)
        e.set_title("(e) most probable class\n", fontsize=9)
    for axis in (a, b, c, *classes):
        axis.set_xticks([])
        axis.set_yticks([])
    return io.save(figure, path, dpi=130)


def _extent(seen: Occluded) -> tuple[float, float, float, float]:
    """Where the grid of readings lies in pixels: a cell a stride, at square centres."""
    rows, columns = seen.activity.shape
    top, left = (
        (side - stride) / 2 - 0.5
        for side, stride in zip(seen.side, seen.stride, strict=True)
    )
    return left, left + columns * seen.stride[1], top + rows * seen.stride[0], top


def _frame(axis, seen: Occluded) -> None:
    height, width = seen.picture.shape[:2]
    axis.set_xlim(-0.5, width - 0.5)
    axis.set_ylim(height - 0.5, -0.5)


def _heat(figure, axis, seen: Occluded, values: np.ndarray, **scale) -> None:
    axis.imshow(seen.picture.mean(axis=-1), cmap="gray", vmin=0, vmax=1)
    drawn = axis.imshow(
        values,
        extent=_extent(seen),
        cmap="jet",
        alpha=0.6,
        interpolation="nearest",
        **scale,
    )
    _frame(axis, seen)
    # Beside the picture and as high as it.
    bar = figure.colorbar(
        drawn,
        cax=axis.inset_axes([1.03, 0, 0.05, 1]),
        format=lambda value, _: number(value),
    )
    bar.ax.tick_params(labelsize=7)


def _top(axis, seen: Occluded) -> None:
    top, labels = seen.classes.top, seen.classes.labels
    present, counts = np.unique(top, return_counts=True)
    present = present[np.argsort(-counts)]
    colours = np.asarray(_COLOURS)[np.arange(len(present)) % len(_COLOURS)]
    place = {label: i for i, label in enumerate(present)}
    indices = np.vectorize(place.get)(top)
    axis.imshow(seen.picture.mean(axis=-1), cmap="gray", vmin=0, vmax=1)
    axis.imshow(
        indices,
        extent=_extent(seen),
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=len(present) - 0.5,
        alpha=0.75,
        interpolation="nearest",
    )
    _frame(axis, seen)
    handles = [
        Patch(color=colour, label=labels[label])
        for colour, label in zip(colours, present, strict=True)
    ][:8]
    axis.legend(
        handles=handles,
        fontsize=7,
        ncols=2,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        frameon=False,
    )


def _frame_first(axis, projections: np.ndarray) -> None:
    height, width = projections.shape[1:3]
    axis.add_patch(
        Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor="black", lw=2.5)
    )


# Ten colours told apart by most eyes (matplotlib's tab10), as RGB in 0..1.
_COLOURS = [
    (0.12, 0.47, 0.71),
    (1.00, 0.50, 0.05),
    (0.17, 0.63, 0.17),
    (0.84, 0.15, 0.16),
    (0.58, 0.40, 0.74),
    (0.55, 0.34, 0.29),
    (0.89, 0.47, 0.76),
    (0.50, 0.50, 0.50),
    (0.74, 0.74, 0.13),
    (0.09, 0.75, 0.81),
]
