"""Which layers and channels an experiment draws."""

import dataclasses

import numpy as np

from experiments.common.model import LoadedModel
from zf_jax import cli
from zf_jax.errors import BadInput

# Not in the paper, which draws from all channels: one that never reaches this share of
# the layer's strongest activation has learned nothing to look at.
_LIVE = 0.05


@dataclasses.dataclass(frozen=True)
class UnitConfig:
    """Which layers and channels."""

    layers: tuple[str, ...] = cli.field(
        ("all",),
        "layer1,layer2,... or all: every layer of a training run's net; of another "
        "model what its author has tagged, else what its activation functions give, "
        "at most 16 values spread evenly, the logits last",
    )
    maps: tuple[str, ...] = cli.field(
        ("12",),
        "how many live maps (channels) to draw, as 12; or which, by number, as 3,17 "
        "(a single one with a comma: 17,); or all",
    )
    order: str = cli.field(
        "random",
        "which of the live maps: any, or the strongest; of all: by number or strength",
        choices=("random", "strength"),
    )
    seed: int = cli.field(0, "of the choice of maps, and of controls")


def layers(
    config: UnitConfig, loaded: LoadedModel, unset: str | None = None
) -> list[str]:
    """The chosen layers, all of which have the channels that are given by number.

    Args:
      config: the choice.
      loaded: the model.
      unset: the layer to take where the configuration names none.

    Raises:
      BadInput: no layers, or an unknown layer or channel.
    """
    chosen = loaded.default_layers
    if config.layers == ("all",) and len(chosen) < len(loaded.layers):
        print(
            f"--layers=all: {len(chosen)} of {len(loaded.layers)} hidden values of "
            f"{loaded.model.name}: {', '.join(chosen)}"
        )
    if not config.layers and unset:
        chosen = [unset]
    elif config.layers != ("all",):
        chosen = list(dict.fromkeys(config.layers))
        loaded.check_layers("layers", chosen)
    if not chosen:
        raise BadInput("--layers: give some, as layer2,layer5, or all")
    _, given = _parse_maps(config.maps)
    for layer in chosen:
        count = loaded.layers[layer].channels
        if given and max(given) >= count:
            raise BadInput(f"--maps={max(given)}: {layer} has 0 to {count - 1}")
    return chosen


def channels(
    config: UnitConfig, loaded: LoadedModel, layer: str, strongest: np.ndarray
) -> np.ndarray:
    """The chosen channels of a layer, of which the paper takes a random subset.

    Args:
      config: the choice.
      loaded: the net.
      layer: of it. Channels that are classes are taken in their order.
      strongest: [C], the largest activation of each channel.

    Returns:
      [M] int.
    """
    count, given = _parse_maps(config.maps)
    if given:
        return np.array(given)
    classes = bool(loaded.class_names(layer))
    every = classes or count is None
    found = np.arange(len(strongest))
    if not every:
        found = found[strongest > _LIVE * strongest.max()]
    if config.order == "strength" and not classes:
        return found[np.argsort(-strongest[found], kind="stable")][:count]
    if not every:
        rng = np.random.default_rng([config.seed, len(strongest)])
        found = np.sort(rng.permutation(found)[:count])
    return found[:count]


def _parse_maps(maps: tuple[str, ...]) -> tuple[int | None, list[int]]:
    """How many channels to choose (None: all), or which ones.

    A comma at the end tells channel 17 (`17,`) from any 17 channels (`17`); it arrives
    here as an empty text.
    """
    if maps == ("all",):
        return None, []
    try:
        numbers = [int(number) for number in maps if number]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or numbers == [0]:
        raise BadInput(
            f"--maps={','.join(maps)}: give how many, which, as 3,17, or all"
        )
    return (numbers[0], []) if len(maps) == 1 else (0, numbers)
