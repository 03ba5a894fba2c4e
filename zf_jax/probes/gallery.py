"""The gallery (fig. 2): the images that excite a map most, and what in them does.

The strongest activations are gathered in one pass over a data set (`strongest.py`),
then projected, each from its own cone of the net alone.
"""

from collections.abc import Sequence

import numpy as np

from zf_jax import deconvnet, geometry
from zf_jax.errors import BadInput
from zf_jax.probes import cones, controls, projection
from zf_jax.probes.strongest import (
    Pass,
    Strongest,
    gather,
    merge,
    nothing,
    of_batch,
    strongest,
)
from zf_jax.spec import Spec

__all__ = [
    "Pass",
    "Strongest",
    "gather",
    "merge",
    "nothing",
    "of_batch",
    "project",
    "strongest",
]


# Batches of units of one image for which it is run up once.
_TOGETHER = 16


def project(
    net: Spec,
    params: dict,
    images: Sequence[np.ndarray],
    best: Strongest | dict[str, Strongest],
    *,
    layer: str,
    maps: Sequence[int] | None = None,
    rule: deconvnet.Rule = "deconvnet",
    batch_size: int | None = None,
    control: controls.Control | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The strongest images' patches and their projections, cut to what the unit sees.

    Only what a unit sees is run, up and down (`geometry.cone`), where that is less than
    the image; an image of many units is run up once for all of them. The result is what
    `deconvnet.reconstruct` gives of the whole image.

    A patch is as large as the receptive field, or as the net's input where that is
    smaller; at the border it is moved inside, so it still holds all the unit sees.
    What lies outside of an image smaller than that is zero.

    Args:
      net: the net.
      params: its parameters.
      images: the data set by index, each [H, W, C] float as `convnet.prepare` makes
        them.
      best: of the layer, or the dict that `strongest` gives.
      layer: name of the layer.
      maps: which maps, all by default.
      rule: what the ReLU does on the way down.
      batch_size: projections computed together. None takes what fits a budget.
      control: what is changed before a unit is projected (`controls.py`).

    Returns:
      patches, projections: both [M, K, h, w, C] float32, zero where `best` has no
      image.

    Raises:
      BadInput: an unknown layer or map.
    """
    net = net.upto(layer)
    best = best[layer] if isinstance(best, dict) else best
    values, indices, positions = (np.asarray(part) for part in best)
    chosen = np.arange(len(values)) if maps is None else np.asarray(maps, int)
    wrong = chosen[(chosen < 0) | (chosen >= len(values))]
    if len(wrong):
        raise BadInput(
            f"map {wrong[0]}: {layer} of {net.name} has 0 to {len(values) - 1}"
        )
    rows, ranks = np.nonzero(indices[chosen] >= 0)
    if not len(rows):
        raise BadInput(f"{layer}: no image excites the maps {list(chosen)}")
    field = geometry.fields(net)[layer]
    size = tuple(map(min, field.size, net.input.size))
    shape = (len(chosen), values.shape[1], *size, net.input.channels)
    patches, projections = np.zeros(shape, "f4"), np.zeros(shape, "f4")
    look = projection.Look(net, params, layer, rule, control)
    batch_size = batch_size or look.fitting()
    # By image, so that each is read once.
    order = np.argsort(indices[chosen[rows], ranks], kind="stable")

    def project_batch(now: np.ndarray, seen: list[np.ndarray]) -> None:
        index = chosen[rows[now]], ranks[now]
        project = look.of_one if len(now) > batch_size else look.of_several
        firsts, parts = project(seen, index[0], positions[index], batch_size)
        for row, rank, image, first, part, at in zip(
            rows[now], ranks[now], seen, firsts, parts, positions[index], strict=True
        ):
            corner = [
                np.clip(field.first(axis, at[axis]), 0, max(0, n - size[axis]))
                for axis, n in enumerate(image.shape[:2])
            ]
            patches[row, rank] = cones.cut(image, corner, size)
            projections[row, rank] = cones.cut(part, corner - first, size)

    def batches():
        which = indices[chosen[rows[order]], ranks[order]]
        units, seen = [], []
        for number in np.unique(which):
            own, image = order[which == number], np.asarray(images[number])
            if look.is_shared(image.shape[:2], len(own), batch_size):
                for start in range(0, len(own), _TOGETHER * batch_size):
                    now = own[start : start + _TOGETHER * batch_size]
                    yield now, [image] * len(now)
                continue
            for unit in own:
                units.append(unit)
                seen.append(image)
                if len(units) == batch_size:
                    yield np.array(units), seen
                    units, seen = [], []
        if units:
            yield np.array(units), seen

    projection.at_once(project_batch, batches())
    return patches, projections
