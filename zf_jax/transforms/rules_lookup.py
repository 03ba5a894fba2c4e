"""Rules of what looks entries up: gathers by constant indices, products, resizing."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax.transforms.access import Access, Slide, Table


def gather(equation, context) -> Access | None:
    """Whole entries of one axis, by indices that are constant (`jnp.take`)."""
    x, indices = equation.invars
    numbers, sizes = (
        equation.params["dimension_numbers"],
        equation.params["slice_sizes"],
    )
    index, shape = context.constant(indices), x.aval.shape
    if index is None or index.ndim != 2 or numbers.operand_batching_dims:
        return None
    if len(numbers.start_index_map) != 1:
        return None
    (axis,) = numbers.start_index_map
    index, whole = index[:, 0], [n for a, n in enumerate(shape) if a != axis]
    if (
        numbers.collapsed_slice_dims != (axis,)
        or [n for a, n in enumerate(sizes) if a != axis] != whole
        or ((index < 0) | (index >= shape[axis])).any()
    ):
        return None
    (to,) = {*range(len(shape))} - {*numbers.offset_dims}
    others = [a for a in range(len(shape)) if a != axis]
    table = Table(axis, to, index, index + 1)
    slides = map(Slide, others, sorted(numbers.offset_dims))

    def plan(reader, regions, bind):
        if to not in regions:
            wanted = jnp.asarray(index)
            return lambda _, values: [_taken(values[0], wanted)]
        region = regions[to]
        column = reader.column(table.inputs(region).first)
        before = max(0, -int(region.first.min()))
        after = max(0, int(region.first.max()) + region.size - len(index))
        padded = jnp.asarray(np.pad(index, (before, after), mode="edge"))
        cut = reader.cutter({0: region.first + before}, [region.size])

        def compute(evaluation, values):
            wanted = cut(evaluation, padded) - evaluation.offsets[column]
            return [_taken(values[0], wanted)]

        return compute

    def _taken(x, wanted):
        return jnp.moveaxis(jnp.take(x, wanted, axis, mode="clip"), axis, to)

    return Access(((table, *slides), ()), plan=plan)


def dot(equation, context) -> Access:
    """A product, along the axes that are not contracted.

    A product with a constant band of a matrix, as resizing makes it, has a relation
    along the contracted axis, too.
    """
    numbers = equation.params["dimension_numbers"]
    relations = [list(each) for each in _free_axes(equation)]
    for side, other in ((0, 1), (1, 0)):
        band = _band(equation, numbers, context, other)
        if band is not None:
            return _banded(equation, relations, side, band)
    return Access(tuple(map(tuple, relations)))


def _free_axes(equation):
    """Slides of both operands along the axes that the result has."""
    contracted, batch = equation.params["dimension_numbers"]
    begin = len(batch[0])
    for side, atom in enumerate(equation.invars):
        free = [
            axis
            for axis in range(atom.aval.ndim)
            if axis not in (*contracted[side], *batch[side])
        ]
        yield [
            *(Slide(axis, to) for to, axis in enumerate(batch[side])),
            *(Slide(axis, begin + i) for i, axis in enumerate(free)),
        ]
        begin += len(free)


def _band(equation, numbers, context, side: int) -> np.ndarray | None:
    """The constant matrix [contracted, other] of one side, if it is a narrow band."""
    contracted, batch = numbers
    atom = equation.invars[side]
    if atom.aval.ndim != 2 or batch[0] or len(contracted[side]) != 1:
        return None
    matrix = context.constant(atom)
    if matrix is None:
        return None
    matrix = np.moveaxis(matrix, contracted[side][0], 0)
    low, high = _extent(matrix)
    return matrix if (high - low).max() <= len(matrix) // 2 else None


def _extent(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last entry + 1 of each column that is not zero; (0, 0) of none."""
    used = matrix != 0
    low, high = used.argmax(axis=0), len(used) - used[::-1].argmax(axis=0)
    return low, np.where(used.any(axis=0), high, low)


def _banded(equation, relations, side: int, band: np.ndarray) -> Access:
    (axis,) = equation.params["dimension_numbers"][0][side]
    (own,) = relations[1 - side]
    table, rank = Table(axis, own.to, *_extent(band)), equation.outvars[0].aval.ndim
    order = [a for a in range(rank) if a != own.to]
    relations[side].append(table)
    relations[1 - side] = []

    def plan(reader, regions, bind):
        if own.to not in regions:
            return bind()
        region = regions[own.to]
        wanted = table.inputs(region)
        # What a part reads beyond the border, or is beyond it, counts for nothing.
        pads = [
            (max(0, -int(r.first.min())), max(0, int(r.first.max()) + r.size - n))
            for r, n in zip((wanted, region), band.shape, strict=True)
        ]
        padded = jnp.asarray(np.pad(band, pads))
        starts = {0: wanted.first + pads[0][0], 1: region.first + pads[1][0]}
        cut = reader.cutter(starts, [wanted.size, region.size])

        def compute(evaluation, values):
            x, matrix = values[side], cut(evaluation, padded)
            product = lax.dot_general(
                x,
                matrix.astype(x.dtype),
                (((axis,), (0,)), ((), ())),
                precision=equation.params["precision"],
                preferred_element_type=equation.params["preferred_element_type"],
            )
            return [lax.transpose(product, _inverse([*order, own.to]))]

        return compute

    return Access(tuple(map(tuple, relations)), plan=plan)


def _inverse(order) -> list[int]:
    return [order.index(axis) for axis in range(len(order))]
