"""Mutated ONNX files are read or refused: no crash, no hang, no memory blow-up."""

import json
import os
import pathlib
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(("importer", "count"), [("sequential", 4000), ("any", 800)])
def test_mutated_files(importer, count):
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.pretrained.fuzz"]
        + [str(count), importer],
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
    assert found["loaded"] + found["refused"] == count
    # The mutations reach past the protobuf: some files are still nets.
    assert found["loaded"] > count / 20
    # Such a file takes milliseconds, where nothing is traced; the rest is room for a
    # busy machine.
    assert found["slowest"] < 5
    # And it takes a few MB, where a number read as a size could ask for any.
    assert found["grown_mb"] < 200
