"""What a net is: `Spec`, a frozen, hashable sequence of layers. It is data.

`convnet.py` computes its forward pass, `deconvnet.py` its backward pass; its arithmetic
(map sizes, parameters, receptive fields) is in `geometry.py`. The nets of the paper are
in `spec.py`, which is where users import `Spec` from. Standard library only.
"""

import dataclasses
import json
import numbers
from typing import Self

from zf_jax.errors import BadInput
from zf_jax.layers import Dense, Layer, Op, Pair, pair


@dataclasses.dataclass(frozen=True)
class Input:
    """The images a net takes: (pixels - mean) * scale, RGB, pixels in 0..255.

    Attributes:
      size: rows and columns; one number for both. Convolutional layers take any other
        size too. None: a `model.Model` that takes any; a Spec has a size.
      mean: one number for each channel, in pixels.
      scale: factor after the mean is taken off; one number, or one for each channel.
    """

    size: int | Pair | None = 224
    mean: tuple[float, ...] = (123.68, 116.779, 103.939)
    scale: float | tuple[float, ...] = 1.0

    def __post_init__(self):
        if self.size is not None:
            object.__setattr__(self, "size", pair(self.size))
        object.__setattr__(self, "mean", tuple(self.mean))
        if not isinstance(self.scale, numbers.Real):
            object.__setattr__(self, "scale", tuple(self.scale))
            if len(self.scale) != len(self.mean):
                raise BadInput(
                    f"scale {self.scale}: give one number, or one a channel as in the "
                    f"mean {self.mean}"
                )

    @property
    def channels(self) -> int:
        """How many channels the images have."""
        return len(self.mean)


@dataclasses.dataclass(frozen=True)
class Spec:
    """A net: its input and its layers, the last of which gives the logits."""

    name: str
    input: Input
    layers: tuple[Layer, ...]

    def __post_init__(self):
        names = [layer.name for layer in self.layers]
        if not names or len(set(names)) < len(names):
            raise BadInput(f"{self.name}: needs layers, each with a name of its own")
        if self.input.size is None:
            raise BadInput(f"{self.name}: the input of a Spec has a size")

    def index(self, layer: str) -> int:
        """The index of `layer`, from 0.

        Raises:
          BadInput: the net has no such layer; names those it has.
        """
        names = [each.name for each in self.layers]
        if layer not in names:
            raise BadInput(f"layer {layer!r}: {self.name} has {', '.join(names)}")
        return names.index(layer)

    def upto(self, layer: str) -> Self:
        """The net cut after `layer`: takes the same parameters, computes no more."""
        last = self.index(layer) + 1
        return dataclasses.replace(self, layers=self.layers[:last])

    def with_classes(self, classes: int) -> Self:
        """The same net with `classes` units in its last layer."""
        *rest, last = self.layers
        if not isinstance(last.filter, Dense):
            raise BadInput(f"{last.name} of {self.name}: not dense, it has no classes")
        ops = tuple(Dense(classes) if isinstance(op, Dense) else op for op in last.ops)
        return dataclasses.replace(self, layers=(*rest, Layer(last.name, ops)))


def to_json(net: Spec) -> str:
    """The Spec as JSON text, to be saved beside the weights."""
    return json.dumps(
        dataclasses.asdict(net)
        | {
            "layers": [
                [layer.name]
                + [[type(op).__name__, dataclasses.asdict(op)] for op in layer.ops]
                for layer in net.layers
            ]
        }
    )


def from_json(text: str) -> Spec:
    """The Spec that `to_json` wrote.

    Raises:
      BadInput: the text is no Spec.
    """
    classes = {op.__name__: op for op in Op.__args__}
    try:
        data = json.loads(text)
        layers = tuple(
            Layer(name, tuple(classes[op](**fields) for op, fields in ops))
            for name, *ops in data["layers"]
        )
        return Spec(data["name"], Input(**data["input"]), layers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"not the JSON of a Spec: {error}") from error
