"""The translations, scales and rotations that images are put through."""

import dataclasses
from typing import NamedTuple

import jax
import numpy as np

from zf_jax import cli
from zf_jax.errors import BadInput
from zf_jax.probes import warps


@dataclasses.dataclass(frozen=True)
class WarpConfig:
    """How far images are translated, scaled and rotated, and in how many steps."""

    translation: int | None = cli.field(
        None, "up and down by so many pixels; 60 of 224 of the height if unset"
    )
    # --scale is the factor of a net's images.
    max_scale: float = cli.field(1.8, "enlarge from a ratio of 1 to this one")
    rotation: float = cli.field(360.0, "from 0 to so many degrees")
    steps: int = cli.field(40, "of each of the three", minimum=4)


class WarpGrid(NamedTuple):
    """One of the three transformations: a row of fig. 5.

    Attributes:
      name: of the transformation.
      axis: what the amounts are, with their unit.
      amounts: [A], ascending.
      change: [A], the signed distance of each amount from the one that changes nothing.
      warps: [A, 2, 3], as `warps.apply` takes them.
    """

    name: str
    axis: str
    amounts: np.ndarray
    change: np.ndarray
    warps: jax.Array


def make(config: WarpConfig, height: int) -> list[WarpGrid]:
    """The translations, the scales and the rotations of images of so many rows.

    Raises:
      BadInput: a range that is empty or too large.
    """
    largest = config.translation
    if largest is None:
        # The range of the paper's figure, for its images.
        largest = max(1, round(60 / 224 * height))
    if not 0 < largest < height:
        raise BadInput(f"--translation={largest}: give 1 to {height - 1} pixels")
    if not 1 < config.max_scale < np.inf:
        raise BadInput(f"--max_scale={config.max_scale:g}: give a ratio above 1")
    if not 0 < config.rotation <= 360:
        raise BadInput(f"--rotation={config.rotation:g}: give degrees, up to 360")
    count = config.steps + 1
    # Whole pixels, so that nothing is interpolated.
    shifts = np.unique(np.rint(np.linspace(-largest, largest, count)))
    ratios = np.linspace(1, config.max_scale, count)
    degrees = np.linspace(0, config.rotation, count)
    return [
        WarpGrid(
            "translation",
            "vertical translation, pixels",
            shifts,
            shifts,
            warps.translate(shifts),
        ),
        WarpGrid("scale", "scale, ratio", ratios, ratios - 1, warps.scale(ratios)),
        WarpGrid(
            "rotation", "rotation, degrees", degrees, degrees, warps.rotate(degrees)
        ),
    ]
