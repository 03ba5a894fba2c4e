"""What the steps of a plan read while they run: one position of the occluder.

Where the occluder stands is an argument of the compiled program, a row of an integer
table; what all positions read of the clean image is prepared once.
"""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import numpy as np


class Evaluation(NamedTuple):
    """One position of the occluder.

    Attributes:
      clean: values of the clean image, by variable.
      prepared: what `Preparations` made of them.
      offsets: [n] int32, this position's row of `Offsets`.
      values: what changed, by variable: windows, or whole values.
      cache: regions that were put together so far.
    """

    clean: dict
    prepared: list
    offsets: jax.Array | None
    values: dict
    cache: dict


Getter = Callable[[Evaluation], jax.Array]


class Offsets:
    """A table of integers, one row a position, each column stored once."""

    def __init__(self):
        self._columns: dict[bytes, int] = {}
        self._arrays: list[np.ndarray] = []

    def column(self, array: np.ndarray) -> int:
        """The number of the column that holds an array [T]."""
        array = np.ascontiguousarray(array, np.int64)
        key = array.tobytes()
        if key not in self._columns:
            self._columns[key] = len(self._arrays)
            self._arrays.append(array)
        return self._columns[key]

    def table(self, positions: int) -> np.ndarray:
        """[T, columns] int32."""
        if not self._arrays:
            return np.zeros((positions, 0), np.int32)
        return np.stack(self._arrays, axis=1).astype(np.int32)


class Preparations:
    """What is computed from the clean image once for all positions."""

    def __init__(self):
        self._numbers: dict[Hashable, int] = {}
        self._functions: list[Callable[[dict], Any]] = []

    def add(self, key: Hashable, function: Callable[[dict], Any]) -> int:
        """Where `function(clean)` will stand in the list; once for each key."""
        if key not in self._numbers:
            self._numbers[key] = len(self._functions)
            self._functions.append(function)
        return self._numbers[key]

    def run(self, clean: dict) -> list:
        """Computes all of them."""
        return [function(clean) for function in self._functions]
