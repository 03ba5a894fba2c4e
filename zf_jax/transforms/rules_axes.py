"""Rules of what moves, joins or reduces axes, and does not slide over them."""

import functools
import math

import jax.numpy as jnp

from zf_jax.transforms.access import Access, Reversal, Slide


def along_axis(equation, context) -> Access:
    """A scan or a split: in part along all other axes."""
    return _without(equation, {equation.params["axis"]})


def _without(equation, axes) -> Access:
    rank = equation.invars[0].aval.ndim
    return Access((tuple(Slide(a, a) for a in range(rank) if a not in axes),))


def reverse(equation, context) -> Access:
    """Some axes run backwards."""
    shape, backwards = equation.invars[0].aval.shape, equation.params["dimensions"]
    relations = tuple(
        Reversal(axis, axis, length) if axis in backwards else Slide(axis, axis)
        for axis, length in enumerate(shape)
    )
    return Access((relations,))


def reduction(equation, context) -> Access:
    """In part along the axes that stay."""
    return _kept(equation, equation.params["axes"])


def squeeze(equation, context) -> Access:
    """In part along the axes that stay."""
    return _kept(equation, equation.params["dimensions"])


def _kept(equation, gone) -> Access:
    kept = [a for a in range(equation.invars[0].aval.ndim) if a not in gone]
    return Access((tuple(Slide(axis, to) for to, axis in enumerate(kept)),))


def transpose(equation, context) -> Access:
    """The axes in another order."""
    order = equation.params["permutation"]
    return Access((tuple(Slide(axis, to) for to, axis in enumerate(order)),))


def broadcast(equation, context) -> Access:
    """New axes, or axes of length 1 made longer."""
    dimensions, shape = (
        equation.params["broadcast_dimensions"],
        equation.params["shape"],
    )
    own = equation.invars[0].aval.shape
    relations = tuple(
        Slide(axis, to) for axis, to in enumerate(dimensions) if own[axis] == shape[to]
    )
    kept = {each.to for each in relations}
    free = tuple(axis for axis in range(len(shape)) if axis not in kept)

    def change(computed) -> dict:
        return {"shape": _replaced(shape, computed)}

    others = ((),) * (len(equation.invars) - 1)
    return Access((relations, *others), change, free=free)


def _replaced(shape, computed) -> tuple[int, ...]:
    return tuple(computed.get(axis, length) for axis, length in enumerate(shape))


def concatenate(equation, context) -> Access:
    """Along any axis; along one that is computed in part, each operand is padded."""
    joined, start, relations = equation.params["dimension"], 0, []
    for atom in equation.invars:
        shape = atom.aval.shape
        relations.append(
            tuple(
                Slide(axis, axis, before=start if axis == joined else 0)
                for axis in range(len(shape))
            )
        )
        start += shape[joined]
    add = jnp.logical_or if equation.outvars[0].aval.dtype == bool else jnp.add

    def plan(reader, regions, bind):
        if joined not in regions:
            return bind()
        # Every operand reads zeros where another one has its entries.
        return lambda evaluation, values: [functools.reduce(add, values)]

    return Access(tuple(relations), plan=plan)


def reshape(equation, context) -> Access | None:
    """Where axes stay as they are, the first of some are joined, or one is divided."""
    if equation.params.get("dimensions") is not None:
        return None
    before, after = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    relations, align, taken = [], {}, set()
    for axis in range(len(before)):
        for to in range(len(after)):
            found = None if to in taken else _reshaped(before, after, axis, to)
            if found:
                relations.append(found)
                taken.add(to)
                if found.dilation > 1:
                    align[to] = found.dilation, 0
                break

    def change(computed) -> dict:
        return {"new_sizes": _replaced(after, computed)}

    return Access((tuple(relations),), change, align=align)


def _reshaped(before, after, axis: int, to: int) -> Slide | None:
    """How an axis of the result lies in one of the operand, if it begins with it."""
    length, entries = before[axis], after[to]
    if math.prod(before[:axis]) != math.prod(after[:to]):
        return None
    if length == entries:
        return Slide(axis, to)
    if 1 in (length, entries):
        return None
    if entries in _runs(before, axis):
        run = entries // length
        return Slide(axis, to, run, before=run - 1, dilation=run)
    if length in _runs(after, to):
        return Slide(axis, to, length // entries, length // entries)
    return None


def _runs(shape, axis: int) -> list[int]:
    """How many entries an axis and those that follow it have, one after the other."""
    return [math.prod(shape[axis:end]) for end in range(axis + 1, len(shape) + 1)]
