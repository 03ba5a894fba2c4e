"""The onnx package's own tests of single nodes."""

import collections
import pathlib

import onnx
import pytest

from tests.pretrained import onnx_node_tests
from zf_jax.pretrained.onnx_ops import OPERATIONS

# Arithmetic of shapes has to be right in NumPy, which compiles nothing but these.
_FOLDED = ("elementwise", "padding", "positions", "reductions", "shapes")
_COMPILED = {"ReduceLogSumExp", "Scatter", "ScatterElements", "ScatterND", "TopK"}
# A few operations of every family, as JAX computes them.
_SOME = {"BatchNormalization", "Clip", "Conv", "CumSum", "Gather", "HardSigmoid"}
_SOME |= {"LogSoftmax", "MaxPool", "PRelu", "Pad", "Pow", "Resize", "Slice", "Where"}


def _failures(cases, **options) -> dict[str, str]:
    failed = {}
    for case in cases:
        try:
            onnx_node_tests.run(case, **options)
        except Exception as error:
            failed[case.name] = f"{type(error).__name__}: {str(error)[:300]}"
    return failed


def _of_one_operation():
    for case in onnx_node_tests.cases()[1]:
        if len(case.operations) == 1 and not onnx_node_tests.is_exception(case):
            yield case


def test_constants_stay_numpy():
    def folded(case):
        (name,) = case.operations
        if name not in OPERATIONS or name in _COMPILED:
            return False
        return OPERATIONS[name].compute.__module__.endswith(_FOLDED)

    cases = list(filter(folded, _of_one_operation()))
    assert len(cases) > 500
    assert not _failures(cases, constant=True)


def test_some_operations():
    cases = [case for case in _of_one_operation() if case.operations <= _SOME]
    assert len(cases) > 100
    assert not _failures(cases)


@pytest.mark.slow
def test_all_operations():
    cases = onnx_node_tests.cases()[1]
    failed = _failures(cases)
    known = {case.name for case in cases if onnx_node_tests.is_exception(case)}
    unknown = {name: why for name, why in failed.items() if name not in known}
    assert not unknown
    assert known == set(failed), "these exceptions pass by now"


def test_documented():
    """docs/models.md lists operations, counts tests and names exceptions."""
    every, cases = onnx_node_tests.cases()
    page = pathlib.Path("docs/models.md").read_text()
    section = page.split("## ONNX operations\n")[1].split("\n## ")[0]
    listed = section.split("```text\n")[1].split("```")[0].split()
    assert listed == sorted(set(OPERATIONS) | {"If"})
    if f"onnx {onnx.__version__}" not in section:
        pytest.skip("the page counts the tests of another version")
    failing = sum(map(onnx_node_tests.is_exception, cases))
    assert f"{every} tests" in section
    assert f"**{len(cases) - failing} of {len(cases)}**" in section
    counts = collections.Counter(map(onnx_node_tests.reason, cases))
    for reason in onnx_node_tests.EXCEPTIONS:
        assert f"| {reason} | {counts[reason]} |" in section
