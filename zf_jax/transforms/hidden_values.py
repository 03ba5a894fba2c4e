"""The hidden values of a program, each under a name.

What a layer is in most libraries is one value here, whatever its number of equations: a
convolution with its bias, a batch normalisation, a softmax, a mean.
"""

import collections
from typing import NamedTuple

import jax.numpy as jnp

from zf_jax.transforms import dataflow, operations
from zf_jax.transforms.flat_program import FlatProgram, Variable

_AFFINE = frozenset({"add", "sub", "mul", "div"})
# The longest search for the one value that a softmax or a GELU is computed from.
_MOST_PARTS = 40


class HiddenValue(NamedTuple):
    """A value that depends on the images.

    Attributes:
      name: unique in the program.
      operation: what gave it: conv, relu, …
      variables: the value as it was computed, then the same with other axes of
        length 1, transposed, or in another dtype.
    """

    name: str
    operation: str
    variables: list[Variable]


def hidden_values(program: FlatProgram) -> list[HiddenValue]:
    """Finds and names every value that depends on the images, the program's only input.

    Returns:
      In the order of computation. The images themselves are not among them.
    """
    flow = dataflow.Dataflow(program)
    found = _operations(flow)
    names = _Names(flow)
    values = [
        HiddenValue(names.of_tag(tag), found.get(flow.roots[result], "input"), [result])
        for tag, result in flow.tags
    ]
    tagged = {flow.roots[result] for _, result in flow.tags}
    for root, operation in found.items():
        # What is tagged counts, so that a tag renames no other value.
        name = names.of_operation(root, operation)
        if root not in tagged:
            values.append(HiddenValue(name, operation, [root, *flow.copies[root]]))
    order = {root: index for index, root in enumerate(found)}
    values.sort(key=lambda value: order.get(flow.roots[value.variables[0]], -1))
    return values


def _operations(flow: dataflow.Dataflow) -> dict:
    """Operation by root, without those roots that are parts of a longer operation."""
    found, kinds = {}, {}
    for index, equation in enumerate(flow.equations):
        parts, kind = _joined(flow, index, kinds)
        for part in parts:
            found.pop(part, None)
        for result in equation.outvars:
            if jnp.issubdtype(result.aval.dtype, jnp.inexact):
                found[result], kinds[result] = kind.operation, kind
    return found


class _Kind(NamedTuple):
    """An operation, and what may still be joined to it.

    Attributes:
      operation: its name.
      affine: it is arithmetic of one value and weights.
      biased: of a convolution or product, a bias was added already.
      normalised: a square root is in the weights.
    """

    operation: str
    affine: bool = False
    biased: bool = False
    normalised: bool = False


def _joined(flow: dataflow.Dataflow, index: int, kinds: dict) -> tuple[list, _Kind]:
    """The earlier roots that an equation completes to one operation, and its kind."""
    equation = flow.equations[index]
    from_images = [flow.root(atom) is not None for atom in equation.invars]
    plain = _Kind(operations.name(equation, from_images))
    primitive = equation.primitive.name
    if primitive in ("mul", "div") and sum(from_images) == 2:
        parts, composite = _composite(flow, index)
        if composite:
            return parts, _Kind(composite)
    is_affine = primitive in _AFFINE and sum(from_images) == 1
    if not is_affine or (primitive == "div" and not from_images[0]):
        return [], plain
    (before,) = flow.operands(equation)
    plain = plain._replace(affine=True, normalised=flow.scaled(equation))
    if before not in kinds or not flow.is_read_by(before, index):
        return [], plain
    if dataflow.scopes(flow.producer(before)) != dataflow.scopes(equation):
        return [], plain
    kind = _extended(kinds[before], plain, primitive)
    return ([before], kind) if kind else ([], plain)


def _extended(before: _Kind, plain: _Kind, primitive: str) -> _Kind | None:
    """Two operations as one, if people call them one."""
    if before.operation in ("conv", "conv_transpose", "dense"):
        is_bias = primitive == "add" and not before.biased
        return before._replace(biased=True) if is_bias else None
    if before.operation == "norm":
        return before
    means = {"sum": "mean", "sum_pool": "avg_pool"}
    if before.operation in means and primitive in ("mul", "div"):
        return _Kind(means[before.operation])
    if before.affine:
        normalised = before.normalised or plain.normalised
        name = "batch_norm" if normalised else "affine"
        return _Kind(name, affine=True, normalised=normalised)
    return None


def _part_name(equation) -> str:
    return operations.function_name(equation) or equation.primitive.name


def _composite(flow: dataflow.Dataflow, index: int) -> tuple[list, str | None]:
    """The roots between an equation and the value that it computes a function of.

    Returns:
      The roots and the function's name; no name if none is known.
    """
    last = flow.equations[index]
    open_roots, parts, inside = set(flow.operands(last)), [], {index}
    while len(parts) < _MOST_PARTS:
        latest = max(open_roots, key=flow.producers.get)
        if latest in flow.pinned or flow.producers[latest] < 0:
            break
        producer = flow.producer(latest)
        if operations.is_layer(producer):
            break
        parts.append(latest)
        inside.add(flow.producers[latest])
        open_roots.remove(latest)
        open_roots.update(flow.operands(producer))
        if len(open_roots) == 1 and all(flow.readers[p] <= inside for p in parts):
            names = [_part_name(flow.producer(part)) for part in parts]
            found = operations.composite(last.primitive.name, names)
            if found:
                return parts, found
    return [], None


class _Names:
    """Names that are each given once."""

    def __init__(self, flow: dataflow.Dataflow):
        self._flow, self._taken = flow, set()
        self._counts = collections.Counter()
        stacks = {tuple(dataflow.scopes(e)) for e in flow.equations} - {()}
        # The module around all others says nothing.
        outermost = {stack[0] for stack in stacks}
        self._dropped = int(len(outermost) == 1 and len(stacks) > 1)

    def of_tag(self, tag: str) -> str:
        """The name of a value that the program itself names."""
        return self._numbered(tag)

    def of_operation(self, root, operation: str) -> str:
        """The name of any other value."""
        stack = dataflow.scopes(self._flow.producer(root))[self._dropped :]
        return self._numbered("/".join([*stack, operation]))

    def _numbered(self, base: str) -> str:
        while True:
            count = self._counts[base]
            self._counts[base] += 1
            name = f"{base}_{count}" if count else base
            if name not in self._taken:
                self._taken.add(name)
                return name
