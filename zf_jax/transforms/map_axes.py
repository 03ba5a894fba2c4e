"""Which axes of a map are the images' and the channels', read off a program.

A function may mix layouts: Equinox convolves [N, c, h, w] and pools [N, h, w, c], and
`jax.vmap` puts the images where it likes.
"""

from jax.extend.core import Literal

from zf_jax.transforms.flat_program import FlatProgram


def images_axes(program: FlatProgram, larger: FlatProgram | None) -> dict:
    """The images' axis of every variable that has one.

    Args:
      program: of N images.
      larger: the same function of N + 1 images; None if it takes no other number.
    """
    count = program.inputs[0].aval.shape[0]
    results = [result.aval for result in _results(program)]
    others = [result.aval for result in _results(larger)] if larger else []
    if [each.ndim for each in others] == [each.ndim for each in results]:
        found = [
            _grown(one.shape, other.shape, count)
            for one, other in zip(results, others, strict=True)
        ]
    else:
        # The first axis that is as long.
        found = [
            each.shape.index(count) if count in each.shape else None for each in results
        ]
    named = zip(_results(program), found, strict=True)
    return {variable: axis for variable, axis in named if axis is not None}


def _results(program) -> list:
    return [result for equation in program.equations for result in equation.outvars]


def _grown(shape, larger_shape, count) -> int | None:
    """The only axis that is longer, if it is so by one image."""
    pairs = list(zip(shape, larger_shape, strict=True))
    grown = [axis for axis, (one, other) in enumerate(pairs) if one != other]
    is_images = len(grown) == 1 and pairs[grown[0]] == (count, count + 1)
    return grown[0] if is_images else None


def channel_axes(program: FlatProgram) -> dict:
    """The channels' axis by variable, where it is known.

    Known are the results of convolutions and what is computed of them by operations
    that keep the axes, move them, or are dense in the channels.
    """
    axes = {}
    for equation in program.equations:
        if equation.primitive.name == "conv_general_dilated":
            axes[equation.outvars[0]] = equation.params["dimension_numbers"].out_spec[1]
            continue
        for atom in equation.invars:
            if not isinstance(atom, Literal) and atom in axes:
                _follow(equation, atom, axes)
                break
    return axes


def _follow(equation, operand, axes) -> None:
    result, axis = equation.outvars[0], axes[operand]
    before, after = operand.aval.shape, result.aval.shape
    match equation.primitive.name:
        case "transpose":
            axes[result] = equation.params["permutation"].index(axis)
        case "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            is_map = operand is equation.invars[0]
            if is_map and tuple(contracted) == (axis,) and len(before) == len(after):
                axes[result] = len(after) - 1
        case "reshape" | "squeeze" | "broadcast_in_dim":
            kept = [i for i, n in enumerate(before) if n > 1]
            moved = [i for i, n in enumerate(after) if n > 1]
            same = [before[i] for i in kept] == [after[i] for i in moved]
            if same and axis in kept:
                axes[result] = moved[kept.index(axis)]
        case name if name.startswith("reduce_") and "axes" in equation.params:
            reduced = equation.params["axes"]
            if axis not in reduced:
                axes[result] = axis - sum(each < axis for each in reduced)
        case "scan" | "while" | "cond" | "gather" | "scatter":
            pass
        case _:
            alike = [r for r in equation.outvars if len(r.aval.shape) == len(before)]
            axes.update(dict.fromkeys(alike, axis))
