"""One residual network in six frameworks: the same hidden values, the same projections.

The network: a convolution, batch normalisation, ReLU, max pooling, a block that adds
such a convolution to its input, the mean, a dense layer. All frameworks get the same
weights, so that each checks the others.
"""

import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from zf_jax import deconvnet
from zf_jax.transforms import capture

# What a framework warns of while it is imported is its own affair.
pytestmark = pytest.mark.filterwarnings("ignore")

CHANNELS, CLASSES, EPSILON = 8, 5, 1e-5
IMAGES = np.random.default_rng(0).normal(size=(3, 12, 14, 3)).astype(np.float32)


def _weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    drawn = {"dense": rng.normal(size=(CHANNELS, CLASSES)), "dense bias": np.ones(5)}
    for name, before in (("stem", 3), ("block", CHANNELS)):
        kernel = rng.normal(size=(3, 3, before, CHANNELS), scale=(4.5 * before) ** -0.5)
        drawn |= {f"{name} kernel": kernel, f"{name} bias": rng.normal(size=CHANNELS)}
        for part in ("mean", "var", "scale", "offset"):
            values = rng.normal(size=CHANNELS, scale=0.2)
            is_positive = part in ("var", "scale")
            drawn[f"{name} {part}"] = np.exp(values) if is_positive else values
    return {name: value.astype(np.float32) for name, value in drawn.items()}


W = _weights()


def linen():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            def conv_norm(x, name):
                x = nn.Conv(CHANNELS, (3, 3), name=f"{name}_conv")(x)
                norm = nn.BatchNorm(use_running_average=True, name=f"{name}_norm")
                return norm(x)

            x = nn.max_pool(nn.relu(conv_norm(x, "stem")), (2, 2), (2, 2))
            x = nn.relu(conv_norm(x, "block") + x)
            return nn.Dense(CLASSES, name="dense")(x.mean(axis=(1, 2)))

    params = {"dense": {"kernel": W["dense"], "bias": W["dense bias"]}}
    statistics = {}
    for name in ("stem", "block"):
        kernel, bias = W[f"{name} kernel"], W[f"{name} bias"]
        scale, offset = W[f"{name} scale"], W[f"{name} offset"]
        params[f"{name}_conv"] = {"kernel": kernel, "bias": bias}
        params[f"{name}_norm"] = {"scale": scale, "bias": offset}
        mean, var = W[f"{name} mean"], W[f"{name} var"]
        statistics[f"{name}_norm"] = {"mean": mean, "var": var}
    model, variables = Net(), {"params": params, "batch_stats": statistics}
    return lambda images: model.apply(variables, images)


def nnx_module():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.stem = nnx.Conv(3, CHANNELS, (3, 3), rngs=rngs)
            self.stem_norm = nnx.BatchNorm(CHANNELS, rngs=rngs)
            self.block = nnx.Conv(CHANNELS, CHANNELS, (3, 3), rngs=rngs)
            self.block_norm = nnx.BatchNorm(CHANNELS, rngs=rngs)
            self.dense = nnx.Linear(CHANNELS, CLASSES, rngs=rngs)

        def __call__(self, x):
            x = nnx.relu(self.stem_norm(self.stem(x)))
            x = nnx.max_pool(x, (2, 2), (2, 2))
            x = nnx.relu(self.block_norm(self.block(x)) + x)
            return self.dense(x.mean(axis=(1, 2)))

    model = Net(nnx.Rngs(0))
    model.eval()
    for name in ("stem", "block"):
        conv, norm = getattr(model, name), getattr(model, f"{name}_norm")
        conv.kernel[...], conv.bias[...] = W[f"{name} kernel"], W[f"{name} bias"]
        norm.mean[...], norm.var[...] = W[f"{name} mean"], W[f"{name} var"]
        norm.scale[...], norm.bias[...] = W[f"{name} scale"], W[f"{name} offset"]
    model.dense.kernel[...], model.dense.bias[...] = W["dense"], W["dense bias"]
    graphdef, state = nnx.split(model)
    return lambda images: nnx.merge(graphdef, state)(images)


def equinox():
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(jax.random.key(0), 3)

    class Net(eqx.Module):
        convs: list
        norms: list
        pool: eqx.nn.MaxPool2d
        dense: eqx.nn.Linear

        def __call__(self, x, state):
            x, state = self.norms[0](self.convs[0](x), state)
            x = self.pool(jax.nn.relu(x))
            y, state = self.norms[1](self.convs[1](x), state)
            return self.dense(jax.nn.relu(x + y).mean(axis=(1, 2))), state

    def replaced(module, **arrays):
        names, values = zip(*arrays.items(), strict=True)
        fields = lambda module: [getattr(module, name) for name in names]  # noqa: E731
        return eqx.tree_at(fields, module, list(values))

    convs, norms = [], []
    for name, before, key in (("stem", 3, keys[0]), ("block", CHANNELS, keys[1])):
        conv = eqx.nn.Conv2d(before, CHANNELS, 3, padding=1, key=key)
        kernel = W[f"{name} kernel"].transpose(3, 2, 0, 1)
        bias = W[f"{name} bias"][:, None, None]
        convs.append(replaced(conv, weight=kernel, bias=bias))
        norm = eqx.nn.BatchNorm(CHANNELS, "images", mode="ema", inference=True)
        scale, offset = W[f"{name} scale"], W[f"{name} offset"]
        norms.append(replaced(norm, weight=scale, bias=offset))
    dense = eqx.nn.Linear(CHANNELS, CLASSES, key=keys[2])
    dense = replaced(dense, weight=W["dense"].T, bias=W["dense bias"])
    model = Net(convs, norms, eqx.nn.MaxPool2d(2, 2), dense)
    state = eqx.nn.State(model)
    for norm, name in zip(norms, ("stem", "block"), strict=True):
        statistics = jnp.asarray(W[f"{name} mean"]), jnp.asarray(W[f"{name} var"])
        state = state.set(norm.ema_state_index, statistics)
    one = jax.vmap(lambda image: model(image, state)[0], axis_name="images")
    return lambda images: one(images.transpose(0, 3, 1, 2))


def haiku():
    hk = pytest.importorskip("haiku")

    def forward(x, is_training):
        def conv_norm(x, name):
            x = hk.Conv2D(CHANNELS, 3, name=f"{name}_conv")(x)
            norm = hk.BatchNorm(True, True, 0.9, eps=EPSILON, name=f"{name}_norm")
            return norm(x, is_training=is_training)

        x = jax.nn.relu(conv_norm(x, "stem"))
        x = hk.max_pool(x, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        x = jax.nn.relu(conv_norm(x, "block") + x)
        return hk.Linear(CLASSES, name="dense")(x.mean(axis=(1, 2)))

    net = hk.without_apply_rng(hk.transform_with_state(forward))
    params, state = net.init(jax.random.key(0), IMAGES, is_training=True)
    params["dense"] = {"w": W["dense"], "b": W["dense bias"]}
    for name in ("stem", "block"):
        kernel, bias = W[f"{name} kernel"], W[f"{name} bias"]
        params[f"{name}_conv"] = {"w": kernel, "b": bias}
        for part in ("scale", "offset"):
            params[f"{name}_norm"][part] = W[f"{name} {part}"].reshape(1, 1, 1, -1)
        for part in ("mean", "var"):
            average = W[f"{name} {part}"].reshape(1, 1, 1, -1)
            state[f"{name}_norm/~/{part}_ema"]["average"] = average
    return lambda images: net.apply(params, state, images, is_training=False)[0]


def keras():
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "jax":
        pytest.skip("Keras has another backend than JAX")
    layers = keras.layers

    def conv_norm(x, name):
        x = layers.Conv2D(CHANNELS, 3, padding="same", name=f"{name}_conv")(x)
        return layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_norm")(x)

    inputs = keras.Input(IMAGES.shape[1:])
    x = layers.MaxPooling2D()(layers.ReLU()(conv_norm(inputs, "stem")))
    x = layers.ReLU()(layers.Add()([conv_norm(x, "block"), x]))
    x = layers.Dense(CLASSES, name="dense")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    model.get_layer("dense").set_weights([W["dense"], W["dense bias"]])
    for name in ("stem", "block"):
        conv, norm = model.get_layer(f"{name}_conv"), model.get_layer(f"{name}_norm")
        conv.set_weights([W[f"{name} kernel"], W[f"{name} bias"]])
        parts = ("scale", "offset", "mean", "var")
        norm.set_weights([W[f"{name} {part}"] for part in parts])
    trained = [each.value for each in model.trainable_variables]
    others = [each.value for each in model.non_trainable_variables]
    return lambda images: model.stateless_call(trained, others, images)[0]


def torchax():
    torch = pytest.importorskip("torch")
    try:
        import torchax
    except (ImportError, AttributeError):
        pytest.skip("torchax is not installed, or does not know this release of torch")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, before in (("stem", 3), ("block", CHANNELS)):
                self.add_module(name, torch.nn.Conv2d(before, CHANNELS, 3, padding=1))
                self.add_module(f"{name}_norm", torch.nn.BatchNorm2d(CHANNELS))
            self.dense = torch.nn.Linear(CHANNELS, CLASSES)

        def forward(self, x):
            relu = torch.nn.functional.relu
            # In place, and one function for all, as PyTorch's own ResNets have it.
            x = relu(self.stem_norm(self.stem(x)), inplace=True)
            x = torch.nn.functional.max_pool2d(x, 2)
            x = relu(self.block_norm(self.block(x)) + x, inplace=True)
            return self.dense(x.mean((2, 3)))

    arrays = {"dense.weight": W["dense"].T, "dense.bias": W["dense bias"]}
    for name in ("stem", "block"):
        arrays |= {
            f"{name}.weight": W[f"{name} kernel"].transpose(3, 2, 0, 1),
            f"{name}.bias": W[f"{name} bias"],
            f"{name}_norm.weight": W[f"{name} scale"],
            f"{name}_norm.bias": W[f"{name} offset"],
            f"{name}_norm.running_mean": W[f"{name} mean"],
            f"{name}_norm.running_var": W[f"{name} var"],
        }
    net = Net().eval()
    tensors = {key: torch.from_numpy(each.copy()) for key, each in arrays.items()}
    net.load_state_dict(tensors, strict=False)
    weights, forward = torchax.extract_jax(net)
    return lambda images: forward(weights, (jnp.transpose(images, (0, 3, 1, 2)),))


FRAMEWORKS = [
    pytest.param(nnx_module, "relu_1", id="nnx"),
    pytest.param(equinox, "relu_1", id="equinox"),
    pytest.param(haiku, "relu_1", id="haiku"),
    pytest.param(keras, "re_lu_1/relu", id="keras", marks=pytest.mark.slow),
    pytest.param(torchax, "relu_1", id="torchax", marks=pytest.mark.slow),
]


def _project(apply, layer):
    return deconvnet.project(apply, IMAGES, layer=layer, channel=3)


@pytest.fixture(autouse=True, scope="module")
def _as_users_have_it():
    """Keras and torchax add arrays of different ranks."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def expected():
    apply = linen()
    return apply(IMAGES), _project(apply, "relu_1")


@pytest.mark.parametrize(("make", "layer"), FRAMEWORKS)
def test_frameworks_agree(expected, make, layer):
    apply = make()
    logits, pixels = expected
    np.testing.assert_allclose(apply(IMAGES), logits, rtol=1e-4, atol=1e-5)
    operations = [each.operation for each in capture.layers(apply, IMAGES)]
    block = ["conv", "batch_norm", "add", "relu", "mean", "dense"]
    assert operations == ["conv", "batch_norm", "relu", "max_pool", *block]
    found = _project(apply, layer)
    error = np.abs(found - pixels).max()
    assert error <= 1e-5 * np.abs(pixels).max()
