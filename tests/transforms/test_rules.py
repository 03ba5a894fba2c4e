"""Each rule by itself: an operation behind a window gives what it gives densely."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.transforms.test_incremental import compiled_quickly, normal
from tests.transforms.test_random_nets import assert_incremental
from zf_jax.probes import occlusion
from zf_jax.transforms import context, jaxpr, rules
from zf_jax.transforms.context import Context

ROW = normal(10, seed=3)
KERNEL, PRODUCT = normal(3, 3, 2, 4, seed=1), normal(4, 5, seed=2)


def reversed_both(x):
    return lax.rev(x, (3,)) + lax.rev(x, (1,))


def transposed(x):
    """Rows become columns, and a window's with them."""
    return x.swapaxes(1, 2)


def halves(x):
    """Split along channels, which keeps the window, and along rows, which does not."""
    one, other = jnp.split(x, 2, axis=3)
    upper, lower = jnp.split(x, 2, axis=1)
    return one * other, upper + lower


def joined(x):
    return jnp.concatenate([x, x**2], axis=3), jnp.concatenate([x, x], axis=2)


def one_channel(x):
    first = lax.squeeze(x[..., :1], (3,))
    return first, jnp.broadcast_to(first[:, None], (len(x), 2, *first.shape[1:]))


def reshaped(x):
    flat = x.reshape(len(x), -1)
    return x.reshape(*x.shape[:3], 2, 2).sum(axis=3), flat[:, ::3]


def products(x):
    """The window in the second operand, in the first, and contracted."""
    return (
        jnp.einsum("cd,nhwc->dnhw", PRODUCT, x).transpose(1, 2, 3, 0),
        x @ PRODUCT,
        jnp.einsum("nhwc,h->nwc", x, ROW),
    )


def of_two_sizes(x):
    """Windows of operands that do not fit each other: a row beside the whole map."""
    return x + x.mean(axis=1, keepdims=True), x * x[:, :1]


def pooled_along_channels(x):
    windows = (1, 1, 1, 2), (1, 1, 1, 1), "VALID"
    return lax.reduce_window(x, 0.0, lax.add, *windows)


def pooled_below_zero(x):
    """Padding never is the largest value or the smallest, whatever their signs."""
    windows = (1, 3, 3, 1), (1, 2, 2, 1), "SAME"
    below, above = -1 - jnp.abs(x), 1 + jnp.abs(x)
    return (
        lax.reduce_window(below, -jnp.inf, lax.max, *windows),
        lax.reduce_window(above, jnp.inf, lax.min, *windows),
    )


def dilated_filter(x):
    """Reads 5 rows and 7 columns for each value, with gaps between them."""
    return lax.conv_general_dilated(
        x,
        normal(3, 3, 4, 2),
        (1, 1),
        "SAME",
        rhs_dilation=(2, 3),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def dilated_first(x):
    """Transposed convolutions: one is followed, one also steps, and is not."""
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    kernel = normal(2, 3, 4, 3)
    return (
        lax.conv_transpose(x, kernel, (2, 3), "VALID", **options),
        lax.conv_general_dilated(
            x, kernel, (2, 1), ((3, 1), (0, 2)), lhs_dilation=(3, 2), **options
        ),
    )


def padded_between(x):
    zero = jnp.zeros((), x.dtype)
    around = lax.pad(x, zero, ((0, 0, 0), (1, 2, 0), (0, -1, 0), (0, 0, 0)))
    between = lax.pad(x, zero + 1, ((0, 0, 0), (1, 0, 2), (-1, 2, 1), (0, 0, 0)))
    return around, between


def padded_by_a_value(x):
    """What is only known when the function runs: the whole map."""
    return lax.pad(x, normal(1).sum(), ((0, 0, 0), (1, 1, 0), (0, 0, 0), (0, 0, 0)))


def mirrored(x):
    widths = (0, 0), (2, 1), (0, 3), (0, 0)
    return [jnp.pad(x, widths, mode=mode) for mode in ("reflect", "edge", "symmetric")]


def resized(x):
    """Both ways, rows more and columns fewer; a narrow band of a matrix at most."""
    shape = len(x), 2 * x.shape[1], 5, x.shape[3]
    return [jax.image.resize(x, shape, method) for method in ("nearest", "bilinear")]


def taken(x):
    """By constant indices; by such as depend on the image; single entries."""
    index = np.array([3, 3, 0, 5])

    def of_one(x):
        return jnp.take(x, x[0, :, 0].argmax()[None], axis=1)

    return (
        jnp.take(x, index, axis=1),
        jax.vmap(of_one)(x),
        x[:, index, index],
        lax.dynamic_slice_in_dim(x, 2, 3, axis=2),
    )


def depth_to_space(x):
    n, h, w, _ = x.shape
    x = x.reshape(n, h, w, 2, 2).transpose(0, 1, 3, 2, 4)
    x = x.reshape(n, 2 * h, 2 * w)
    return x, x.reshape(n, h, 2, w, 2).transpose(0, 1, 3, 2, 4)


def joined_beside(x):
    """Windows in some of the operands, at other places of the result."""
    upper = jnp.ones((len(x), 2, *x.shape[2:]), x.dtype)
    return (
        jnp.concatenate([upper, x, 2 * x], axis=1),
        jnp.concatenate([upper > 0, x > 0], axis=1),
    )


OPERATIONS = (
    reversed_both,
    transposed,
    halves,
    joined,
    one_channel,
    reshaped,
    products,
    of_two_sizes,
    pooled_along_channels,
    pooled_below_zero,
    dilated_filter,
    dilated_first,
    padded_between,
    padded_by_a_value,
    mirrored,
    resized,
    taken,
    depth_to_space,
    joined_beside,
)


@pytest.mark.parametrize(
    "operations",
    [OPERATIONS[:6], OPERATIONS[6:11], OPERATIONS[11:]],
    ids=["moves axes", "slides", "places"],
)
def test_every_operation(operations):
    def model_fn(images):
        x = lax.conv_general_dilated(
            images, KERNEL, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        # Channels first and back, so that windows have moved before what follows.
        x = jnp.tanh(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
        return jax.tree.leaves([operation(x) for operation in operations])

    grid = occlusion.grid((10, 12), (2, 3), (4, 9))
    with compiled_quickly():
        image, fill = normal(10, 12, 2), normal(1, 1, 1, 2, seed=5)
        assert_incremental(model_fn, image, fill, grid, None)


def test_a_deep_network_is_not_searched_for_constants():
    def deep(images):
        for _ in range(1200):
            images = images + 1
        # The product asks whether its other side is a constant.
        return images[:, 0, 0] @ images[:, 0, 0].T

    traced = jax.make_jaxpr(deep)(jnp.zeros((1, 2, 2, 3))).jaxpr
    known = context.Context(traced.eqns)
    assert known.constant(traced.outvars[0]) is None


X = jax.ShapeDtypeStruct((2, 6, 4, 4), jnp.float32)


def pooled_in_pairs(x):
    """The largest value, and what lies where it does."""

    def larger(one, other):
        pairs = zip(one, other, strict=True)
        return tuple(jnp.where(one[0] > other[0], a, b) for a, b in pairs)

    windows = (1, 2, 2, 1), (1, 1, 1, 1), "VALID"
    return lax.reduce_window((x, -x), (-jnp.inf, 0.0), larger, *windows)


def pooled_from_a_value(x):
    def product(a, b):
        return a * b

    return lax.reduce_window(x, x[0, 0, 0, 0], product, (1, 2, 2, 1), (1,) * 4, "SAME")


@pytest.mark.parametrize(
    "function",
    [
        lambda x: lax.conv_general_dilated(
            x, normal(4, 6, 3, 3), (1, 1), "SAME", batch_group_count=2
        ),
        pooled_in_pairs,
        pooled_from_a_value,
        lambda x: lax.pad(x, x[0, 0, 0, 0], ((0, 0, 0), (1, 1, 0), *2 * [(0, 0, 0)])),
        lambda x: x[:, np.array([0, 2]), np.array([1, 1])],
        lambda x: x[:, x[0, :2, 0, 0].astype(int)],
        lambda x: jnp.take(x, np.array([0, 9]), axis=1, mode="fill"),
        lambda x: jnp.sort(x, axis=1),
        lambda x: lax.reshape(x, (192,), dimensions=(1, 0, 2, 3)),
    ],
    ids=[
        "groups of images",
        "pairs",
        "a pool's value",
        "a pad's value",
        "two axes",
        "indices of the image",
        "beyond",
        "sorted",
        "transposed",
    ],
)
def test_what_has_no_rule(function):
    program = jaxpr.inlined(function, X)[0].jaxpr
    context = Context(program.eqns)
    assert any(rules.access(each, context) is None for each in program.eqns)
