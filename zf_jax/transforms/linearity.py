"""Which operations are linear in what depends on an image.

The transpose of a linear operation reads nothing of the forward pass; that of any other
reads its operands.
"""

from collections.abc import Collection

from jax.extend.core import JaxprEqn, Literal

# Linear in all operands at once.
_LINEAR = {
    *("add", "add_any", "broadcast_in_dim", "concatenate", "convert_element_type"),
    *("copy", "cumsum", "gather", "name", "neg", "pad", "real", "reduce_sum"),
    *("reduce_window_sum", "reshape", "rev", "slice", "split", "squeeze", "sub"),
    *("stop_gradient", "transpose"),
}
# Linear in each operand.
_PRODUCTS = {"conv_general_dilated", "dot_general", "mul"}


def nonlinear_operands(equation: JaxprEqn, dependent: Collection) -> list[int]:
    """The operands that the transpose of an equation reads, by number.

    Args:
      equation: any operation.
      dependent: the variables that depend on the image.
    """
    name = equation.primitive.name
    varying = [
        number
        for number, atom in enumerate(equation.invars)
        if not isinstance(atom, Literal) and atom in dependent
    ]
    if name in _LINEAR or (name in _PRODUCTS and len(varying) == 1):
        return []
    if name == "div" and varying == [0]:
        return []
    if name == "select_n":
        return [number for number in varying if number == 0]
    return varying
