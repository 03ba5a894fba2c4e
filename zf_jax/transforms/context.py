"""What rules know of the program that an equation stands in."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

from zf_jax.transforms import jaxpr

# Constants of more values than this are not looked into.
_LARGEST = 1 << 20


class Context:
    """The equations of a traced function, and the constants among their values."""

    def __init__(self, equations, constants: Mapping[Any, np.ndarray] | None = None):
        """Of equations, and of variables whose values are known."""
        self._constants = dict(constants or {})
        # Of values that depend on no input: a deep network is not searched for them.
        self._sources, known = {}, dict(self._constants)
        for equation in equations:
            if all(jaxpr.is_known(atom, known) for atom in equation.invars):
                made = dict.fromkeys(equation.outvars, equation)
                self._sources.update(made)
                known.update(made)
        self._slices = _slices_of_pools(equations)

    def slice_starts(self, equation) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest starts of the slices that are one pool's."""
        return self._slices[_pool_of_slice(equation)]

    def constant(self, atom) -> np.ndarray | None:
        """The value of an atom that depends on no input; None for any other."""
        if isinstance(atom, Literal):
            return np.asarray(atom.val)
        if atom not in self._constants:
            self._constants[atom] = self._computed(atom)
        return self._constants[atom]

    def _computed(self, atom) -> np.ndarray | None:
        source = self._sources.get(atom)
        if source is None or math.prod(atom.aval.shape) > _LARGEST:
            return None
        values = [self.constant(each) for each in source.invars]
        if any(value is None for value in values):
            return None
        with jax.ensure_compile_time_eval():
            results = jaxpr.bind(source, values)
        return np.asarray(results[source.outvars.index(atom)])


def _pool_of_slice(equation) -> tuple:
    """What the slices that are one pool's have in common."""
    params = equation.params
    shape = equation.outvars[0].aval.shape
    return equation.invars[0], tuple(params["strides"] or ()), shape


def _slices_of_pools(equations) -> dict[tuple, tuple[np.ndarray, np.ndarray]]:
    """Least and largest starts of slices of one value, as pools are often written."""
    found = {}
    for equation in equations:
        if equation.primitive.name == "slice":
            starts = np.array(equation.params["start_indices"])
            found.setdefault(_pool_of_slice(equation), []).append(starts)
    return {key: (np.min(s, 0), np.max(s, 0)) for key, s in found.items()}
