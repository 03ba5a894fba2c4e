"""What of a program depends on the images, and what reads it."""

import collections

from jax.extend.core import JaxprEqn, Literal

from zf_jax.transforms import operations
from zf_jax.transforms.flat_program import FlatProgram


class Dataflow:
    """The equations that depend on the images, and who reads their results.

    Attributes:
      equations: those whose result is not just their operand, written otherwise.
      roots: of every variable that depends on the images, the one it is a copy of.
      copies: of a root, in order.
      producers: of a root, the index of the equation that gives it.
      readers: of a root, the indices of the equations that read it or a copy.
      pinned: roots that are results of the program, or tagged.
      tags: (name, variable) of every `checkpoint_name`.
      scales: variables that depend on weights alone, by way of a square root.
    """

    def __init__(self, program: FlatProgram):
        (images,) = program.inputs
        self.equations, self.tags, self.scales = [], [], set()
        self.roots, self.producers = {images: images}, {images: -1}
        self.copies = collections.defaultdict(list)
        self.readers = collections.defaultdict(set)
        self.pinned = set()
        for equation in program.equations:
            self._add(equation)
        for atom in program.results:
            if self.root(atom) is not None:
                self.pinned.add(self.root(atom))

    def root(self, atom):
        """The root of a variable; None for what does not depend on the images."""
        return None if isinstance(atom, Literal) else self.roots.get(atom)

    def operands(self, equation) -> list:
        """The roots of the operands that depend on the images."""
        found = [self.root(atom) for atom in equation.invars]
        return [root for root in found if root is not None]

    def _add(self, equation) -> None:
        operands = self.operands(equation)
        if not operands:
            if equation.primitive.name in ("sqrt", "rsqrt") or self.scaled(equation):
                self.scales.update(equation.outvars)
        elif operations.is_identity(equation):
            (root,), (result,) = operands, equation.outvars
            self.roots[result] = root
            self.copies[root].append(result)
            if equation.primitive.name == "name":
                self.tags.append((equation.params["name"], result))
                self.pinned.add(root)
        else:
            for root in operands:
                self.readers[root].add(len(self.equations))
            self.roots.update((result, result) for result in equation.outvars)
            self.producers.update(dict.fromkeys(equation.outvars, len(self.equations)))
            self.equations.append(equation)

    def scaled(self, equation) -> bool:
        """Whether an operand is in `scales`."""
        atoms = (a for a in equation.invars if not isinstance(a, Literal))
        return not self.scales.isdisjoint(atoms)

    def producer(self, root):
        """The equation that gives a root."""
        return self.equations[self.producers[root]]

    def is_read_by(self, root, index: int) -> bool:
        """Whether one equation alone reads a root, and the program does not give it."""
        return root not in self.pinned and self.readers[root] == {index}


def scopes(equation: JaxprEqn) -> list[str]:
    """The scopes around an equation: modules' names, without JAX's transforms."""
    found = []
    for entry in equation.source_info.name_stack.stack:
        if type(entry).__name__ != "Scope":
            continue
        # Operations, not modules: of torchax, and the formula of an einsum.
        is_operation = "::" in entry.name or "->" in entry.name
        # Flax linen adds "Net.features" for a method that Net calls of itself.
        is_method = found and entry.name.startswith(f"{found[-1]}.")
        if not is_operation and not is_method:
            found.append(entry.name)
    return found
