"""The pages and arrays of one layer."""

import math
import pathlib
from typing import NamedTuple

import numpy as np

from experiments.common.model import LoadedModel
from zf_jax import io
from zf_jax.figures import feature_pages, raster, text
from zf_jax.probes import projection
from zf_jax.probes.topk import TopK

# Bytes of patches and projections that are worth a file, and fit the memory.
_MOST_ARRAYS = 2 << 30


class LayerUnits(NamedTuple):
    """The channels of a layer that are drawn.

    Attributes:
      loaded: the net.
      layer: its name.
      stem: what the layer's files are called.
      best: the strongest images of all its channels.
      channels: [M] int, the chosen ones.
    """

    loaded: LoadedModel
    layer: str
    stem: str
    best: TopK
    channels: np.ndarray

    def active(self) -> np.ndarray:
        """[M, K] bool: whether each of the strongest images excites its channel."""
        return _is_active(self.best.values[self.channels])

    def live(self) -> "LayerUnits":
        """Those of the channels that any image excites."""
        return self._replace(channels=self.channels[self.active()[:, 0]])

    def captions(self) -> list[str]:
        """Each channel's class, where it stands for one, or number; its maximum."""
        names, found = self.loaded.class_names(self.layer), []
        for channel in self.channels:
            caption = names[channel] if names else f"map {channel}"
            value = self.best.values[channel, 0]
            if _is_active(value):
                caption += f", max {text.number(value)}"
            found.append(caption)
        return found


def _is_active(values: np.ndarray) -> np.ndarray:
    """Rectified activations are 0 where a channel is silent; -inf stands for none."""
    return np.isfinite(values) & (values != 0)


def draw(
    units: LayerUnits, data, projector: projection.Projector, out: pathlib.Path
) -> tuple[list[pathlib.Path], list[np.ndarray]]:
    """Draws a layer, and saves its arrays where they are not too large.

    Returns:
      The files, and each live channel's strongest projection, [h, w, C].
    """
    active = _is_active(units.best.values[:, 0])
    if dead := int((~active).sum()):
        print(f"{units.layer}: {dead} of {len(active)} maps never fire")
    if not len(units.channels):
        print(f"{units.layer}: none of its maps is ever active, so it has no picture")
        return [], []
    loaded, k = units.loaded, units.best.values.shape[1]
    size = loaded.layers[units.layer].field
    each = 2 * 4 * loaded.input.channels * k * math.prod(size)
    keep = each * len(units.channels) <= _MOST_ARRAYS
    length = feature_pages.maps_per_page(size, k)
    starts = range(0, len(units.channels), length)
    written, kept, strongest = [], [], []
    for number, start in enumerate(starts, start=1):
        page = units._replace(channels=units.channels[start : start + length])
        patches, projections = _project(page, projector)
        numbered = (number, len(starts)) if len(starts) > 1 else None
        written.append(_page(page, data, patches, projections, numbered, out))
        strongest += list(projections[page.active()[:, 0], 0])
        if keep:
            kept.append((patches, projections))
    if keep:
        written.append(_arrays(units, kept, out))
    else:
        gigabytes = each * len(units.channels) / 2**30
        print(f"{units.layer}: no .npz, which would take {gigabytes:.1f} GiB")
    return written, strongest


def _project(
    units: LayerUnits, projector: projection.Projector
) -> tuple[np.ndarray, np.ndarray]:
    """Patches and projections, [M, K, h, w, C]; of channels that never fire, zero."""
    live = units.active()[:, 0]
    # One image of one channel where none fires: its shape is that of all.
    chosen = units.channels[live] if live.any() else units.channels[:1]
    found = projector.project(units.layer, chosen)
    whole = []
    for part in found:
        whole.append(np.zeros((len(live), *part.shape[1:]), part.dtype))
        if live.any():
            whole[-1][live] = part
    return tuple(whole)


def _page(
    units: LayerUnits,
    data,
    patches: np.ndarray,
    projections: np.ndarray,
    numbered: tuple[int, int] | None,
    out: pathlib.Path,
) -> pathlib.Path:
    """Draws a page; `numbered` is its number and their count, where several are."""
    loaded, k = units.loaded, units.best.values.shape[1]
    title = (
        f"{loaded.model.name}, {units.layer}: projections ({loaded.rule}) and patches "
        f"of the {f'{k} strongest' if k > 1 else 'strongest'} of {data.title}"
    )
    stem = units.stem
    if numbered:
        title += f" ({numbered[0]} of {numbered[1]})"
        stem += f"-{numbered[0]}"
    return feature_pages.draw(
        raster.denormalize(patches, loaded.input),
        projections,
        units.captions(),
        title=title,
        path=out / f"{stem}.png",
        # A channel may be silent in some of few images.
        shown=units.active(),
    )


def _arrays(units: LayerUnits, pages: list, out: pathlib.Path) -> pathlib.Path:
    patches, projections = (np.concatenate(part) for part in zip(*pages, strict=True))
    return io.save_arrays(
        out / f"{units.stem}.npz",
        maps=units.channels,
        indices=units.best.images[units.channels],
        positions=units.best.positions[units.channels],
        values=units.best.values[units.channels],
        patches=patches,
        projections=projections,
    )
