"""What a unit needs of every value before it: regions, from the unit to the image."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.extend.core import JaxprEqn, Literal

from zf_jax.transforms import rules
from zf_jax.transforms.access import Access
from zf_jax.transforms.context import Context
from zf_jax.transforms.windows import Region

# Along the axes that are computed in part; all others are whole.
Regions = Mapping[int, Region]


class Needs(NamedTuple):
    """What a unit needs.

    Attributes:
      regions: of every variable that depends on the image.
      accesses: how the operations that are computed in part read their operands, by the
        variable of their first result.
    """

    regions: dict[Any, Regions]
    accesses: dict[Any, Access]


def find(
    equations: Sequence[JaxprEqn],
    context: Context,
    *,
    result,
    unit: Regions,
    image,
    dependent: Collection,
) -> Needs:
    """Goes from a unit back to the image.

    Args:
      equations: those that `result` needs, in order.
      context: of the program that they stand in.
      result: the variable of the hidden value.
      unit: the region of it that is needed.
      image: the variable of the image.
      dependent: the variables that depend on it.
    """
    needs: dict[Any, list[Regions]] = {result: [unit]}
    found = Needs({}, {})
    for equation in reversed(equations):
        if not dependent & {*equation.outvars}:
            continue
        wanted = [each for out in equation.outvars for each in needs.get(out, ())]
        part = merge(wanted, equation.outvars[0].aval.shape)
        access = rules.access(equation, context) if part else None
        part = {a: r for a, r in part.items() if access and a in access.axes}
        found.regions.update(dict.fromkeys(equation.outvars, part))
        if part:
            found.accesses[equation.outvars[0]] = access
        computed = access.aligned(part) if part else {}
        shape = equation.outvars[0].aval.shape
        for number, atom in enumerate(equation.invars):
            if not isinstance(atom, Literal) and atom in dependent:
                relations = access.relations[number] if part else ()
                needs.setdefault(atom, []).append(inputs(relations, computed, shape))
    found.regions[image] = merge(needs.get(image, [{}]), image.aval.shape)
    return found


def inputs(relations, regions: Regions, shape: Sequence[int]) -> dict[int, Region]:
    """What an operand's relations read for regions of the result, by axis.

    Where a region lies beyond the border of the result, of `shape`, nothing of it is
    needed, and what it reads lies beyond the border of the operand.
    """
    found = {}
    for relation in relations:
        if relation.to in regions:
            region = regions[relation.to]
            read = relation.inputs(region)
            needed = _is_needed(region, shape[relation.to])
            first = np.where(needed, read.first, -read.size)
            found[relation.axis] = Region(first, read.size)
    return found


def _is_needed(region: Region, length: int) -> np.ndarray:
    """[T] bool: whether any entry of a region lies on its axis."""
    return (region.first < length) & (region.first + region.size > 0)


def merge(
    needed: Sequence[Regions],
    shape: Sequence[int],
) -> dict[int, Region]:
    """The smallest regions around several; none along an axis that one needs whole."""
    axes = [axis for axis in needed[0] if all(axis in each for each in needed)]
    merged = {a: _union([each[a] for each in needed], shape[a]) for a in axes}
    return {
        axis: region
        for axis, region in merged.items()
        if region.size < shape[axis] or not _is_needed(region, shape[axis]).all()
    }


def _union(regions: Sequence[Region], length: int) -> Region:
    """Around several regions; one that lies beyond the axis needs nothing of it."""
    if len(regions) == 1:
        return regions[0]
    within = [_is_needed(region, length) for region in regions]
    first = np.min(
        [
            np.where(inside, r.first, np.iinfo(int).max)
            for r, inside in zip(regions, within, strict=True)
        ],
        axis=0,
    )
    end = np.max(
        [
            np.where(inside, r.first + r.size, np.iinfo(int).min)
            for r, inside in zip(regions, within, strict=True)
        ],
        axis=0,
    )
    some = np.any(within, axis=0)
    first = np.where(some, first, regions[0].first)
    end = np.where(some, end, regions[0].first + regions[0].size)
    return Region(first, int((end - first).max()))


def dependent_variables(equations: Sequence[JaxprEqn], image) -> set:
    """The image's variable, and those that depend on it."""
    found = {image}
    for equation in equations:
        if any(a in found for a in equation.invars if not isinstance(a, Literal)):
            found.update(equation.outvars)
    return found
