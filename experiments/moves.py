"""The translations, scales and rotations that an experiment puts images through.

Flags: --translation, --scale, --rotation, --steps.
"""

from typing import NamedTuple

import jax
import numpy as np
from absl import flags

from zf_jax.errors import BadInput
from zf_jax.probes import warps

_TRANSLATION = flags.DEFINE_integer(
    "translation", None, "up and down, pixels; 60 of 224 of the height if unset"
)
_SCALE = flags.DEFINE_float("scale", 1.8, "from 1 to")
_ROTATION = flags.DEFINE_float("rotation", 360, "from 0 to, degrees")
_STEPS = flags.DEFINE_integer("steps", 40, "of each of the three", lower_bound=4)


class WarpGrid(NamedTuple):
    """A row of fig. 5.

    Attributes:
      name: of the three.
      axis: what the amounts are, with their unit.
      amounts: [A], ascending.
      change: [A], how far each is from changing nothing, with a sign.
      warps: [A, 2, 3].
    """

    name: str
    axis: str
    amounts: np.ndarray
    change: np.ndarray
    warps: jax.Array


def of_images(height: int) -> list[WarpGrid]:
    """What the flags ask for, of images of so many rows.

    Raises:
      BadInput: a range that there is not.
    """
    most = _TRANSLATION.value
    if most is None:
        # The range of the paper's figure, for its images.
        most = max(1, round(60 / 224 * height))
    if not 0 < most < height:
        raise BadInput(f"--translation={most}: give 1 to {height - 1} pixels")
    if not 1 < _SCALE.value < np.inf:
        raise BadInput(f"--scale={_SCALE.value:g}: give a ratio above 1, as 1.8")
    if not 0 < _ROTATION.value <= 360:
        raise BadInput(f"--rotation={_ROTATION.value:g}: give degrees, up to 360")
    steps = _STEPS.value + 1
    # Whole pixels, so that no change is the interpolation's.
    down = np.unique(np.rint(np.linspace(-most, most, steps)))
    ratios = np.linspace(1, _SCALE.value, steps)
    turns = np.linspace(0, _ROTATION.value, steps)
    down_by, turn_by = "vertical translation, pixels", "rotation, degrees"
    return [
        WarpGrid("translation", down_by, down, down, warps.translate(down)),
        WarpGrid("scale", "scale, ratio", ratios, ratios - 1, warps.scale(ratios)),
        WarpGrid("rotation", turn_by, turns, turns, warps.rotate(turns)),
    ]
