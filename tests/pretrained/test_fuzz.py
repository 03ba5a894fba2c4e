"""Mutated ONNX files are read or refused: no crash, no hang, no memory blow-up."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

COUNT = 4000


@pytest.mark.slow
def test_mutated_files():
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.pretrained.fuzz", str(COUNT)],
        cwd=pathlib.Path(__file__).parents[2],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    print(found)
    assert found["faults"] == {}
    assert found["loaded"] + found["refused"] == COUNT
    # The mutations reach past the protobuf: some files are still nets.
    assert found["loaded"] > COUNT / 20
    # A file of a few kB takes milliseconds; the rest is room for a busy machine.
    assert found["slowest"] < 5
    # And it takes a few MB, where a number read as a size could ask for any.
    assert found["grown_mb"] < 200
