"""The emulated precision of GPUs and TPUs: factors rounded, sums in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from benchmarks import rounding
from zf_jax import convnet
from zf_jax.layers import Conv, Layer, Pool, Relu
from zf_jax.spec import Input, Spec


def test_factors_of_products_are_rounded():
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=(8, 8)).astype(np.float32) for _ in range(2))
    found = rounding.round_factors(lambda x, w: jnp.sin(x @ w) + x, 7)(x, w)
    a, b = (np.asarray(each, jnp.bfloat16).astype(np.float32) for each in (x, w))
    # What is no product stays as it is: the sine of the product, and the sum with x.
    np.testing.assert_allclose(found, np.sin(a @ b) + x, rtol=1e-5, atol=1e-6)
    assert np.abs(found - (np.sin(x @ w) + x)).max() > 1e-3


@pytest.mark.parametrize(("mantissa", "same"), [(23, True), (7, False)])
def test_a_net_and_its_switches(mantissa, same):
    ops = (Conv(4, 3), Relu(), Pool(2, 2))
    net = Spec("small", Input(18), (Layer("layer1", ops),))
    images = np.random.default_rng(1).normal(size=(2, 18, 18, 3)).astype(np.float32)
    model = convnet.ConvNet(net, kernel_init=jax.nn.initializers.he_normal())
    params = model.init(jax.random.key(0), images)

    def apply(params, images):
        outputs, trace = model.apply(params, images)
        return outputs, trace.switches

    want, switches = jax.jit(apply)(params, images)
    found, others = jax.jit(rounding.round_factors(apply, mantissa))(params, images)
    assert others["layer1"].shape == switches["layer1"].shape
    assert np.allclose(found, want, rtol=1e-6, atol=1e-6) == same


def test_convolutions_are_rounded():
    x = jnp.full((1, 1, 3, 3), 1 + 2.0**-9)
    w = jnp.ones((1, 1, 3, 3))
    conv = rounding.round_factors(lambda x, w: lax.conv(x, w, (1, 1), "VALID"), 7)
    assert float(conv(x, w)[0, 0, 0, 0]) == 9.0
