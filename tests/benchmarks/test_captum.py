"""The deconvnet and guided backpropagation against Captum, on small torch nets.

`references/make_captum.py` made the numbers, and tells which neurons were selected.
"""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from zf_jax import convnet, deconvnet, spec
from zf_jax.layers import Conv, Dense, Flatten, Layer, Pool, Relu

FILE = pathlib.Path(__file__).parents[1] / "references" / "captum.npz"
with np.load(FILE, allow_pickle=False) as file:
    STORED = dict(file)
NETS = json.loads(str(STORED["nets"]))


def make_net(name: str) -> spec.Spec:
    layers, described = [], NETS[name]["layers"]
    for i, numbers in enumerate(described, 1):
        if len(numbers) == 5:
            channels, size, stride, padding, pool = numbers
            ops = (Conv(channels, size, stride, padding), Relu())
            ops += (Pool(pool, 2),) if pool else ()
        else:
            flatten = (Flatten(),) if len(described[i - 2]) == 5 else ()
            relu = (Relu(),) if i < len(described) else ()
            ops = (*flatten, Dense(*numbers), *relu)
        layers.append(Layer(f"layer{i}", ops))
    return spec.Spec(name, spec.Input(tuple(NETS[name]["size"])), tuple(layers))


def make_params(net: spec.Spec) -> dict:
    """Torch's weights in our order: HWIO kernels, rows of Dense by (H, W, C)."""
    params, channels = {}, None
    for layer in net.layers:
        kernel = STORED[f"{net.name}/{layer.name}/kernel"]
        if isinstance(layer.filter, Conv):
            kernel = kernel.transpose(2, 3, 1, 0)
            channels = kernel.shape[-1]
        else:
            if isinstance(layer.ops[0], Flatten):
                kernel = kernel.reshape(len(kernel), channels, -1)
                kernel = kernel.transpose(0, 2, 1).reshape(len(kernel), -1)
            kernel = kernel.T
        bias = STORED[f"{net.name}/{layer.name}/bias"]
        params[layer.name] = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    return params


@pytest.fixture(scope="module", params=list(NETS))
def run(request):
    """A net with Captum's weights, and its trace of Captum's images."""
    net = make_net(request.param)
    params = make_params(net)
    images = jnp.asarray(STORED[f"{net.name}/images"].transpose(0, 2, 3, 1))
    _, trace = convnet.ConvNet(net).apply({"params": params}, images)
    return net, params, trace


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1)


def test_forward_pass_equals_torch(run):
    net, _, trace = run
    for layer in net.layers:
        expected = channels_last(STORED[f"{net.name}/{layer.name}/maps"])
        # float32 sums of at most 200 terms of order 1, in another order.
        np.testing.assert_allclose(
            trace.maps[layer.name], expected, rtol=1e-5, atol=2e-6
        )


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_projection_equals_captum(run, rule):
    net, params, trace = run
    for layer in net.layers:
        for i in range(2):
            at = f"{net.name}/{layer.name}/{i}"
            channel, *position = STORED[f"{at}/neuron"].tolist()
            # Captum seeds with a gradient of 1, isolate with the activation's value.
            maps = jnp.zeros_like(trace.maps[layer.name])
            seed = maps.at[:, *position, channel].set(1.0)
            found = deconvnet.reconstruct(
                net, params, seed, trace, layer=layer.name, rule=rule
            )
            expected = channels_last(STORED[f"{at}/{rule}"])
            assert np.any(expected)
            error = np.abs(found - expected).max() / np.abs(expected).max()
            # A few float32 roundings (6e-8) in each of at most four sums.
            assert error <= 1e-5, at


def test_guided_is_zero_at_a_dead_unit_and_the_deconvnet_is_not():
    # Captum 0.9.0 applies the selected ReLU's own rule, as zf_jax does. That the file
    # holds such a unit makes the comparison above one of this rule too.
    dead = 0
    for name, neuron in STORED.items():
        if name.endswith("/neuron") and "/layer1/" in name:
            at = name.removesuffix("/neuron")
            layer = at.rpartition("/")[0]
            values = STORED[f"{layer}/maps"][(slice(None), *neuron)]
            for image in np.flatnonzero(values == 0):
                dead += 1
                assert not np.any(STORED[f"{at}/guided"][image])
                assert np.any(STORED[f"{at}/deconvnet"][image])
    assert dead > 0
