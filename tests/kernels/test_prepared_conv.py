"""Which convolutions take another form than XLA's, and that both give the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from zf_jax.kernels import prepared_conv

SIZE = {"N": 2, "H": 8, "W": 7, "C": 16}
PLAIN = {"padding": ((1, 1), (0, 2)), "window_strides": (1, 1)}


def traced(
    x="NHWC",
    kernel="HWIO",
    out="NHWC",
    size=(3, 3),
    sizes=SIZE,
    channels_out=4,
    **settings,
):
    """An equation of a convolution, its operands and its function."""
    rng = np.random.default_rng(0)
    channels = sizes["C"] // settings.get("feature_group_count", 1)
    of_kernel = {"H": size[0], "W": size[1], "I": channels, "O": channels_out}
    operands = [
        jnp.asarray(rng.normal(size=[lengths[axis] for axis in layout]), jnp.float32)
        for lengths, layout in ((sizes, x), (of_kernel, kernel))
    ]

    def convolve(x_, kernel_):
        return lax.conv_general_dilated(
            x_, kernel_, **PLAIN | settings, dimension_numbers=(x, kernel, out)
        )

    (equation,) = jax.make_jaxpr(convolve)(*operands).eqns
    return equation, operands, convolve


@pytest.mark.parametrize(
    "layouts",
    [("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW"), ("CHWN", "IHWO", "NHCW")],
)
def test_winograd_equals_the_convolution(layouts):
    equation, (x, kernel), convolve = traced(*layouts)
    conv = prepared_conv.winograd_or_none(equation)
    got, want = conv.apply(x, conv.prepare(kernel)), convolve(x, kernel)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    assert jnp.abs(got - want).max() < 4e-6 * jnp.abs(want).max()


def test_another_padding_than_its_own():
    equation, (x, kernel), _ = traced(padding=((0, 0), (0, 0)))
    conv = prepared_conv.winograd_or_none(equation, ((1, 1), (0, 2)))
    want = traced()[2](x, kernel)
    got = conv.apply(x, conv.prepare(kernel))
    assert jnp.abs(got - want).max() < 4e-6 * jnp.abs(want).max()


@pytest.mark.parametrize(
    "settings",
    [
        {"size": (5, 5)},
        {"window_strides": (2, 2)},
        {"lhs_dilation": (2, 2)},
        {"rhs_dilation": (2, 2)},
        {"feature_group_count": 4},
        # Few channels; one position, which takes a tile of 36 products in place of 9.
        {"sizes": SIZE | {"C": 3}},
        {"sizes": SIZE | {"H": 3, "W": 3}, "padding": ((0, 0), (0, 0))},
    ],
    ids=str,
)
def test_left_to_xla(settings):
    equation, _, _ = traced(**settings)
    assert prepared_conv.winograd_or_none(equation) is None


DEPTHWISE = {"size": (3, 2), "feature_group_count": 16, "channels_out": 16}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"window_strides": (2, 3), "padding": ((0, 0), (2, 1))},
        {"rhs_dilation": (2, 1)},
        {"x": "NCHW", "kernel": "OIHW", "out": "NCHW"},
    ],
    ids=str,
)
def test_depthwise_equals_the_convolution(settings):
    equation, (x, kernel), convolve = traced(**DEPTHWISE | settings)
    conv = prepared_conv.cpu_form_or_none(equation)
    # No dot product is what makes it fast.
    text = str(jax.make_jaxpr(conv.apply)(x, conv.prepare(kernel)))
    assert "conv_general_dilated" not in text
    got, want = conv.apply(x, conv.prepare(kernel)), convolve(x, kernel)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"channels_out": 32},
        {"feature_group_count": 8},
        {"lhs_dilation": (2, 2)},
        {"size": (8, 7)},
        {"out": "NCHW"},
    ],
    ids=str,
)
def test_depthwise_left_to_xla(settings):
    equation, _, _ = traced(**DEPTHWISE | settings)
    assert prepared_conv.depthwise_or_none(equation) is None


def test_no_convolution_has_no_kernel():
    (equation,) = jax.make_jaxpr(jnp.sin)(1.0).eqns
    assert prepared_conv.winograd_or_none(equation) is None
