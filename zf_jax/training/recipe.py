"""How a net is trained, as data: the paper's recipe, and that of the small net."""

import dataclasses

from zf_jax import spec
from zf_jax.errors import BadInput
from zf_jax.spec import Spec


def _field(default, what: str):
    return dataclasses.field(default=default, metadata={"help": what})


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Section 3's recipe by default; each field's meaning is its `help`."""

    epochs: int = _field(70, "passes over the training set")
    batch_size: int = _field(128, "images a step, over all devices")
    accumulate: int = _field(
        1,
        "parts that each device computes its images of a step in, one after the other: "
        "more take less memory, and give the same",
    )
    learning_rate: float = _field(0.01, "of SGD, at the start")
    momentum: float = _field(0.9, "of SGD")
    # Not in the paper. Krizhevsky et al. used 5e-4.
    weight_decay: float = _field(0.0, "L2 penalty on weights, not on biases")
    schedule: str = _field(
        "plateau",
        "plateau: lower the rate when the validation error stalls; cosine: down to 0 "
        "over all epochs after one of warm-up; constant",
    )
    # Not in the paper, which annealed by hand: after how long, and by how much.
    patience: int = _field(
        5, "epochs without a better error; the rate drops an epoch later"
    )
    factor: float = _field(0.1, "the rate's factor at a plateau")
    filter_rms: float = _field(
        0.1, "filters whose RMS is larger are scaled back to it; 0 leaves them alone"
    )
    init: str = _field(
        "paper", "first weights; paper: N(0, 0.01^2), he: N(0, 2 / inputs)"
    )
    resize: int = _field(
        0,
        "smaller side before the crop, pixels; 0: 256 for a net of 224, in proportion",
    )
    dtype: str = _field("float32", "of the computation: float32 or bfloat16")
    seed: int = _field(0, "of the weights, the order of the images, crops and dropout")

    def __post_init__(self):
        choices = {
            "schedule": ("plateau", "cosine", "constant"),
            "init": ("paper", "he"),
            "dtype": ("float32", "bfloat16"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise BadInput(
                    f"{name} {getattr(self, name)!r}: there are {', '.join(allowed)}"
                )
        for name in (
            "epochs",
            "batch_size",
            "accumulate",
            "learning_rate",
            "patience",
        ):
            if not getattr(self, name) > 0:
                raise BadInput(f"{name} {getattr(self, name)}: must be above 0")
        for name in ("weight_decay", "filter_rms", "resize", "seed"):
            if getattr(self, name) < 0:
                raise BadInput(f"{name} {getattr(self, name)}: must not be negative")
        if not 0 <= self.momentum < 1 or not 0 < self.factor < 1:
            raise BadInput(
                f"momentum {self.momentum}, factor {self.factor}: lie between 0 and 1"
            )


PAPER = Recipe()

# What takes TINY over 97 % on creatures/64 in minutes on a CPU. The weight decay is
# large so that the random part of the first weights fades: it would show in every
# projection.
_TINY = Recipe(
    epochs=8,
    batch_size=64,
    learning_rate=0.05,
    weight_decay=3e-3,
    schedule="cosine",
    filter_rms=0.0,
    init="he",
    resize=64,
)
_TINIES = {net.name for net in spec.TABLE3_TINY}


def default(net: Spec) -> Recipe:
    """The recipe made for the net; the paper's for all but TINY and its variants."""
    return _TINY if net.name in _TINIES else PAPER


def short_side(recipe: Recipe, net: Spec) -> int:
    """The images' smaller side before the crop, pixels.

    Raises:
      BadInput: smaller than the crop.
    """
    crop = max(net.input.size)
    side = recipe.resize or round(crop * 256 / 224)
    if side < crop:
        raise BadInput(f"resize {side}: smaller than {net.name}'s images of {crop}")
    return side
