"""A jaxpr as one list of equations, with its calls replaced by what they call.

`capture` reads the names of hidden values off such a list, and runs another one, in
which only those calls are opened that a value is asked for within.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jax.extend.core import Jaxpr, JaxprEqn, Literal

from zf_jax.transforms import jaxpr as jaxprs

# The indices of the calls around an equation and, last, its own.
Path = tuple[int, ...]


class Variable(NamedTuple):
    """A variable of one call of a jaxpr; JAX shares the jaxprs of equal calls.

    Attributes:
      path: of the call; empty for the program itself.
      var: JAX's variable, which has shape and dtype.
    """

    path: Path
    var: object

    @property
    def aval(self):
        """Shape and dtype."""
        return self.var.aval


class FlatProgram(NamedTuple):
    """Equations in order, between `Variable`s and literals.

    Attributes:
      equations: their name stacks are those of the calls around them, joined.
      constants: values of the jaxprs' constants.
      inputs: variables.
      results: variables and literals.
      renamed: what stands for a variable that is no longer there: a call's operand for
        what the call takes, an inner result for what it gives.
      outermost: of a result within a call, what the outermost call gives it as.
    """

    equations: list[JaxprEqn]
    constants: dict
    inputs: list
    results: list
    renamed: dict
    outermost: dict


def flatten(
    jaxpr: Jaxpr, consts, is_kept: Callable[[JaxprEqn, Path], bool]
) -> FlatProgram:
    """Opens the calls of a jaxpr; `is_kept` tells which ones stay as they are."""
    program = FlatProgram([], {}, [], [], {}, {})
    program.inputs.extend(Variable((), var) for var in jaxpr.invars)
    _add(program, (), jaxpr, consts, None, is_kept)
    program.results.extend(_atom(program, (), atom) for atom in jaxpr.outvars)
    return program


def _atom(program, path, atom):
    if isinstance(atom, Literal):
        return atom
    return program.renamed.get(Variable(path, atom), Variable(path, atom))


def _add(program, path, jaxpr, consts, stack, is_kept) -> None:
    """Adds the equations of a call at `path`, whose operands are renamed already."""
    for var, value in zip(jaxpr.constvars, consts, strict=True):
        program.constants[Variable(path, var)] = value
    for index, equation in enumerate(jaxpr.eqns):
        inner_path = (*path, index)
        equation = _placed(program, path, stack, equation)
        called = jaxprs.called_jaxpr(equation)
        if called is None or is_kept(equation, inner_path):
            program.equations.append(equation)
            continue
        inner, inner_consts = called
        for var, atom in zip(inner.invars, equation.invars, strict=True):
            program.renamed[Variable(inner_path, var)] = atom
        inner_stack = equation.source_info.name_stack
        _add(program, inner_path, inner, inner_consts, inner_stack, is_kept)
        for outer, result in zip(equation.outvars, inner.outvars, strict=True):
            atom = _atom(program, inner_path, result)
            program.renamed[outer] = atom
            if _is_within(inner_path, atom):
                program.outermost[atom] = outer


def _placed(program, path, stack, equation) -> JaxprEqn:
    """The equation between the variables of its call, its name stack made absolute."""
    source = equation.source_info
    if stack is not None:
        source = source.replace(name_stack=stack + source.name_stack)
    return equation.replace(
        invars=[_atom(program, path, atom) for atom in equation.invars],
        outvars=[Variable(path, var) for var in equation.outvars],
        source_info=source,
    )


def _is_within(path: Path, atom) -> bool:
    return isinstance(atom, Variable) and atom.path[: len(path)] == path


def evaluate(jaxpr: Jaxpr, consts, arguments, wanted: Mapping[str, Variable]) -> dict:
    """Runs what some variables of a jaxpr need, and nothing else.

    Calls stay as they are, with the derivatives that custom calls have, but for those
    that a wanted variable is within.

    Returns:
      The values of `wanted`, by its keys.
    """
    opened = {v.path[:n] for v in wanted.values() for n in range(1, len(v.path) + 1)}
    program = flatten(jaxpr, consts, lambda _, path: path not in opened)
    atoms = {key: program.renamed.get(v, v) for key, v in wanted.items()}
    values = dict(program.constants)
    values.update(zip(program.inputs, arguments, strict=True))
    cut = jaxprs.Program((), (), program.equations, list(atoms.values()))
    jaxprs.run(jaxprs.live_equations(cut), values, inline={})
    return {key: jaxprs.value_of(atom, values) for key, atom in atoms.items()}
