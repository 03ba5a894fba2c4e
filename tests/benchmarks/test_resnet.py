"""The residual nets that are measured, in JAX and in PyTorch."""

import jax
import numpy as np
import pytest

from benchmarks import resnet
from zf_jax import xla

torch = pytest.importorskip("torch")

from benchmarks import reference_resnet  # noqa: E402 (needs PyTorch)

# As torchvision 0.24 counts those of its own.
PARAMETERS = {"resnet50": 25_557_032, "mobilenetv2": 3_504_872}


@pytest.mark.slow
@pytest.mark.parametrize("name", resnet.NETS)
def test_both_sides_are_the_same_net(name):
    model, variables = resnet.initialise(name)
    found = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert found == PARAMETERS[name]
    size = (1, *resnet.SIZE, 3)
    images = np.random.default_rng(1).normal(size=size).astype(np.float32)
    ours = xla.jit(model.apply)(variables, images)
    with torch.no_grad():
        theirs = reference_resnet.make(name, variables)(
            torch.tensor(images.transpose(0, 3, 1, 2))
        )
    error = np.abs(ours - theirs.numpy()).max() / np.abs(ours).max()
    assert error <= 1e-4
