"""Equations that hold jaxprs and are no plain calls.

They are loops, branches, shards, remat, and calls with custom derivatives.
"""

import pathlib
from collections.abc import Callable, Sequence

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from zf_jax.ops import pooling
from zf_jax.transforms import jaxpr

_CUSTOM_CALLS = {"custom_jvp_call", "custom_vjp_call", "call_hi_primitive"}
# Where custom derivatives are those of what is called.
_TRUE = pathlib.Path(jax.__file__).parent, pathlib.Path(pooling.__file__).parent

# Takes and gives a list of arrays.
Run = Callable[[list], list]


def is_checkpoint(equation: JaxprEqn) -> bool:
    """Whether it is a call of `jax.checkpoint`."""
    return equation.primitive.name in ("checkpoint", "remat2") or (
        "Remat" in type(equation.params.get("_prim")).__name__
    )


def has_own_derivative(equation: JaxprEqn) -> bool:
    """Whether it calls a function with custom derivatives that others have written.

    JAX's own, as of `jax.nn.relu`, and those of `zf_jax.ops` are the derivatives of
    what is called. Those of others may differ, as a straight-through estimator's do.
    """
    if equation.primitive.name not in _CUSTOM_CALLS or is_checkpoint(equation):
        return False
    called = jaxpr.called_jaxpr(equation)
    source = called and called[0].debug_info.func_filename
    return not (source and any(map(pathlib.Path(source).is_relative_to, _TRUE)))


def can_rebuild(equation: JaxprEqn) -> bool:
    """Whether `rebuild` takes it."""
    return is_checkpoint(equation) or equation.primitive.name in _REBUILD


def of(equation: JaxprEqn, is_image: Sequence[bool]) -> list[tuple]:
    """The jaxprs within an equation.

    Args:
      equation: any.
      is_image: which of its operands depend on the images.

    Returns:
      For each: the jaxpr, values of its constants, and which of its inputs depend on
      the images, or may.
    """
    name, params = equation.primitive.name, equation.params
    if is_checkpoint(equation):
        params, inputs = _checkpoint_params(equation), list(is_image)
    elif name == "cond":
        inputs = list(is_image)[1:]
    elif name == "scan":
        constants, carried = _scan_numbers(params)
        is_carried = [any(is_image)] * carried
        inputs = [
            *is_image[:constants],
            *is_carried,
            *is_image[constants + carried :],
        ]
    elif name == "shard_map":
        inputs = list(is_image)
    else:
        inputs = None
    return [
        (*each, inputs or [True] * len(each[0].invars))
        for value in params.values()
        for each in _jaxprs(value)
    ]


def _jaxprs(value) -> list[tuple]:
    """(jaxpr, constants) of a parameter."""
    if isinstance(value, ClosedJaxpr):
        return [(value.jaxpr, value.consts)]
    if isinstance(value, Jaxpr):
        return [(value, ())]
    if isinstance(value, list | tuple):
        return [each for item in value for each in _jaxprs(item)]
    return []


def rebuild(equation: JaxprEqn, inputs: Sequence, runs: list[Run]) -> list:
    """The equation with other functions in place of its jaxprs.

    Args:
      equation: one that `can_rebuild`.
      inputs: values of its operands.
      runs: for each of the jaxprs that `of` gives.

    Returns:
      The values of its results.
    """
    name = equation.primitive.name
    build = _checkpoint if is_checkpoint(equation) else _REBUILD[name]
    return list(build(equation, inputs, runs))


def _checkpoint_params(equation: JaxprEqn) -> dict:
    held = equation.params.get("_prim")
    return equation.params if held is None else held.params


def _checkpoint(equation, inputs, runs):
    params = _checkpoint_params(equation)
    function = jax.checkpoint(
        lambda *given: runs[0](list(given)),
        prevent_cse=params["prevent_cse"],
        policy=params["policy"],
    )
    return function(*inputs)


def _cond(equation, inputs, runs):
    index, *operands = inputs
    branches = [lambda *given, run=run: run(list(given)) for run in runs]
    return lax.switch(index, branches, *operands)


def _scan_numbers(params: dict) -> tuple[int, int]:
    """How many operands are constants of a scan, and how many are carried."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    constants, carried, _ = params["ft_in"].unpack()  # Since JAX 0.12.
    return len(constants), len(carried)


def _scan(equation, inputs, runs):
    params, (run,) = equation.params, runs
    constants, carried = _scan_numbers(params)
    shared, carry = inputs[:constants], inputs[constants : constants + carried]

    def body(carry, given):
        results = run([*shared, *carry, *given])
        return results[:carried], results[carried:]

    carry, results = lax.scan(
        body,
        list(carry),
        list(inputs[constants + carried :]),
        length=params["length"],
        reverse=params["reverse"],
        unroll=params["unroll"],
    )
    return [*carry, *results]


def _shard_map(equation, inputs, runs):
    params = equation.params
    axes = params.get("manual_axes") or params["newly_manual_axes"]  # Since JAX 0.12.
    function = jax.shard_map(
        lambda *given: tuple(runs[0](list(given))),
        mesh=params["mesh"],
        in_specs=tuple(params["in_specs"]),
        out_specs=tuple(params["out_specs"]),
        axis_names=set(axes),
        check_vma=params["check_vma"],
    )
    return function(*inputs)


_REBUILD = {"cond": _cond, "scan": _scan, "shard_map": _shard_map}
