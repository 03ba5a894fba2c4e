"""Every compiled entry point, lowered for TPUs and for CUDA on a machine without them.

What has no lowering there fails here. The probes have forms of their own for a CPU:
these tests take those for an accelerator.
"""

import collections
import functools
import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from zf_jax import convnet, deconvnet, layers, spec
from zf_jax.data.batches import Batch
from zf_jax.probes import occlusion, projection, topk, unit_passes
from zf_jax.training import loop, optimizer, recipe, step
from zf_jax.transforms import closure

PLATFORMS = ("tpu", "cuda")
_Device = collections.namedtuple("_Device", "platform")
ACCELERATOR = (_Device("gpu"),)

# A small net first: all that the larger ones have, groups included.
SMALL = spec.Spec(
    "small",
    spec.Input(20, mean=(128.0, 128.0, 128.0)),
    (
        layers.Layer(
            "layer1",
            (
                layers.Conv(8, 3, 2, ((0, 1), (0, 1))),
                layers.Relu(),
                layers.Pool(3, 2, ((0, 1), (0, 1))),
                layers.LRN(),
            ),
        ),
        layers.Layer("layer2", (layers.Conv(8, 3, 1, 1, groups=2), layers.Relu())),
        layers.Layer(
            "layer3",
            (layers.Flatten(), layers.Dense(9), layers.Relu(), layers.Dropout()),
        ),
        layers.Layer("layer4", (layers.Dense(4),)),
    ),
)
LARGE = [
    pytest.param(net, id=net.name, marks=pytest.mark.slow)
    for net in (spec.ZFNET, spec.ALEXNET, spec.VGG16)
]
NETS = pytest.mark.parametrize("net", [pytest.param(SMALL, id="small"), *LARGE])
# The probes of units of maps take arrays, not their shapes: a net of fewer weights.
FILTERS = pytest.mark.parametrize(
    "net",
    [
        pytest.param(SMALL, id="small"),
        pytest.param(spec.ZFNET.upto("layer5"), id="zfnet", marks=pytest.mark.slow),
    ],
)


@pytest.fixture(autouse=True)
def _float32():
    """As every command of the probes sets it."""
    with jax.default_matmul_precision("float32"):
        yield


def export(function, *arguments):
    """Lowers the function for both; arguments may be abstract."""
    exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
    assert exported.platforms == PLATFORMS
    # No product is left in a GPU's TF32 or a TPU's bfloat16.
    products = re.findall(
        r"= stablehlo\.(?:convolution|dot_general)\b.*", exported.mlir_module()
    )
    assert all(each.count("HIGHEST") == 2 for each in products)
    return exported


def zeros_of(exported):
    """What the function returned, were it all zero."""
    zeros = [np.zeros(each.shape, each.dtype) for each in exported.out_avals]
    return jax.tree.unflatten(exported.out_tree, zeros)


@pytest.fixture
def accelerator(monkeypatch):
    """What is compiled takes the form that is for a GPU or a TPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    yield
    # Later tests are for a CPU.
    unit_passes.unit_passes.cache_clear()
    unit_passes.whole_pass.cache_clear()


@functools.cache
def abstract(net, count=2):
    """The net as a module, its parameters and `count` images; no arrays of them."""
    model = convnet.ConvNet(net)
    images = jax.ShapeDtypeStruct((count, *net.input.size, 3), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    return model, params, images


def batch_of(net, devices=1, count=4):
    """An abstract batch of training."""
    images = jax.ShapeDtypeStruct((devices, count, *net.input.size, 3), jnp.uint8)
    labels = jax.ShapeDtypeStruct((devices, count), jnp.int32)
    return Batch(images, labels, jax.ShapeDtypeStruct((devices, count), bool))


def export_train_step(net, devices=1, **fields):
    how = recipe.Recipe(**fields)
    model, tx = loop.make_model(net, how), optimizer.make_optimizer(how, 100)
    state = jax.eval_shape(lambda: step.first_state(model, tx, seed=0))
    train_step = step.make_train_step(model, tx, accumulate=how.accumulate)
    export(train_step, state, batch_of(net, devices))
    return model, state


@NETS
def test_a_training_step(net):
    model, state = export_train_step(net)
    export(step.make_eval_step(model), state.params, batch_of(net))


def test_a_training_step_in_bfloat16_and_in_parts():
    export_train_step(SMALL, dtype="bfloat16", accumulate=2)


@pytest.mark.devices
def test_a_training_step_on_two_devices():
    export_train_step(SMALL, devices=2)


@NETS
@pytest.mark.parametrize("rule", deconvnet.RULES)
def test_reconstruct(net, rule):
    model, params, images = abstract(net)
    last = net.layers[-1].name

    def pixels(params, images):
        maps, trace = model.apply({"params": params}, images)
        seed = deconvnet.isolate(maps, channel=1)
        return deconvnet.reconstruct(net, params, seed, trace, layer=last, rule=rule)

    export(pixels, params, images)


@NETS
def test_project(net):
    model, params, images = abstract(net)

    def pixels(params, images):
        def apply(images):
            return model.apply({"params": params}, images)[1].maps

        return deconvnet.project(apply, images, layer=net.layers[1].name, channel=1)

    export(pixels, params, images)


@NETS
@pytest.mark.parametrize("method", ["incremental", "full"])
def test_sweep(net, method, accelerator):
    model, params, images = abstract(net, 1)

    def outputs(params, image):
        return occlusion.sweep(
            lambda images: model.apply({"params": params}, images)[0],
            image,
            side=net.input.size[0] // 7,
            stride=net.input.size[0] // 7,
            method=method,
            devices=ACCELERATOR,
        )

    export(outputs, params, jax.ShapeDtypeStruct(images.shape[1:], images.dtype))


def maps_fn(net):
    """A function of images to the maps of each layer, and images for it."""
    model, params, images = abstract(net, count=4)
    params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), params)

    def read(images):
        return model.apply({"params": params}, images)[1].maps

    return read, np.zeros(images.shape, images.dtype)


@FILTERS
def test_the_gallerys_pass(net, monkeypatch):
    read, images = maps_fn(net)
    merge = topk._merge_batch

    def merge_exported(*arguments, **static):
        calls.append(static)
        function = functools.partial(merge, **static | {"devices": ACCELERATOR})
        return zeros_of(export(function, *arguments))

    calls = []
    monkeypatch.setattr(topk, "_merge_batch", merge_exported)
    topk.scan(read, [images])
    assert len(calls) == 1


@pytest.mark.devices
def test_two_devices():
    read, images = maps_fn(SMALL)
    devices = tuple(jax.local_devices())
    export(lambda x: occlusion.sweep(read, x, side=4, devices=devices), images[0])
    best = {"maps": topk.empty(3, k=2)}
    pieces = np.zeros((2, 1, 4, 4, 4, 3), np.float32), np.zeros((2, 1, 4), np.int32)

    def merged(best, *pieces):
        return topk._merge_batch(
            [], best, *pieces, apply=maps_of_pixels, k=2, devices=devices
        )

    export(merged, best, *(each[:, 0] for each in pieces))


def maps_of_pixels(weights, images):
    return {"maps": images}


@pytest.mark.parametrize("shared", [False, True])
@FILTERS
def test_projector(net, shared, accelerator, monkeypatch):
    read, images = maps_fn(net)
    run, whole = closure.run, unit_passes.WholePass.__call__
    calls = collections.Counter()

    def run_exported(apply, *arguments):
        calls["run"] += 1
        return zeros_of(export(functools.partial(run, apply), *arguments))

    def whole_exported(self, *arguments):
        calls["whole"] += 1
        return zeros_of(export(functools.partial(whole, self), *arguments))

    monkeypatch.setattr(closure, "run", run_exported)
    monkeypatch.setattr(unit_passes.WholePass, "__call__", whole_exported)
    monkeypatch.setattr(projection.Projector, "_is_shared", lambda *_: shared)
    one = np.zeros((8, 1), np.int32)
    best = topk.TopK(one.astype("f4"), one, np.zeros((8, 1, 2), np.int32))
    projection.project(read, images, best, layer="layer2")
    # The backward pass, and before it the forward pass of crops, or that of the whole
    # image and the cut.
    assert calls == ({"run": 2, "whole": 1} if shared else {"run": 2})


def test_products_in_the_default_precision_are_found():
    with jax.default_matmul_precision(None), pytest.raises(AssertionError):
        export(jnp.matmul, jnp.eye(2), jnp.eye(2))


def test_what_has_no_lowering_is_found():
    with pytest.raises(NotImplementedError, match="eig"):
        export(jnp.linalg.eig, jnp.eye(2))
