"""Which layers and maps an experiment draws.

Flags shared by the experiments: --layers, --maps, --order, --seed.
"""

import numpy as np
from absl import flags

from experiments.trained import Known
from zf_jax import geometry, spec
from zf_jax.errors import BadInput

_LAYERS = flags.DEFINE_list("layers", ["all"], "layer1,layer2,... or all")
_MAPS = flags.DEFINE_list(
    "maps", ["12"], "one number: that many live maps; or which, as 3,17,"
)
_ORDER = flags.DEFINE_enum(
    "order",
    "random",
    ["random", "strength"],
    "which of the live maps: any, or the strongest",
)
_SEED = flags.DEFINE_integer("seed", 0, "of the choice of maps")
# Not in the paper, which draws from all maps: one that never reaches this share of the
# layer's strongest activation has learned nothing to look at.
_LIVE = 0.05


def layers(net: spec.Spec) -> list[str]:
    """The chosen layers, all of which have the maps that are given by number."""
    chosen = [layer.name for layer in net.layers]
    if _LAYERS.value != ["all"]:
        chosen = [net.layers[net.index(layer)].name for layer in _LAYERS.value]
    if not chosen:
        raise BadInput("--layers: give some, as layer2,layer5, or all")
    _, given = _maps()
    for layer in chosen:
        count = geometry.shapes(net)[layer].maps[-1]
        if given and max(given) >= count:
            raise BadInput(f"--maps={max(given)}: {layer} has 0 to {count - 1}")
    return chosen


def maps(known: Known, layer: str, strongest: np.ndarray) -> np.ndarray:
    """The chosen maps of a layer, of which the paper takes a random subset.

    Args:
      known: the net.
      layer: of it. Maps that stand for classes are taken in their order.
      strongest: [C], of each map.
    """
    count, given = _maps()
    if given or known.names(layer):
        return np.array(given or range(min(count, len(strongest))))
    live = np.flatnonzero(strongest > _LIVE * strongest.max())
    if _ORDER.value == "strength":
        return live[np.argsort(-strongest[live], kind="stable")][:count]
    rng = np.random.default_rng([_SEED.value, len(strongest)])
    return np.sort(rng.permutation(live)[:count])


def _maps() -> tuple[int, list[int]]:
    """How many maps to choose, or which ones."""
    try:
        numbers = [int(number) for number in _MAPS.value if number]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or numbers == [0]:
        raise BadInput(
            f"--maps={','.join(_MAPS.value)}: give how many, or which, as 3,17"
        )
    return (numbers[0], []) if len(_MAPS.value) == 1 else (0, numbers)
