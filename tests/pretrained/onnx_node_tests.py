"""The onnx package's tests of single nodes, run through our table of operations."""

import functools
import re
import warnings
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import onnx
from onnx import numpy_helper

from zf_jax.pretrained import onnx_graph, onnx_reader
from zf_jax.pretrained.onnx_ops import OPERATIONS

# Why a test may fail, with the names of those that do.
EXCEPTIONS = {
    "training: Dropout that drops, BatchNormalization by its batch": (
        r"test_training_dropout_(default|mask|default_mask)|test_training_dropout"
        r"|test_batchnorm_(example|epsilon)_training_mode"
    ),
    "sequences and optional values": r"test_if_(seq|opt)",
    "a quotient halfway between two integers, which XLA rounds to the other one": (
        r"test_dynamicquantizelinear(_expanded)?"
    ),
    "text": r"test_equal_string(_broadcast)?",
    "a float8 of exponents alone: its least value is no number in JAX": (
        r"test_cast_e8m0_FLOAT(16)?_to_FLOAT8E8M0"
    ),
    "bfloat16 is rounded at other places of a long formula": (
        r"test_attention_(4d_causal|4d_padded_kv|4d_causal_padded_kv|3d_causal)"
        r"_bf16_expanded"
    ),
}


class Case(NamedTuple):
    """One test of the package.

    Attributes:
      name: the package's.
      operations: types of its nodes; several where a function is written out.
      test: as the package has it.
    """

    name: str
    operations: frozenset[str]
    test: Any


def reason(case: Case) -> str | None:
    """Why it is known to fail; None where it passes."""
    for each, names in EXCEPTIONS.items():
        if re.fullmatch(names, case.name):
            return each
    return None


def is_exception(case: Case) -> bool:
    """Whether it is known to fail."""
    return reason(case) is not None


@functools.cache
def cases() -> tuple[int, tuple[Case, ...]]:
    """The number of all tests, and those whose operations are all in the table."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        # The package makes its tests with overflows, and ways that NumPy gives up.
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    known = set(OPERATIONS) | {"If"}
    ours = []
    for test in found:
        operations = frozenset(_operations(test.model.graph))
        if operations <= known:
            ours.append(Case(test.name, operations, test))
    return len(found), tuple(ours)


def _operations(graph: onnx.GraphProto) -> set[str]:
    return {
        node.op_type
        if node.domain in ("", "ai.onnx")
        else f"{node.domain}.{node.op_type}"
        for node in graph.node
    }


def run(case: Case, *, constant: bool = False) -> None:
    """Runs one test.

    Args:
      case: the test.
      constant: whether all inputs are constants, so that the outputs are, too. Else
        arrays of JAX stand for those that need not be constant.

    Raises:
      AssertionError: an output is not as expected.
    """
    model = case.test.model
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    graph = onnx_reader.read(model.graph, opset)
    static = _static(graph, set())
    for inputs, outputs in case.test.data_sets:
        given = {}
        for info, value in zip(model.graph.input, map(_array, inputs), strict=True):
            fixed = constant or info.name in static
            given[info.name] = value if fixed else jnp.asarray(value)
        results = graph.evaluate(given)
        for result, expected in zip(results, map(_array, outputs), strict=True):
            assert isinstance(result, np.ndarray) or not constant
            _compare(case.test, np.asarray(result), expected, same_type=constant)


def _array(value) -> np.ndarray:
    tensor = isinstance(value, onnx.TensorProto)
    return numpy_helper.to_array(value) if tensor else np.asarray(value)


def _static(graph: onnx_graph.Graph, wanted: set[str]) -> set[str]:
    """Names of the values that shapes depend on."""
    found = set(wanted)
    for node in reversed(graph.nodes):
        needed = bool(found & set(node.outputs))
        if needed and node.op not in ("Shape", "Size"):
            found |= set(node.inputs)
        static = OPERATIONS[node.op].static if node.op in OPERATIONS else {0}
        found |= {node.inputs[i] for i in static if i < len(node.inputs)}
        for value in node.attributes.values():
            if isinstance(value, onnx_graph.Graph):
                found |= _static(value, set(value.outputs) if needed else set())
    return found


def _compare(test, result: np.ndarray, expected: np.ndarray, *, same_type: bool):
    assert result.shape == expected.shape
    if same_type:
        # Otherwise JAX has no types of 64 bits.
        assert result.dtype == expected.dtype
    if expected.dtype.kind not in "fiubc":
        result, expected = result.astype(np.float64), expected.astype(np.float64)
    np.testing.assert_allclose(result, expected, rtol=test.rtol, atol=test.atol)
