"""Local response normalisation against the formula of Krizhevsky et al. 2012."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zf_jax.layers import LRN
from zf_jax.ops import lrn

normalise = jax.jit(lrn.normalise, static_argnums=0)


def normal(shape, scale=1.0):
    values = scale * np.random.default_rng(0).normal(size=shape)
    return jnp.asarray(values, jnp.float32)


def formula(op: LRN, x: np.ndarray) -> np.ndarray:
    """b_i = a_i / (k + alpha * sum_j a_j^2)^beta, channel by channel, in float64.

    Krizhevsky: j from max(0, i - n / 2) to min(N - 1, i + n / 2), rounded down for
    odd n; for even n as ONNX's LRN (opset 13): i - floor((n - 1) / 2) to
    i + ceil((n - 1) / 2).
    """
    x = x.astype(np.float64)
    channels, found = x.shape[-1], np.zeros(x.shape)
    for i in range(channels):
        first = max(0, i - int(np.floor((op.size - 1) / 2)))
        last = min(channels - 1, i + int(np.ceil((op.size - 1) / 2)))
        total = sum(x[..., j] ** 2 for j in range(first, last + 1))
        found[..., i] = x[..., i] / (op.k + op.alpha * total) ** op.beta
    return found


def test_golden():
    # By hand: n = 3, k = 1, alpha = 1, beta = 1: 2 / (1 + 4 + 9), 3 / (1 + 4 + 9 + 1)
    # and 1 / (1 + 9 + 1).
    found = normalise(LRN(3, 1.0, 1.0, 1.0), jnp.asarray([2.0, 3.0, 1.0]))
    # The power rounds in float32.
    np.testing.assert_allclose(found, [2 / 14, 3 / 15, 1 / 11], rtol=1e-6)


def test_golden_even_size():
    # By hand, n = 2: a channel and the one after it (ONNX).
    found = normalise(LRN(2, 1.0, 1.0, 1.0), jnp.asarray([2.0, 3.0, 1.0]))
    np.testing.assert_allclose(found, [2 / 14, 3 / 11, 1 / 2], rtol=1e-6)


@pytest.mark.parametrize(
    ("op", "channels"),
    [
        (LRN(), 7),
        (LRN(5, 1.0, 2e-5, 0.75), 7),  # BVLC AlexNet: alpha 1e-4 divided by n
        (LRN(3, 1.0, 0.5, 0.5), 2),
        (LRN(1, 2.0, 0.1, 0.75), 1),
        (LRN(4, 2.0, 0.1, 0.75), 7),
        (LRN(15, 2.0, 0.1, 0.75), 7),
    ],
    ids=str,
)
def test_against_the_formula(op, channels):
    # Of the size of activations, so that alpha = 1e-4 matters; more neighbours than
    # channels, and channels at either edge.
    x = normal((2, 2, 3, channels), scale=60.0)
    found = normalise(op, x)
    # A few float32 roundings and one power.
    np.testing.assert_allclose(found, formula(op, np.asarray(x)), rtol=2e-6)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_shape_and_dtype(shape, dtype):
    found = normalise(LRN(), normal(shape).astype(dtype))
    assert found.shape == shape
    assert found.dtype == dtype


# Even windows reach one channel further on one side.
@pytest.mark.parametrize("op", [LRN(3, 2.0, 0.5, 0.75), LRN(4, 2.0, 0.5, 0.6)])
def test_gradient_against_differences(op):
    x = np.asarray(normal((6,)), np.float64)
    found = jax.jacrev(lambda x: normalise(op, x))(jnp.asarray(x, jnp.float32))
    step = 1e-6
    expected = [
        (formula(op, x + step * unit) - formula(op, x - step * unit)) / (2 * step)
        for unit in np.eye(6)
    ]
    # Central differences in float64 are good to 1e-9; float32 to some 1e-7.
    np.testing.assert_allclose(found, np.transpose(expected), rtol=1e-5, atol=1e-6)
