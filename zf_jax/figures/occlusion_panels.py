"""Fig. 7: what an occluder at each position does to a feature map and to the class."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from zf_jax import io
from zf_jax.figures import raster, text

_CLASS_COLOURS = matplotlib.colormaps["tab10"].colors
# Of panel (e), most frequent first.
_LEGEND_ENTRIES = 8
# Characters of a hidden value's name that have room over a panel.
_NAME = 40


class ClassMaps(NamedTuple):
    """Panels (d) and (e).

    Attributes:
      probability: [R, S], of one class, by the occluder's position.
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


class OcclusionMaps(NamedTuple):
    """What the panels show of one image; R by S positions of the occluder.

    Attributes:
      image: [H, W, 3] in 0..1.
      occluded: [H, W, 3] in 0..1, the image with an example of the occluder.
      activation: [R, S], the map's summed activation by the occluder's position.
      clean: the same of the image itself.
      projections: [K, h, w, 3] signed: this image's, then other images' of that map.
      map_name: of that map, the one that the image activates most.
      side, stride: of the occluder, (rows, columns) in pixels.
      classes: panels (d) and (e); None for a net without classes.
    """

    image: np.ndarray
    occluded: np.ndarray
    activation: np.ndarray
    clean: float
    projections: np.ndarray
    map_name: str
    side: tuple[int, int]
    stride: tuple[int, int]
    classes: ClassMaps | None


def draw(maps: OcclusionMaps, *, title: str, path: pathlib.Path) -> pathlib.Path:
    """Draws panels (a) to (e), or (a) to (c) for a net without classes.

    Values lie over the image, each at the centre of its occluder. The scale of (b)
    spans its values, that of (d) goes from 0 to 1.
    """
    classes, map_name = maps.classes, text.end(maps.map_name, _NAME)
    projected = raster.grid(raster.stretch(maps.projections))
    figure, (a, b, c, *rest) = _panels(maps.image, projected, 5 if classes else 3)
    a.imshow(maps.occluded)
    a.set_title(f"(a) {title}\n{maps.side[0]}x{maps.side[1]} occluder", fontsize=9)
    _heat_map(figure, b, maps, maps.activation)
    _title(b, f"(b) activation of {map_name}", text.number(maps.clean))
    c.imshow(projected, interpolation="auto")
    height, width = maps.projections.shape[1:3]
    style = {"fill": False, "edgecolor": "black", "lw": 2.5}
    c.add_patch(Rectangle((-0.5, -0.5), width, height, **style))
    others = "; others: strongest" if len(maps.projections) > 1 else ""
    c.set_title(
        f"(c) projections of {map_name}\nframed: this image{others}", fontsize=9
    )
    if classes is not None:
        _heat_map(figure, rest[0], maps, classes.probability, vmin=0.0, vmax=1.0)
        _title(rest[0], f"(d) p({classes.name})", f"{classes.clean:.3f}")
        _top_class(rest[1], maps, classes)
    for axis in (a, b, c, *rest):
        axis.set_xticks([])
        axis.set_yticks([])
    return io.save(figure, path, dpi=130)


def _panels(image: np.ndarray, projected: np.ndarray, count: int):
    """A figure of panels of one height, each wide enough for its caption."""
    image_ratio, grid_ratio = (p.shape[1] / p.shape[0] for p in (image, projected))
    height = 2.8 / max(1, image_ratio / 1.8)
    ratios = [image_ratio, image_ratio, grid_ratio, *(image_ratio,) * (count - 3)]
    widths = [max(2.4, height * ratio) for ratio in ratios]
    figure = Figure(figsize=(sum(widths) * 1.12, height + 1.2), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08)
    return figure, figure.subplots(1, count, width_ratios=widths)


def _title(axis, name: str, clean: str) -> None:
    axis.set_title(f"{name}\nclean: {clean}", fontsize=9)


def _extent(maps: OcclusionMaps) -> tuple[float, float, float, float]:
    """(left, right, bottom, top) in pixels of the grid of values.

    A cell is a stride high and wide; its centre is that of the occluder.
    """
    rows, columns = maps.activation.shape
    top, left = (
        (side - stride) / 2 - 0.5
        for side, stride in zip(maps.side, maps.stride, strict=True)
    )
    return left, left + columns * maps.stride[1], top + rows * maps.stride[0], top


def _overlay(axis, maps: OcclusionMaps, values: np.ndarray, **style):
    """Values over the image in grey, in the image's frame."""
    axis.imshow(maps.image.mean(axis=-1), cmap="gray", vmin=0, vmax=1)
    drawn = axis.imshow(values, extent=_extent(maps), interpolation="nearest", **style)
    height, width = maps.image.shape[:2]
    axis.set_xlim(-0.5, width - 0.5)
    axis.set_ylim(height - 0.5, -0.5)
    return drawn


def _heat_map(figure, axis, maps: OcclusionMaps, values: np.ndarray, **scale) -> None:
    drawn = _overlay(axis, maps, values, cmap="jet", alpha=0.6, **scale)
    bar = figure.colorbar(
        drawn,
        # Beside the picture and as high as it.
        cax=axis.inset_axes([1.03, 0, 0.05, 1]),
        format=lambda value, _: text.number(value),
    )
    bar.ax.tick_params(labelsize=7)


def _top_class(axis, maps: OcclusionMaps, classes: ClassMaps) -> None:
    """Panel (e): a colour a class, the most frequent classes first in the legend."""
    present, indices, counts = np.unique(
        classes.top, return_inverse=True, return_counts=True
    )
    order = np.argsort(-counts)
    rank = np.argsort(order)
    colours = [_CLASS_COLOURS[i % len(_CLASS_COLOURS)] for i in range(len(present))]
    _overlay(
        axis,
        maps,
        rank[indices].reshape(classes.top.shape),
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=len(present) - 0.5,
        alpha=0.75,
    )
    handles = [
        Patch(color=colour, label=classes.labels[label])
        for colour, label in zip(colours, present[order], strict=True)
    ]
    axis.set_title("(e) most probable class\n", fontsize=9)
    axis.legend(
        handles=handles[:_LEGEND_ENTRIES],
        fontsize=7,
        ncols=2,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        frameon=False,
    )
