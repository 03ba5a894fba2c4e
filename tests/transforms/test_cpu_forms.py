"""Functions whose depthwise convolutions are computed as sums."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax.transforms import cpu_forms

KERNEL = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 1, 4)), jnp.float32)
X = jnp.asarray(np.random.default_rng(1).normal(size=(2, 6, 5, 4)), jnp.float32)


def net(kernel, x):
    x = lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=4,
    )
    return {"maps": jax.nn.relu(jax.jit(jnp.sin)(x)), "sum": x.sum()}


def test_the_same_function_without_the_convolution():
    fast = cpu_forms.depthwise(net, "cpu")
    assert "conv_general_dilated" not in str(jax.make_jaxpr(fast)(KERNEL, X))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        fast(KERNEL, X),
        net(KERNEL, X),
    )


def test_its_derivative_is_the_functions():
    # Of jax.nn.relu at 0, too, where that of a maximum is 1/2.
    got, want = (
        jax.grad(lambda x, f=f: f(KERNEL, x)["maps"].sum())(X * 0)
        for f in (cpu_forms.depthwise(net, "cpu"), net)
    )
    np.testing.assert_array_equal(got, want)


def test_other_platforms_keep_their_convolutions():
    assert cpu_forms.depthwise(net, "gpu") is net
