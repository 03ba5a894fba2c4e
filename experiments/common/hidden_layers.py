"""The hidden layers of a model that a command can look at: their names and sizes."""

import difflib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from zf_jax import geometry
from zf_jax.errors import BadInput
from zf_jax.layers import Pair
from zf_jax.model import Model

# So many layers are all looked at where none is named.
_MOST = 16


class HiddenLayer(NamedTuple):
    """A hidden value of a model.

    Attributes:
      name: as `capture.layers` has it; of a Spec, the layer's.
      shape: (rows, columns, channels) or (units,).
      field: rows and columns of the image that a unit sees, at most the image's own.
      operation: that made it.
    """

    name: str
    shape: tuple[int, ...]
    field: Pair
    operation: str = ""

    @property
    def channels(self) -> int:
        """How many maps, or units."""
        return self.shape[-1]

    @property
    def has_maps(self) -> bool:
        """Whether its channels are maps, with positions."""
        return len(self.shape) == 3


def of_model(model: Model, size: Pair) -> dict[str, HiddenLayer]:
    """All hidden layers by name, in the order in which they are computed."""
    shapes = geometry.shapes(model.spec, size)
    fields = geometry.receptive_fields(model.spec)
    return {
        name: HiddenLayer(
            name, shapes[name].maps, tuple(map(min, fields[name].size, size))
        )
        for name in shapes
    }


def defaults(model: Model, layers: Mapping[str, HiddenLayer]) -> list[str]:
    """The layers that are looked at where none is named.

    Those of a Spec, or those that the model's author has tagged; else the rectified
    values. Of many, some, spread evenly.
    """
    names = list(layers)
    if model.spec is None and len(names) > _MOST:
        chosen = np.linspace(0, len(names) - 1, _MOST).round().astype(int)
        names = [names[i] for i in chosen]
    return names


def check(flag: str, name: str, model: Model, layers: Mapping[str, HiddenLayer]) -> str:
    """The name, if there is a layer of it.

    Raises:
      BadInput: there is none; tells which there are, of many the nearest.
    """
    if name in layers:
        return name
    if len(layers) <= _MOST:
        raise BadInput(f"--{flag}={name}: {model.name} has {', '.join(layers)}")
    near = difflib.get_close_matches(name, layers, n=5, cutoff=0.3)
    near = near or defaults(model, layers)[:5]
    raise BadInput(
        f"--{flag}={name}: none of the {len(layers)} hidden values of {model.name}; "
        f"near to it: {', '.join(near)}"
    )
