"""Max pooling, switches, unpooling: by hand, against JAX and a NumPy loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from zf_jax.layers import Pool
from zf_jax.ops import pooling

# Compiled as wholes: a window's slices dispatched one at a time take far longer.
pool = jax.jit(pooling.pool, static_argnums=0)
pick = jax.jit(pooling.pool_with_switches, static_argnums=0)
unpool = jax.jit(pooling.unpool, static_argnums=(0, 3))

UP = ((0, 1), (0, 1))


# op, shape of the input.
CASES = {
    "overlapping": (Pool(), (2, 7, 9, 3)),
    "rounded up": (Pool(3, 2, UP), (2, 8, 7, 2)),
    "remainder": (Pool(2, 2), (1, 7, 5, 2)),
    "gaps": (Pool(2, 3), (1, 8, 9, 2)),
    "stride 1": (Pool(3, 1, 1), (1, 5, 6, 2)),
    "rectangular": (Pool((2, 4), (3, 1), ((1, 0), (0, 3))), (2, 6, 5, 2)),
    "one position": (Pool((4, 5), 1), (2, 4, 5, 2)),
}
ALL = pytest.mark.parametrize(("op", "shape"), CASES.values(), ids=CASES)


def normal(shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(values, jnp.float32)


def rows(*values) -> jax.Array:
    """One image of one channel."""
    return jnp.asarray(values, jnp.float32)[None, :, :, None]


def show(x) -> list:
    return x[0, :, :, 0].tolist()


def switches_by_loop(op: Pool, x: np.ndarray) -> np.ndarray:
    """The definition, one window at a time: NumPy's argmax takes the first of ties."""
    fill = ((0, 0), *op.padding, (0, 0))
    x = np.pad(x.astype(np.float64), fill, constant_values=-np.inf)
    (height, width), (down, right) = op.size, op.stride
    sizes = [
        (length - size) // step + 1
        for length, size, step in zip(x.shape[1:3], op.size, op.stride, strict=True)
    ]
    found = np.zeros((len(x), *sizes, x.shape[-1]), np.uint8)
    for i, j in np.ndindex(*sizes):
        top, left = i * down, j * right
        window = x[:, top : top + height, left : left + width]
        found[:, i, j] = window.reshape(len(x), -1, x.shape[-1]).argmax(1)
    return found


def test_golden_overlapping():
    # By hand: 3x3 windows with stride 2 over 5x5; the 9 in the middle is in all four,
    # and stands at the last, third last, ... entry of each.
    x = rows(
        (1, 2, 3, 4, 5),
        (0, 0, 0, 0, 0),
        (0, 0, 9, 0, 0),
        (0, 0, 0, 0, 0),
        (6, 0, 0, 0, 7),
    )
    values, switches = pool(Pool(3, 2), x)
    assert show(values) == [[9, 9], [9, 9]]
    assert switches.dtype == jnp.uint8
    assert show(switches) == [[8, 6], [2, 0]]
    # The four signals of the backward pass meet in the middle and add.
    down = unpool(Pool(3, 2), rows((1, 2), (4, 8)), switches, x.shape)
    expected = np.zeros((5, 5))
    expected[2, 2] = 15
    assert show(down) == expected.tolist()


def test_golden_rectangular():
    # By hand: 2x3 windows side by side; counted row by row, entry 1 0 is number 3.
    x = rows((1, 2, 3, 0, 0, 0), (9, 0, 0, 0, 0, 8))
    values, switches = pool(Pool((2, 3), (2, 3)), x)
    assert show(values) == [[9, 8]]
    assert show(switches) == [[3, 5]]
    down = unpool(Pool((2, 3), (2, 3)), rows((5, -7)), switches, x.shape)
    assert show(down) == [[0, 0, 0, 0, 0, 0], [5, 0, 0, 0, 0, -7]]


def test_golden_padding():
    # By hand: negative values, so that a padding of zeros would win. One row on top
    # and one column on the right: the corner window holds -2 alone, as its entry 2.
    x = rows((-1, -2), (-3, -4))
    op = Pool(2, 2, ((1, 1), (0, 0)))
    values, switches = pool(op, x)
    assert show(values) == [[-1], [-3]]
    assert show(switches) == [[2], [0]]
    op = Pool(2, 1, ((1, 0), (0, 1)))
    values, switches = pool(op, x)
    assert show(values) == [[-1, -2], [-1, -2]]
    assert show(switches) == [[2, 2], [0, 0]]
    down = unpool(op, rows((1, 10), (100, 1000)), switches, x.shape)
    assert show(down) == [[101, 1010], [0, 0]]


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0])
def test_ties_go_to_the_first(value):
    x = jnp.full((1, 4, 4, 1), value)
    values, switches = pool(Pool(2, 2), x)
    assert show(switches) == [[0, 0], [0, 0]]
    assert show(values) == [[value, value], [value, value]]
    # By hand: of the entries in the image, the first: with padding on top and on the
    # left that is the last entry of the first window.
    _, switches = pool(Pool(2, 2, ((1, 1), (1, 1))), x)
    assert show(switches) == [[3, 2, 2], [1, 0, 0], [1, 0, 0]]


def test_the_last_of_255_entries():
    # By hand: the largest window there is; its last entry counts 254, below NOWHERE.
    x = jnp.zeros((1, 15, 17, 1)).at[0, 14, 16, 0].set(1)
    values, switches = pool(Pool((15, 17)), x)
    assert show(values) == [[1]]
    assert show(switches) == [[254]]


def with_ties(shape, seed=0):
    """Whole numbers, of which windows hold the largest more than once."""
    return jnp.round(normal(shape, seed))


@ALL
@pytest.mark.parametrize("draw", [normal, with_ties])
def test_pooling_against_jax_and_a_loop(op, shape, draw):
    x = draw(shape)
    values, switches = pool(op, x)
    expected = lax.reduce_window(
        x,
        -jnp.inf,
        lax.max,
        (1, *op.size, 1),
        (1, *op.stride, 1),
        ((0, 0), *op.padding, (0, 0)),
    )
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(switches, switches_by_loop(op, np.asarray(x)))
    # Exact: of each sum one term counts.
    np.testing.assert_array_equal(pick(op, x, switches), values)


@ALL
@pytest.mark.parametrize("draw", [normal, with_ties])
def test_unpooling_is_the_gradient_of_pooling(op, shape, draw):
    x = draw(shape)
    values, transpose, switches = jax.vjp(lambda x: pool(op, x), x, has_aux=True)
    # Whole numbers: overlaps add without rounding, in any order.
    signal = jnp.round(10 * normal(values.shape, 2))
    down = unpool(op, signal, switches, shape)
    assert down.shape == shape
    np.testing.assert_array_equal(transpose(signal)[0], down)
    # Nothing is lost or made: every window's signal arrives once.
    assert down.sum() == signal.sum()
    # And it is the transpose of pooling with the switches fixed. float32 sums of at
    # most 200 products of order 1.
    other = normal(shape, 1)
    left, right = jnp.vdot(pick(op, other, switches), signal), jnp.vdot(other, down)
    np.testing.assert_allclose(left, right, rtol=1e-5)


def test_overlaps_add_as_in_jax():
    # jax.lax's own gradient of max pooling (select_and_scatter_add), without ties.
    op, x = Pool(3, 2, UP), normal((1, 8, 8, 4))
    pad = ((0, 0), *op.padding, (0, 0))

    def reference(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pad)

    values, transpose = jax.vjp(reference, x)
    signal = jnp.round(10 * normal(values.shape, 2))
    _, switches = pool(op, x)
    np.testing.assert_array_equal(
        unpool(op, signal, switches, x.shape), transpose(signal)[0]
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes(dtype):
    x = normal((1, 6, 6, 2)).astype(dtype)
    values, switches = pool(Pool(), x)
    assert values.dtype == dtype
    assert switches.dtype == jnp.uint8
    assert pick(Pool(), x, switches).dtype == dtype
    assert unpool(Pool(), values, switches, x.shape).dtype == dtype


def test_minus_infinity():
    # By hand: what is minus infinity loses to anything finite, wherever it stands; a
    # window of nothing else is a tie. Unpooling is linear in the signal alone, so no
    # infinity of the image comes down as NaN (0 * inf).
    low = -np.inf
    x = rows((low, -5, low, low), (low, low, low, low))
    values, switches = pool(Pool(2, 2), x)
    assert show(values) == [[-5, low]]
    assert show(switches) == [[1, 0]]
    np.testing.assert_array_equal(pick(Pool(2, 2), x, switches), values)
    down = unpool(Pool(2, 2), rows((3, 4)), switches, x.shape)
    assert show(down) == [[0, 3, 4, 0], [0, 0, 0, 0]]


def test_nowhere_passes_nothing_on():
    # By hand: of two windows side by side the first had its largest entry last.
    switches = jnp.asarray([[3, pooling.NOWHERE]], jnp.uint8)[None, :, :, None]
    down = unpool(Pool(2, 2), rows((5, 7)), switches, (1, 2, 4, 1))
    assert show(down) == [[0, 0, 0, 0], [0, 5, 0, 0]]


@pytest.mark.parametrize("entry", range(4))
def test_nan_is_not_swallowed(entry):
    # As lax.reduce_window and NumPy: the largest of values with a NaN is NaN. A net
    # that has diverged must not look healthy above its pools.
    x = jnp.arange(4.0).at[entry].set(jnp.nan).reshape(1, 2, 2, 1)
    values, _ = pool(Pool(2, 2), x)
    assert np.isnan(show(values)[0][0])
