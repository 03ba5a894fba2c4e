"""Convolution and its transpose: by hand, against a NumPy loop, and adjointness."""

import jax.numpy as jnp
import numpy as np
import pytest

from zf_jax.layers import Conv, Dense
from zf_jax.ops import conv

UP = ((0, 1), (0, 1))
# op, shape of the input [N, H, W, C]. Strides that leave a remainder, asymmetric
# padding, padding alone on one side, groups (of one channel each, too), rectangles.
CASES = {
    "plain": (Conv(4, 3), (2, 6, 5, 3)),
    "stride 2, rounded up": (Conv(4, 3, 2, UP), (1, 8, 7, 2)),
    "stride 4": (Conv(3, 5, 4, ((0, 3), (2, 0))), (1, 14, 11, 2)),
    "stride above size": (Conv(2, 2, 3), (1, 9, 10, 2)),
    "rectangular": (Conv(3, (2, 5), (1, 3), ((1, 0), (2, 3))), (2, 5, 9, 2)),
    "groups": (Conv(6, 3, 2, 1, groups=2), (2, 7, 6, 4)),
    "depthwise": (Conv(6, (3, 1), groups=3), (1, 5, 4, 3)),
    "1 x 1": (Conv(5, 1), (1, 3, 4, 2)),
    "more padding than window": (Conv(2, 2, 1, 3), (1, 3, 3, 1)),
}


def normal(shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(values, jnp.float32)


def kernel_for(op, channels, seed=1):
    return normal((*op.size, channels // op.groups, op.maps), seed)


def correlate(op: Conv, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The definition, one output at a time, in float64."""
    x = np.pad(x.astype(np.float64), ((0, 0), *op.padding, (0, 0)))
    (rows, columns), (down, right) = op.size, op.stride
    height = (x.shape[1] - rows) // down + 1
    width = (x.shape[2] - columns) // right + 1
    found = np.zeros((len(x), height, width, op.maps))
    inputs, outputs = kernel.shape[2], op.maps // op.groups
    for i, j, m in np.ndindex(height, width, op.maps):
        group = m // outputs
        window = x[:, i * down :, j * right :, group * inputs :]
        window = window[:, :rows, :columns, :inputs]
        found[:, i, j, m] = (window * kernel[..., m]).sum((1, 2, 3))
    return found


def test_golden():
    # By hand: correlation (no flip) of rows 1 2 3 / 4 5 6 with 1 10 / 100 1000.
    x = jnp.asarray([[1.0, 2, 3], [4, 5, 6]]).reshape(1, 2, 3, 1)
    kernel = jnp.asarray([[1.0, 10], [100, 1000]]).reshape(2, 2, 1, 1)
    found = conv.conv(Conv(1, 2), x, kernel)
    assert found.shape == (1, 1, 2, 1)
    assert found.ravel().tolist() == [5421, 6532]


def test_golden_transpose():
    # By hand: a signal of 2 at the second position puts twice the filter there;
    # seen as a correlation of the signal, the filter is flipped (section 2.1).
    kernel = jnp.asarray([[1.0, 10], [100, 1000]]).reshape(2, 2, 1, 1)
    signal = jnp.asarray([0.0, 2]).reshape(1, 1, 2, 1)
    found = conv.conv_transpose(Conv(1, 2), signal, kernel, (1, 2, 3, 1))
    assert found[0, :, :, 0].tolist() == [[0, 2, 20], [0, 200, 2000]]


def test_golden_transpose_overlaps_add():
    # By hand: filter 1 2 3 with stride 2 from positions 0 and 2; they share entry 2.
    # The input's last entry is in no window: only `shape` tells that it is there.
    kernel = jnp.asarray([1.0, 2, 3]).reshape(1, 3, 1, 1)
    signal = jnp.asarray([10.0, 1]).reshape(1, 1, 2, 1)
    found = conv.conv_transpose(Conv(1, (1, 3), 2), signal, kernel, (1, 1, 6, 1))
    assert found.ravel().tolist() == [10, 20, 31, 2, 3, 0]


@pytest.mark.parametrize(("op", "shape"), CASES.values(), ids=CASES)
def test_against_a_loop(op, shape):
    x, kernel = normal(shape), kernel_for(op, shape[-1])
    found = conv.conv(op, x, kernel)
    # float32 sums of at most 50 terms of order 1.
    np.testing.assert_allclose(
        found, correlate(op, np.asarray(x), np.asarray(kernel)), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("op", "shape"), CASES.values(), ids=CASES)
def test_adjoint(op, shape):
    x, kernel = normal(shape), kernel_for(op, shape[-1])
    up = conv.conv(op, x, kernel)
    signal = normal(up.shape, 2)
    down = conv.conv_transpose(op, signal, kernel, shape)
    assert down.shape == shape
    left, right = jnp.vdot(up, signal), jnp.vdot(x, down)
    # Both are sums of float32 products, so the error scales with the norms.
    scale = jnp.linalg.norm(up) * jnp.linalg.norm(signal)
    assert abs(left - right) <= 1e-5 * scale


@pytest.mark.parametrize("batch", [1, 3])
def test_dense(batch):
    # By hand: x W in the forward pass, W^T in the backward pass.
    kernel = jnp.asarray([[1.0, 10], [2, 20], [3, 30]])
    x = jnp.asarray([[1.0, 1, 2]]).repeat(batch, 0)
    assert conv.conv(Dense(2), x, kernel).tolist() == [[9, 90]] * batch
    signal = jnp.asarray([[1.0, -1]]).repeat(batch, 0)
    down = conv.conv_transpose(Dense(2), signal, kernel, (batch, 3))
    assert down.tolist() == [[-9, -18, -27]] * batch


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes(dtype):
    op = Conv(2, 3, 2, 1)
    kernel = kernel_for(op, 3)
    x = normal((1, 5, 5, 3)).astype(dtype)
    up = conv.conv(op, x, kernel.astype(dtype))
    assert up.dtype == dtype
    # Parameters stay float32; the signal's dtype decides that of the transpose.
    down = conv.conv_transpose(op, up, kernel, x.shape)
    assert down.dtype == dtype
