"""Weights for nets in tests, drawn by NumPy: JAX's would be compiled for each shape."""

import numpy as np

from zf_jax import geometry
from zf_jax.spec import Spec


def he_normal(net: Spec, seed: int = 0, *, bias: float = 0.0) -> dict:
    """Kernels that keep the maps at order 1 (He et al. 2015), biases of this scale."""
    rng = np.random.default_rng(seed)

    def draw(shape, scale):
        return np.float32(scale * rng.normal(size=shape))

    return {
        name: {
            "kernel": draw(kernel, np.sqrt(2 / np.prod(kernel[:-1]))),
            "bias": draw(biases, bias),
        }
        for name, (kernel, biases) in geometry.parameter_shapes(net).items()
    }
