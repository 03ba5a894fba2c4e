"""The operations and layers that a net is made of, as frozen, hashable data.

Standard library only: what an operation computes is in `ops/`, how its windows move
over the image in `geometry.py`.

A new operation is a class here, in `Op` and the grammar of `Layer`. `convnet.py` and
`deconvnet.py` then need its forward and backward pass, `geometry.py` its shapes.
"""

import dataclasses
import numbers
import re

from zf_jax.errors import BadInput

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]


def pair(value: int | Pair) -> Pair:
    """(rows, columns) from a pair, or from one number for both."""
    return (int(value),) * 2 if isinstance(value, numbers.Integral) else tuple(value)


def _padding(value: int | Padding) -> Padding:
    return tuple(map(pair, pair(value)))


def _whole(op, least: int, *numbers) -> None:
    """Refuses numbers that are not whole, or below `least`."""
    if any(type(number) is not int or number < least for number in numbers):
        raise BadInput(f"{op}: takes whole numbers, from {least}")


class _Window:
    """A window that slides over rows and columns, as fields of a frozen dataclass.

    `size` and `stride` are a number or (rows, columns), `padding` a number or
    ((top, bottom), (left, right)): entries added around the input.
    """

    def __post_init__(self):
        try:
            size, stride = pair(self.size), pair(self.stride)
            (top, bottom), (left, right) = padding = _padding(self.padding)
            (_, _), (_, _) = size, stride
        except (TypeError, ValueError):
            raise BadInput(
                f"{self}: size and stride are a number or (rows, columns), padding a "
                "number or ((top, bottom), (left, right))"
            ) from None
        for field, value in (("size", size), ("stride", stride), ("padding", padding)):
            object.__setattr__(self, field, value)
        _whole(self, 1, *size, *stride)
        _whole(self, 0, top, bottom, left, right)


@dataclasses.dataclass(frozen=True)
class Conv(_Window):
    """`maps` filters of `size`, each over 1/`groups` of the input's channels."""

    maps: int
    size: int | Pair
    stride: int | Pair = 1
    padding: int | Padding = 0
    groups: int = 1

    def __post_init__(self):
        super().__post_init__()
        _whole(self, 1, self.maps, self.groups)


@dataclasses.dataclass(frozen=True)
class Pool(_Window):
    """Max pooling; padding counts as minus infinity, so it never wins."""

    size: int | Pair = 3
    stride: int | Pair = 2
    padding: int | Padding = 0

    def __post_init__(self):
        super().__post_init__()
        rows, columns = self.size
        if rows * columns > 255:
            raise BadInput(f"{self}: a uint8 switch tells at most 255 entries apart")
        if any(max(p) >= size for p, size in zip(self.padding, self.size, strict=True)):
            raise BadInput(f"{self}: a window could lie in the padding alone")


@dataclasses.dataclass(frozen=True)
class LRN:
    """Contrast normalisation across channels: x / (k + alpha * sum of x^2)^beta.

    The sum runs over the `size` neighbouring channels. `alpha` multiplies each square
    as it stands (Caffe and ONNX divide theirs by `size`).
    """

    # Not in the paper: the constants. These are Krizhevsky's formula's.
    size: int = 5
    k: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75

    def __post_init__(self):
        _whole(self, 1, self.size)


@dataclasses.dataclass(frozen=True)
class Dense:
    """A fully connected layer of `units`."""

    units: int

    def __post_init__(self):
        _whole(self, 1, self.units)


@dataclasses.dataclass(frozen=True)
class Relu:
    """max(x, 0)."""


@dataclasses.dataclass(frozen=True)
class Flatten:
    """[N, H, W, C] to [N, H * W * C], rows first."""


@dataclasses.dataclass(frozen=True)
class Dropout:
    """Zeroes a `rate` of the units, in training only."""

    rate: float = 0.5


Op = Conv | Dense | Relu | Pool | LRN | Dropout | Flatten

# A layer's operations as a word, which the grammar must match.
_TO_MAPS = {Conv: "c", Dense: "d", Relu: "r", Flatten: "f"}
_AFTER_MAPS = {Pool: "p", LRN: "n", Dropout: "o"}
_LETTERS = _TO_MAPS | _AFTER_MAPS
_GRAMMAR = re.compile("(?:c|f?d)r?[no]*p?[no]*")


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer as the paper counts them: a filter and what follows it.

    The operations stand in the order `Conv | [Flatten] Dense`, `[Relu]`, then any of
    Pool, LRN and Dropout, with at most one Pool. The layer's *maps* are the values
    after its Relu (after its filter, where it has none); its *output* is what the next
    layer sees.
    """

    name: str
    ops: tuple[Op, ...]

    def __post_init__(self):
        if not _GRAMMAR.fullmatch(self._word):
            raise BadInput(
                f"{self.name}: the operations of a layer stand in the order Conv|"
                "(Flatten Dense) [Relu] then Pool, LRN and Dropout, with at most one "
                f"Pool; these are {' '.join(type(op).__name__ for op in self.ops)}"
            )

    @property
    def _word(self) -> str:
        return "".join(_LETTERS[type(op)] for op in self.ops)

    @property
    def filter(self) -> Conv | Dense:
        """The operation that holds the layer's weights."""
        return next(op for op in self.ops if isinstance(op, Conv | Dense))

    @property
    def ops_to_maps(self) -> tuple[Op, ...]:
        """From the layer's input to its maps."""
        return tuple(op for op in self.ops if type(op) in _TO_MAPS)

    @property
    def ops_after_maps(self) -> tuple[Op, ...]:
        """From the layer's maps to its output."""
        return tuple(op for op in self.ops if type(op) in _AFTER_MAPS)
