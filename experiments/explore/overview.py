"""What the explorer says of the whole net, and of where it comes from."""

import itertools
import platform
import shlex
import sys
from collections.abc import Sequence

import jax

from experiments.common import hidden_layers
from experiments.common.model import LoadedModel
from experiments.explore import unit_numbers
from experiments.explore.gathered import Gathered
from zf_jax.figures.explorer import content
from zf_jax.transforms import capture


def explorer(
    gathered: Gathered, *, rules: Sequence[str], seed: int
) -> content.Explorer:
    """The whole net.

    Args:
      gathered: what is known of its units.
      rules: of the projections.
      seed: of the controls.
    """
    loaded, data, best = gathered.loaded, gathered.data, gathered.best
    inputs = _inputs(loaded, list(best))
    layers = []
    for name, each in best.items():
        hidden = loaded.layers[name]
        layers.append(
            content.LayerSummary(
                name,
                size=hidden.shape[:-1],
                units=hidden.channels,
                dead=int(unit_numbers.dead(each).sum()),
                receptive_field=tuple(hidden.field),
                inputs=inputs[name],
            )
        )
    return content.Explorer(
        f"{loaded.name}: {sum(each.units for each in layers):,} units",
        content.About(_command(), _facts(gathered, rules, seed)),
        tuple(layers),
        data.labels or (),
    )


def _inputs(loaded: LoadedModel, names: list[str]) -> dict[str, tuple[str, ...]]:
    """The layers that reach each layer without passing another one."""
    if loaded.model.spec:
        ordered = [name for name in loaded.layers if name in names]
        before = itertools.pairwise(ordered)
        return dict.fromkeys(names, ()) | {name: (lower,) for lower, name in before}
    order = hidden_layers.channel_order(loaded.model)
    size = loaded.crop_size or loaded.input.size
    one = jax.ShapeDtypeStruct((1, *size, loaded.input.channels), "float32")
    return capture.inputs(loaded.model.function, names, one, channels=order)


def _command() -> str:
    return shlex.join(["python", "-m", "experiments.explore", *sys.argv[1:]])


def _facts(
    gathered: Gathered, rules: Sequence[str], seed: int
) -> tuple[tuple[str, str], ...]:
    loaded, evolution = gathered.loaded, gathered.evolution
    size = loaded.crop_size
    facts = {
        "Net": loaded.name,
        "Input": f"{size[0]} x {size[1]} pixels" if size else "any size",
        "Images": gathered.data.title,
        "Projections": f"rules {', '.join(rules)}; each picture has its own scale",
        "Controls": "of the strongest example: all weights shuffled, another active "
        "unit, random switches; the similarity is the mean rank correlation of the "
        f"pixels with the true projection ({rules[0]}); seed {seed}",
        "Occlusion": "a square of the mean colour, its side a quarter of the smaller "
        "side of the image, moved by half of that",
    }
    if loaded.model.spec:
        facts["Weights"] = "summed over the filter's window"
    if evolution:
        epochs = ", ".join(map(str, evolution.epochs))
        facts["Checkpoints"] = f"after epochs {epochs}, the strongest image of each"
    facts["Versions"] = f"Python {platform.python_version()}, JAX {jax.__version__}"
    return tuple(facts.items())
