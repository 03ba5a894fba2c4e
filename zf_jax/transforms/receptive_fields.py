"""What units see of the image: the rows and columns that hidden values depend on.

The jaxpr is read once, from the image on. Of every value it is known which rows and
columns of the image the entries along its axes depend on, by how its operation reads
its operands (`access.py`).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.extend.core import Literal

from zf_jax.transforms import jaxpr, rules
from zf_jax.transforms.access import Relation
from zf_jax.transforms.context import Context
from zf_jax.transforms.windows import Region


class _Seen(NamedTuple):
    """What a value depends on along one axis of the image.

    Attributes:
      axis: of the value, along whose entries it differs; None where all see the same.
      first, end: [n] int, or [1]: the rows or columns from `first` to before `end`.
    """

    axis: int | None
    first: np.ndarray
    end: np.ndarray


def receptive_fields(
    function: Callable[[jax.Array], dict[str, jax.Array]], image: jax.ShapeDtypeStruct
) -> dict[str, tuple[int, int]]:
    """How many rows and columns of the image a unit of each hidden value sees.

    Args:
      function: of images to hidden values by name.
      image: shape [1, H, W, C] and dtype of an image.

    Returns:
      (rows, columns) by name, the image's at most; of the unit that sees most. What
      has no rule counts as seeing all.
    """
    traced = jaxpr.trace(lambda weights, images: function(images), [], image)
    names = sorted(jax.eval_shape(function, image))
    context, rows, columns = (
        Context(traced.equations, traced.indices),
        *image.shape[1:3],
    )
    seen = {
        traced.image: tuple(
            _Seen(axis, np.arange(n), np.arange(n) + 1)
            for axis, n in ((1, rows), (2, columns))
        )
    }
    whole = tuple(_Seen(None, np.zeros(1, int), np.array([n])) for n in (rows, columns))
    for equation in traced.equations:
        given = [
            (number, seen[atom])
            for number, atom in enumerate(equation.invars)
            if not isinstance(atom, Literal) and atom in seen
        ]
        if given:
            found = _through(equation, context, given, whole)
            seen.update(dict.fromkeys(equation.outvars, found))
    none = tuple(_Seen(None, np.zeros(1, int), np.zeros(1, int)) for _ in whole)
    results = (seen.get(atom, none) for atom in traced.results)
    return {
        name: tuple(int((each.end - each.first).max()) for each in found)
        for name, found in zip(names, results, strict=True)
    }


def _through(equation, context: Context, given, whole) -> tuple[_Seen, _Seen]:
    """What an operation's result sees along both axes of the image."""
    access = rules.access(equation, context)
    if access is None:
        return whole
    shape = equation.outvars[0].aval.shape
    return tuple(
        _joined(
            [
                _read(each[axis], access.relations[number], shape)
                for number, each in given
            ]
        )
        for axis in (0, 1)
    )


def _read(seen: _Seen, relations: tuple[Relation, ...], shape) -> _Seen:
    """What a result sees through one of its operands."""
    relation = next((r for r in relations if r.axis == seen.axis), None)
    if relation is None:
        return _Seen(None, seen.first.min(keepdims=True), seen.end.max(keepdims=True))
    length = shape[relation.to]
    read = relation.inputs(Region(np.arange(length), 1))
    low = read.first.clip(0, len(seen.first) - 1)
    high = (read.first + read.size - 1).clip(0, len(seen.first) - 1)
    first = np.minimum(seen.first[low], seen.first[high])
    return _Seen(relation.to, first, np.maximum(seen.end[low], seen.end[high]))


def _joined(parts: list[_Seen]) -> _Seen:
    """What several operands see together."""
    axes = {part.axis for part in parts if part.axis is not None}
    if len(axes) > 1:
        parts = [
            _Seen(None, part.first.min(keepdims=True), part.end.max(keepdims=True))
            for part in parts
        ]
    first, end = parts[0].first, parts[0].end
    for part in parts[1:]:
        first, end = np.minimum(first, part.first), np.maximum(end, part.end)
    return _Seen(axes.pop() if len(axes) == 1 else None, first, end)
