"""Right sums on a CPU, with and without a program of ours around: jax-ml/jax#39103."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zf_jax import xla
from zf_jax.probes import batched, occlusion, topk

# The reproducer of jax-ml/jax#39103: JAX 0.10.2 gives 1065353216 or 1071645696.
ROWS = jnp.stack([jnp.arange(32769.0), jnp.zeros(32769), jnp.zeros(32769)], axis=1)
RIGHT = 32768.0**2


def sums(rows):
    return jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2))(rows)


def sums_beside(images):
    """The reproducer for each image, [N, 32769]; slicing here would hide the error."""
    return jnp.broadcast_to(sums(ROWS), (len(images), len(ROWS)))


def convolve(x, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=layout
    )
    return y.sum(axis=(1, 2))


def main():
    """What a program without XLA_FLAGS computes, as JSON."""
    images = np.ones((2, 2, 2, 3), np.float32)
    swept = occlusion.sweep(sums_beside, images, side=1, stride=1, fill=1.0)
    best = topk.scan(lambda images: {"sums": sums_beside(images)}, [images], k=1)
    found = list(batched.map_batches(sums_beside, [images]))
    compiled = xla.jit(convolve).lower(images, jnp.ones((3, 3, 3, 4))).compile()
    found = {
        "xla.jit": xla.jit(sums)(ROWS)[-1].item(),
        "occlusion.sweep": np.unique(swept[..., -1]).tolist(),
        "topk.scan": best["sums"].values[-1].tolist(),
        "batched.map_batches": np.unique(found[0][:, -1]).tolist(),
        "program": compiled.as_text(),
    }
    print(json.dumps(found))


@pytest.fixture(scope="module")
def without_flags():
    env = {name: os.environ[name] for name in os.environ if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_xla"],
        env=env | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_sums_are_right_in_all_that_compiles_a_users_function(without_flags):
    assert without_flags["xla.jit"] == RIGHT
    for name in ("occlusion.sweep", "topk.scan", "batched.map_batches"):
        assert without_flags[name] == [RIGHT], name


def test_no_ynnpack_in_the_program(without_flags):
    assert "ynn" not in without_flags["program"].lower()
    assert "convolution" in without_flags["program"]


@xla.jit(static_argnames="power")
def raised(x, *, power):
    """To a power."""
    return x**power


def test_it_nests_in_what_jax_transforms():
    assert raised.__doc__ == "To a power."
    x = jnp.asarray([1.0, 3.0])
    assert raised(x, power=2).tolist() == [1, 9]
    assert jax.jit(lambda x: raised(x, power=2) + 1)(x).tolist() == [2, 10]
    assert jax.vmap(lambda x: raised(x, power=2))(x).tolist() == [1, 9]
    assert jax.grad(lambda x: raised(x, power=2).sum())(x).tolist() == [2, 6]
    # On a constant, while another function is traced.
    assert jax.jit(lambda x: x + raised(jnp.ones(2), power=2))(x).tolist() == [2, 4]


@pytest.mark.parametrize("given", ["", "--xla_cpu_enable_fast_math=false"])
def test_flags_of_the_user_stay(given, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", given)
    xla.set_flags()
    flag = "--xla_cpu_experimental_ynn_fusion_type="
    assert os.environ["XLA_FLAGS"] == f"{given} {flag}".strip()


def test_a_choice_of_the_user_stays(monkeypatch):
    chosen = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_REDUCE"
    monkeypatch.setenv("XLA_FLAGS", chosen)
    xla.set_flags()
    assert os.environ["XLA_FLAGS"] == chosen


if __name__ == "__main__":
    main()
