"""One node of an ONNX graph, computed in JAX, or in NumPy where all inputs are."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import jax
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from zf_jax.errors import BadInput
from zf_jax.pretrained import protobuf
from zf_jax.pretrained.onnx_ops import OPERATIONS
from zf_jax.pretrained.onnx_ops.table import Array, Node, is_numpy

Tag = Callable[[jax.Array, str], jax.Array]
ONE = Fraction(1)


def compute(
    node: Node,
    values: dict[str, Array],
    constants: Mapping[str, np.ndarray],
    repeats: Fraction = ONE,
    tag: Tag = checkpoint_name,
) -> None:
    """Computes the node from `values`, and enters its results there.

    Args:
      node: what to compute.
      values: all that is known, by name.
      constants: what is known before there is an image, by name.
      repeats: images that are given over images that the graph is written for.
      tag: names results that are not NumPy: (value, name) -> value.

    Raises:
      BadInput: the node cannot be computed; it is named.
    """
    try:
        if node.op == "If":
            taken = branch(node, values[node.inputs[0]])
            own = {**constants, **taken.constants}
            taken = dataclasses.replace(taken, constants=own)
            results = taken.evaluate(values, repeats=repeats, tag=tag)
        else:
            results = _apply(node, _inputs(node, values, constants, repeats))
    except BadInput as reason:
        raise BadInput(f"{node}: {reason}") from None
    # Whatever JAX or NumPy raises where shapes or types do not fit.
    except Exception as error:
        shapes = ", ".join(
            "x".join(map(str, np.shape(values[name]))) or "scalar"
            for name in node.inputs
            if name in values
        )
        raise BadInput(
            f"{node} cannot be computed from {shapes} ({protobuf.one_line(error)})"
        ) from error
    for name, result in zip(node.outputs, results, strict=False):
        if name:
            values[name] = result if is_numpy(result) else tag(result, name)


def branch(node: Node, condition: Array):
    """The graph that an `If` takes.

    Raises:
      BadInput: it depends on the pixels.
    """
    if not is_numpy(condition):
        raise BadInput(f"{node}: its condition depends on the pixels of the image")
    return node.get("then_branch" if np.all(condition) else "else_branch")


def _inputs(
    node: Node,
    values: Mapping[str, Array],
    constants: Mapping[str, np.ndarray],
    repeats: Fraction,
) -> list[Array | None]:
    if node.op not in OPERATIONS:
        raise BadInput("is an operation that is not known here")
    inputs = []
    for i, name in enumerate(node.inputs):
        static = i in OPERATIONS[node.op].static
        source = constants if static and name in constants else values
        if name and name not in source:
            raise BadInput(f"its input {name!r} is missing")
        inputs.append(source[name] if name else None)
        if static and not is_numpy(inputs[-1]):
            raise BadInput(f"its input {name!r} depends on the pixels of the image")
    written = node.op == "Reshape" and node.inputs[1] in constants
    if repeats != ONE and written and not is_numpy(inputs[0]):
        inputs[1] = _repeated(inputs[0].shape, inputs[1], repeats)
    return inputs


def _repeated(
    shape: tuple[int, ...], wanted: np.ndarray, repeats: Fraction
) -> np.ndarray:
    """The shape that a Reshape to `wanted` makes of `repeats` times as many images.

    Args:
      shape: of what is reshaped, with all images.
      wanted: as the graph has it.
      repeats: given images over those of the graph.

    Raises:
      BadInput: the images do not lie along the first axis, before and after.
    """
    wanted = np.array(wanted, np.int64)
    if not (shape and wanted.size) or shape[0] % repeats.numerator:
        raise BadInput("reshapes values whose first axis is not that of the images")
    first, rest = int(wanted[0]), wanted[1:]
    if first > 0:
        kept = first * repeats == shape[0]
    else:
        rest = [n or shape[i] for i, n in enumerate(rest.tolist(), 1)]
        kept = first == 0 or math.prod(rest) == math.prod(shape[1:])
    if not kept:
        raise BadInput("reshapes the axis of the images")
    wanted[0] = shape[0]
    return wanted


def _apply(node: Node, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
    function = OPERATIONS[node.op].compute
    if not all(map(is_numpy, inputs)):
        results = function(node, *inputs)
        return results if isinstance(results, tuple) else (results,)
    # 64-bit integers, as in ONNX, and now even where a function is traced.
    with (
        jax.ensure_compile_time_eval(),
        jax.enable_x64(True),
        np.errstate(all="ignore"),
    ):
        results = function(node, *inputs)
        results = results if isinstance(results, tuple) else (results,)
        return tuple(np.asarray(each) for each in results)
