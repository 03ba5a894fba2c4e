"""The hidden layers of a model that a command can look at: their names and sizes."""

import difflib
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zf_jax import geometry
from zf_jax.errors import BadInput
from zf_jax.layers import Pair
from zf_jax.model import Model
from zf_jax.transforms import capture, jaxpr

# So many layers are all looked at where none is named.
_MOST = 16
_ACTIVATIONS = frozenset(
    ("relu", "relu6", "leaky_relu", "elu", "celu", "selu", "silu", "gelu", "hard_silu")
)


class HiddenLayer(NamedTuple):
    """A hidden value of a model.

    Attributes:
      name: as `capture.layers` has it; of a Spec, the layer's.
      shape: (rows, columns, channels) or (units,).
      field: rows and columns of the image that a unit sees, at most the image's own.
      operation: that made it; empty for a layer of a Spec.
      is_tagged: whether the model's author named it, by `checkpoint_name`.
    """

    name: str
    shape: tuple[int, ...]
    field: Pair
    operation: str = ""
    is_tagged: bool = True

    @property
    def channels(self) -> int:
        """How many maps, or units."""
        return self.shape[-1]

    @property
    def has_maps(self) -> bool:
        """Whether its channels are maps, with positions."""
        return len(self.shape) == 3


def of_model(model: Model, size: Pair) -> dict[str, HiddenLayer]:
    """All hidden layers by name, in the order in which they are computed.

    Args:
      model: of a Spec, its layers are taken; of another, what `capture.layers` lists.
      size: rows and columns of an image.
    """
    if model.spec:
        shapes = geometry.shapes(model.spec, size)
        fields = geometry.receptive_fields(model.spec)
        return {
            name: HiddenLayer(name, each.maps, tuple(map(min, fields[name].size, size)))
            for name, each in shapes.items()
        }
    one = jax.ShapeDtypeStruct((1, *size, model.input.channels), jnp.float32)
    tags, found = _tags(model, one), {}
    for row in capture.layers(model.function, one, channels=channel_order(model)):
        found[row.name] = HiddenLayer(
            row.name,
            row.shape[1:],
            row.receptive_field or size,
            row.operation,
            row.name in tags,
        )
    return found


def channel_order(model: Model) -> capture.Channels:
    """Where the model's hidden maps have their channels."""
    return "first" if model.layout == "NCHW" else "last"


def defaults(model: Model, layers: Mapping[str, HiddenLayer]) -> list[str]:
    """The layers that are looked at where none is named.

    Those of a Spec; else those that the model's author has tagged; else what the
    activation functions give. Of more than 16, what the activation functions give, and
    of these some, spread evenly. The logits, which come last, are always there.
    """
    if model.spec:
        return list(layers)
    *hidden, last = layers.values()
    active = [each for each in hidden if each.operation in _ACTIVATIONS]
    chosen = [each for each in hidden if each.is_tagged] or active or hidden
    if len(chosen) >= _MOST:
        chosen = [each for each in chosen if each in active] or chosen
    if len(chosen) >= _MOST:
        spread = np.linspace(0, len(chosen) - 1, _MOST - 1).round().astype(int)
        chosen = [chosen[index] for index in spread]
    return [each.name for each in (*chosen, last)]


def check(
    flag: str,
    name: str,
    model: Model,
    layers: Mapping[str, HiddenLayer],
    image: jax.ShapeDtypeStruct,
) -> None:
    """Raises BadInput where there is no such layer; names the nearest.

    `image` is a prepared image, [1, H, W, C].
    """
    if name in layers:
        return
    if not model.spec:
        _check_is_map(flag, name, model, image)
    if len(layers) <= _MOST:
        raise BadInput(f"--{flag}={name}: {model.name} has {', '.join(layers)}")
    near = difflib.get_close_matches(name, layers, n=5, cutoff=0.3)
    near = near or defaults(model, layers)[:5]
    raise BadInput(
        f"--{flag}={name}: none of the {len(layers)} hidden values of {model.name}; "
        f"near to it: {', '.join(near)}"
    )


def _check_is_map(
    flag: str, name: str, model: Model, image: jax.ShapeDtypeStruct
) -> None:
    """Raises BadInput where there is such a value, but it is no map or vector."""
    maps = capture.maps(model.function, [name], channels=channel_order(model))
    try:
        jax.eval_shape(maps, image)
    except capture.NotAMap as error:
        raise BadInput(f"--{flag}={name}: {error}") from None
    except BadInput:
        # No such value: the caller knows which are near.
        return


def _tags(model: Model, image: jax.ShapeDtypeStruct) -> set[str]:
    program, _ = jaxpr.inlined(model.apply, model.params, image)
    return {
        equation.params["name"]
        for equation in program.jaxpr.eqns
        if equation.primitive.name == "name"
    }
