"""Where a function's rectifiers and other nonlinearities are, by structure.

A rectifier is `max` with 0, `clamp` at 0, a selection of x where x > 0 and of 0 where
not, or x times (x > 0): whatever function of JAX or of a framework it was written with.
Of relu6 and of clip at 0 it is the lower bound.

Other nonlinearities are elementwise functions of one hidden value: leaky ReLU, ELU,
SiLU, GELU, sigmoid, ... They are found as the part of a program between two variables
of which every path from the first on leads to the second: from x to x * sigmoid(x). A
rectifier in such a part belongs to it (hard-swish, PReLU), and so does a clip between 0
and 1 that multiplies another hidden value (hard sigmoid).

Neither are normalisation (powers, roots, quotients, logarithms), softmax, and the
largest of several hidden values (max pooling, maxout).
"""

import enum
import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal

from zf_jax.transforms import operations, rules

# Of one value, and no normalisation.
_NONLINEAR = frozenset(
    """abs acos acosh asin asinh atan atanh cbrt ceil cos cosh erf erf_inv erfc exp exp2
    expm1 floor lgamma log1p logistic round sign sin sinh tan tanh""".split()  # noqa: SIM905
)
_POSITIVE = {"gt", "ge"}
_NEGATIVE = {"lt", "le"}
# What a constant remains a constant through.
_CONSTANT_THROUGH = {"broadcast_in_dim", "convert_element_type", "copy", "reshape"}
_CONSTANT_THROUGH |= {"pcast", "pvary"}  # Within jax.shard_map.
# What softmax does with the largest value before it subtracts it.
_SHIFT = {
    "broadcast_in_dim",
    "convert_element_type",
    "copy",
    "max",
    "reshape",
    "select_n",
    "squeeze",
    "stop_gradient",
}
_UNSCALED = {"convert_element_type", "copy", "name", "reshape"} | {
    "broadcast_in_dim",
    "squeeze",
    "transpose",
}
# Bounds that keep a value off a division by 0 are no nonlinearity.
_GUARD = 1e-3


class Kind(enum.Enum):
    """Of an activation."""

    RECTIFIER = "rectifier"
    OTHER = "other nonlinearity"


class Activation(NamedTuple):
    """A nonlinear function of one hidden value.

    Attributes:
      kind: whether it is a rectifier.
      operand: variable.
      result: variable.
      equation: what gives the result.
      operation: its name, or that of the first nonlinear operation within it.
    """

    kind: Kind
    operand: object
    result: object
    equation: JaxprEqn
    operation: str


def find(equations: list[JaxprEqn], constants: dict, from_images: set) -> list:
    """The activations of a program, in order.

    Args:
      equations: without calls, between variables that have an `aval`.
      constants: values of those variables that are constants.
      from_images: the variables that depend on the images.
    """
    found = _Search(equations, constants, from_images)
    for equation in equations:
        found.look_at(equation)
    return list(found.activations.values())


class _Search:
    """Goes through equations in order; `activations` are those found, by result."""

    def __init__(self, equations, constants, from_images):
        self.activations: dict = {}
        self._constants, self._from_images = constants, from_images
        self._producer = {r: each for each in equations for r in each.outvars}
        self._users: dict = {}
        for each in equations:
            for atom in self._depends_on(each):
                self._users.setdefault(atom, []).append(each)
        # The variable that an elementwise result is a function of, nearest first.
        self._parent: dict = {}

    def look_at(self, equation: JaxprEqn) -> None:
        """Adds the activation that the equation completes, if there is one."""
        operands = self._depends_on(equation)
        result = equation.outvars[0]
        if not operands or not self._is_elementwise(equation):
            return
        operand = self._common(operands)
        if operand is None:
            return
        self._parent[result] = operand
        if not jnp.issubdtype(result.aval.dtype, jnp.floating):
            return
        between = self._between(operands, operand) if len(operands) > 1 else []
        within = [self.activations[v] for v in between if v in self.activations]
        if self._rectified(equation) is not None:
            is_bounded = self._is_hard_sigmoid(equation)
            kind = Kind.OTHER if is_bounded else Kind.RECTIFIER
            operation = "hard_sigmoid" if is_bounded else "relu"
        elif within or self._is_nonlinear(equation):
            kind = Kind.OTHER
            operation = within[0].operation if within else _name(equation)
            parts = [self._producer[v].primitive.name for v in between]
            operation = (
                operations.composite(equation.primitive.name, parts) or operation
            )
        else:
            return
        for each in within:
            del self.activations[each.result]
        found = Activation(kind, operand, result, equation, operation)
        self.activations[result] = found

    def _depends_on(self, equation) -> list:
        """The operands that depend on the images, each once."""
        return list(dict.fromkeys(filter(self._is_image, equation.invars)))

    def _is_image(self, atom) -> bool:
        return not isinstance(atom, Literal) and atom in self._from_images

    def _is_elementwise(self, equation) -> bool:
        shape = equation.outvars[0].aval.shape
        is_known = equation.primitive.name in rules.ELEMENTWISE
        return is_known and all(
            atom.aval.shape == shape for atom in self._depends_on(equation)
        )

    def _common(self, operands):
        """The nearest variable that all operands are functions of, or are."""
        first, *others = (list(self._ancestors(each)) for each in operands)
        return next((v for v in first if all(v in each for each in others)), None)

    def _ancestors(self, variable) -> Iterator:
        while variable is not None:
            yield variable
            variable = self._parent.get(variable)

    def _between(self, operands, start) -> list:
        """The variables from `start` on that the operands depend on."""
        found, waiting = {}, list(operands)
        while waiting:
            variable = waiting.pop()
            if variable != start and variable not in found:
                found[variable] = self._producer[variable]
                waiting.extend(self._depends_on(found[variable]))
        return list(found)

    def _value(self, atom) -> float | None:
        """The number that a constant is, at all its entries."""
        if isinstance(atom, Literal):
            value = atom.val
        elif atom in self._constants:
            value = self._constants[atom]
        else:
            equation = self._producer.get(atom)
            is_copy = equation and equation.primitive.name in _CONSTANT_THROUGH
            return self._value(equation.invars[0]) if is_copy else None
        if isinstance(value, jax.core.Tracer) or not np.size(value):
            return None
        value = np.asarray(value)
        first = value.flat[0]
        return float(first) if (value == first).all() else None

    def _rectified(self, equation):
        """What the equation rectifies; None if it is no rectifier."""
        atoms = equation.invars
        match equation.primitive.name:
            case "max":
                for x, bound in (atoms, atoms[::-1]):
                    if self._is_image(x) and self._is_zero(bound):
                        return x
            case "clamp":
                low, x, _ = atoms
                if self._is_image(x) and self._is_zero(low):
                    return x
            case "select_n" if len(atoms) == 3:
                which, otherwise, chosen = atoms
                x, is_positive = self._sign_of(which)
                if not is_positive:
                    otherwise, chosen = chosen, otherwise
                if x is not None and chosen == x and self._is_zero(otherwise):
                    return x
            case "mul":
                for x, mask in (atoms, atoms[::-1]):
                    number = self._producer.get(mask) if self._is_image(mask) else None
                    if number and number.primitive.name == "convert_element_type":
                        of, is_positive = self._sign_of(number.invars[0])
                        if is_positive and of == x:
                            return x
        return None

    def _sign_of(self, which) -> tuple:
        """(x, true) of x > 0 or x >= 0, (x, false) of x < 0 or x <= 0."""
        equation = self._producer.get(which) if self._is_image(which) else None
        name = equation.primitive.name if equation else None
        if name not in _POSITIVE | _NEGATIVE:
            return None, True
        x, bound = equation.invars
        is_positive = name in _POSITIVE
        if self._is_zero(x):
            x, bound, is_positive = bound, x, not is_positive
        return (x, is_positive) if self._is_zero(bound) else (None, True)

    def _is_zero(self, atom) -> bool:
        return not self._is_image(atom) and self._value(atom) == 0

    def _is_nonlinear(self, equation) -> bool:
        name = equation.primitive.name
        if name == "exp":
            return not self._is_softmax(equation)
        if name == "select_n":
            which = equation.invars[0]
            made_by = self._producer.get(which) if self._is_image(which) else None
            # Not so is_finite: logsumexp has it, and log(abs(sum)).
            return bool(made_by) and made_by.primitive.name != "is_finite"
        if name == "abs":
            users = self._users.get(equation.outvars[0], ())
            return any(each.primitive.name != "log" for each in users)
        if name == "convert_element_type":
            return equation.invars[0].aval.dtype == bool
        if name in ("max", "min"):
            return not self._is_harmless_bound(equation)
        return name in _NONLINEAR or name == "clamp"

    def _is_harmless_bound(self, equation) -> bool:
        """Of a value above 0, or one that is to become so, from above; or a guard."""
        x, bound = equation.invars
        if not self._is_image(x):
            x, bound = bound, x
        if self._is_image(bound):
            return False
        value = self._value(bound)
        if value is not None and (abs(value) < _GUARD or math.isinf(value)):
            return equation.primitive.name == "max" or math.isinf(value)
        return equation.primitive.name == "min" and (
            self._untagged(x) in self.activations
            or any(
                self._rectified(each) is not None
                for each in self._users.get(equation.outvars[0], ())
            )
        )

    def _untagged(self, variable):
        """The variable that `checkpoint_name` gave a name to, if it did."""
        made_by = self._producer.get(variable)
        while made_by and made_by.primitive.name == "name":
            (variable,) = made_by.invars
            made_by = self._producer.get(variable)
        return variable

    def _is_softmax(self, equation) -> bool:
        """Whether an `exp` is of the differences to the largest value."""
        (shifted,) = equation.invars
        difference = self._producer.get(shifted)
        if not difference or difference.primitive.name != "sub":
            return False
        waiting = [difference.invars[1]]
        while waiting:
            atom = waiting.pop()
            made_by = self._producer.get(atom) if self._is_image(atom) else None
            if made_by and made_by.primitive.name == "reduce_max":
                return True
            if made_by and made_by.primitive.name in _SHIFT:
                waiting.extend(made_by.invars)
        return False

    def _is_hard_sigmoid(self, equation) -> bool:
        """Whether a rectifier's result is scaled to 0..1, or multiplies in 0..1."""
        result, bound = equation.outvars[0], math.inf
        if equation.primitive.name == "clamp":
            bound = self._value(equation.invars[2]) or bound
        waiting = [(result, bound)]
        while waiting:
            variable, bound = waiting.pop()
            for user in self._users.get(variable, ()):
                name, others = user.primitive.name, list(user.invars)
                others.remove(variable)
                is_unit = abs(bound - 1) < 1e-2
                if any(map(self._is_image, others)):
                    if name == "mul" and is_unit:
                        return True
                    continue
                scaled = self._scaled(user, variable, others, bound)
                if scaled is None:
                    continue
                if not is_unit and name != "min" and abs(scaled - 1) < 1e-2:
                    return True
                waiting.append((user.outvars[0], scaled))
        return False

    def _scaled(self, equation, variable, others, bound: float) -> float | None:
        """The largest result, of a variable from 0 to `bound`; None if unknown."""
        name = equation.primitive.name
        by = self._value(others[0]) if others else None
        if name == "min" and by is not None:
            return min(bound, by)
        if name == "mul" and by:
            return bound * by
        if name == "div" and by and equation.invars[0] == variable:
            return bound / by
        return bound if name in _UNSCALED else None


def _name(equation: JaxprEqn) -> str:
    return {"logistic": "sigmoid", "select_n": "where"}.get(
        equation.primitive.name, equation.primitive.name
    )
