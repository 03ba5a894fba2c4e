"""The table of ONNX operations, and what an operation is given.

An operation is a function `(node, *inputs) -> array`, or a tuple of arrays where it has
several outputs. Inputs that the graph leaves out are None. What does not depend on the
image stays NumPy: an operation whose inputs are all NumPy is called with 64-bit types
on, outside of any trace, and what it returns becomes NumPy. `numpy_of` gives such an
operation NumPy itself, which is much faster than JAX on small arrays.

    @operation("Relu")
    def relu(node, x):
        return jax.nn.relu(x)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = np.ndarray | jax.Array


class Node(NamedTuple):
    """One node of a graph.

    Attributes:
      op: its type, as ONNX calls it.
      name: its own, for messages; its output's where it has none.
      attributes: as Python values; tensors are arrays, graphs are `Graph`.
      opset: the version of ONNX's operations that the graph uses.
      inputs: names; "" of an input that is left out.
      outputs: names; "" of an output that nobody asks for.
    """

    op: str
    name: str
    attributes: dict[str, Any]
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def get(self, attribute: str, default: Any = None) -> Any:
        """The attribute's value, or `default`."""
        return self.attributes.get(attribute, default)

    def wants(self, output: int) -> bool:
        """Whether the graph names the output number `output`."""
        return len(self.outputs) > output and self.outputs[output] != ""

    def __str__(self):
        return f"node {self.name!r} ({self.op})"


class Operation(NamedTuple):
    """How an operation is computed.

    Attributes:
      compute: the function.
      static: numbers of the inputs whose values decide shapes: they must not depend on
        the image, and are never parameters of the model.
    """

    compute: Callable[..., Array | tuple[Array, ...]]
    static: frozenset[int]


OPERATIONS: dict[str, Operation] = {}


def operation(*names: str, static: tuple[int, ...] = ()):
    """Enters the function that it decorates into the table under `names`."""

    def enter(function):
        for name in names:
            OPERATIONS[name] = Operation(function, frozenset(static))
        return function

    return enter


def is_numpy(value: Any) -> bool:
    """Whether the value is known when the graph is traced; None is."""
    return value is None or isinstance(value, np.ndarray | np.generic)


def numpy_of(*inputs: Array | None):
    """NumPy where all inputs are NumPy, else jax.numpy."""
    return np if all(map(is_numpy, inputs)) else jnp


def integers(value: Array) -> tuple[int, ...]:
    """The static values as Python integers."""
    return tuple(int(n) for n in np.asarray(value).ravel())
