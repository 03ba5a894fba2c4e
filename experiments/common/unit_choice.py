"""Which layers and maps an experiment draws.

Flags shared by the experiments: --layers, --maps, --order, --seed.
"""

import numpy as np
from absl import flags

from experiments.common.model import LoadedModel
from zf_jax import geometry, spec
from zf_jax.errors import BadInput

_LAYERS = flags.DEFINE_list("layers", ["all"], "layer1,layer2,... or all")
_MAPS = flags.DEFINE_list(
    "maps", ["12"], "one number: that many live maps; which, as 3,17,; or all"
)
_ORDER = flags.DEFINE_enum(
    "order",
    "random",
    ["random", "strength"],
    "which of the live maps: any, or the strongest; of all: by number or strength",
)
_SEED = flags.DEFINE_integer("seed", 0, "of the choice of maps, and of controls")
# Not in the paper, which draws from all maps: one that never reaches this share of the
# layer's strongest activation has learned nothing to look at.
_LIVE = 0.05


def layers(net: spec.Spec, unset: str | None = None) -> list[str]:
    """The chosen layers, all of which have the maps that are given by number.

    Args:
      net: the net.
      unset: the layer to take where --layers is not given; all if None.
    """
    chosen = [layer.name for layer in net.layers]
    if unset and not _LAYERS.present:
        chosen = [unset]
    elif _LAYERS.value != ["all"]:
        wanted = dict.fromkeys(_LAYERS.value)
        chosen = [net.layers[net.index(layer)].name for layer in wanted]
    if not chosen:
        raise BadInput("--layers: give some, as layer2,layer5, or all")
    _, given = _maps()
    for layer in chosen:
        count = geometry.shapes(net)[layer].maps[-1]
        if given and max(given) >= count:
            raise BadInput(f"--maps={max(given)}: {layer} has 0 to {count - 1}")
    return chosen


def maps(known: LoadedModel, layer: str, strongest: np.ndarray) -> np.ndarray:
    """The chosen maps of a layer, of which the paper takes a random subset.

    Args:
      known: the net.
      layer: of it. Maps that stand for classes are taken in their order.
      strongest: [C], of each map.
    """
    count, given = _maps()
    if given:
        return np.array(given)
    classes = bool(known.names(layer))
    every = classes or count is None
    found = np.arange(len(strongest))
    if not every:
        found = found[strongest > _LIVE * strongest.max()]
    if _ORDER.value == "strength" and not classes:
        return found[np.argsort(-strongest[found], kind="stable")][:count]
    if not every:
        rng = np.random.default_rng([_SEED.value, len(strongest)])
        found = np.sort(rng.permutation(found)[:count])
    return found[:count]


def seed() -> int:
    """Of whatever is drawn at random."""
    return _SEED.value


def _maps() -> tuple[int | None, list[int]]:
    """How many maps to choose (None: all), or which ones."""
    if _MAPS.value == ["all"]:
        return None, []
    try:
        numbers = [int(number) for number in _MAPS.value if number]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or numbers == [0]:
        raise BadInput(
            f"--maps={','.join(_MAPS.value)}: give how many, which, as 3,17, or all"
        )
    return (numbers[0], []) if len(_MAPS.value) == 1 else (0, numbers)
