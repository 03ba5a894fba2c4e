"""The colours, drawn alike for every class, so that colour tells nothing about it."""

import numpy as np

from zf_jax.creatures.fast_rng import FastRng

FURS = (
    (0.86, 0.53, 0.24),  # ginger
    (0.93, 0.82, 0.64),  # cream
    (0.55, 0.37, 0.24),  # chestnut
    (0.33, 0.24, 0.20),  # chocolate
    (0.62, 0.60, 0.58),  # grey
    (0.38, 0.42, 0.48),  # slate
    (0.92, 0.90, 0.86),  # white
    (0.74, 0.60, 0.42),  # tan
    (0.66, 0.34, 0.22),  # rust
    (0.80, 0.62, 0.58),  # rose
    (0.55, 0.57, 0.44),  # moss
    (0.47, 0.40, 0.50),  # heather
)
HORNS = ((0.86, 0.78, 0.58), (0.62, 0.50, 0.36), (0.92, 0.72, 0.28), (0.40, 0.36, 0.34))
NOSES = ((0.20, 0.15, 0.15), (0.72, 0.42, 0.42), (0.42, 0.27, 0.22), (0.13, 0.12, 0.15))
IRISES = (
    (0.95, 0.72, 0.20),
    (0.55, 0.72, 0.28),
    (0.40, 0.62, 0.78),
    (0.72, 0.44, 0.18),
    (0.80, 0.80, 0.45),
)
# Backgrounds run between three colours: far, middle and near.
SCENES = (
    ((0.62, 0.74, 0.82), (0.48, 0.60, 0.36), (0.25, 0.36, 0.20)),  # meadow
    ((0.42, 0.52, 0.40), (0.24, 0.34, 0.24), (0.38, 0.30, 0.20)),  # forest
    ((0.95, 0.72, 0.52), (0.66, 0.44, 0.44), (0.32, 0.26, 0.36)),  # dusk
    ((0.84, 0.88, 0.92), (0.68, 0.74, 0.80), (0.50, 0.54, 0.58)),  # snow
    ((0.90, 0.80, 0.60), (0.78, 0.60, 0.40), (0.54, 0.38, 0.26)),  # desert
    ((0.52, 0.72, 0.76), (0.28, 0.52, 0.58), (0.18, 0.32, 0.38)),  # water
    ((0.92, 0.78, 0.36), (0.76, 0.44, 0.22), (0.40, 0.24, 0.18)),  # autumn
    ((0.70, 0.64, 0.80), (0.48, 0.46, 0.64), (0.28, 0.28, 0.42)),  # night
)
LEAVES = (
    (0.42, 0.56, 0.24),
    (0.24, 0.42, 0.26),
    (0.72, 0.66, 0.26),
    (0.78, 0.46, 0.20),
    (0.60, 0.28, 0.22),
    (0.36, 0.52, 0.46),
    (0.50, 0.38, 0.26),
)


def tint(rng: FastRng, colour, spread: float = 0.05) -> np.ndarray:
    """`colour` with a little chance in it, [3, 1, 1] float32."""
    r, g, b = colour
    shift = 1 + rng(-spread, spread) * 1.5
    warmth = rng(-spread, spread) / 2
    channels = r * shift + warmth, g * shift, b * shift - warmth
    return np.array(channels, np.float32)[:, None, None]


def coat(rng: FastRng) -> dict[str, np.ndarray]:
    """The colours of one animal by role, each [3, 1, 1] float32 in 0 to 1."""
    fur = tint(rng, rng.pick(FURS))
    # The second fur is a paler or darker tone, or now and then another colour.
    second = tint(rng, rng.pick(FURS)) if rng.chance(0.4) else fur
    towards, amount = (0.97, rng(0.3, 0.6)) if rng.chance(0.7) else (0.12, 0.4)
    second = second + amount * (towards - second)
    pink = tint(rng, (0.86, 0.56, 0.52))
    pale, dark = np.float32([0.98, 0.97, 0.94]), np.float32([0.09, 0.07, 0.08])
    pale, dark = pale[:, None, None], dark[:, None, None]
    return {
        "fur": fur,
        "second": second,
        "inner": fur * 0.35 + pink * 0.55,
        "shade": fur * 0.8,
        "horn": tint(rng, rng.pick(HORNS)),
        "nose": tint(rng, rng.pick(NOSES), 0.03),
        "iris": tint(rng, rng.pick(IRISES)),
        "tongue": tint(rng, (0.86, 0.42, 0.42)),
        "dark": dark,
        "white": pale,
        "whisker": pale if rng.chance(0.5) else dark,
        # A mouth shows on dark fur, too.
        "line": dark if second.mean() > 0.4 else pale * 0.85,
    }
