"""Nets of the ONNX model zoo, forward, against onnxruntime.

The pip package `onnx` carries their graphs with every weight a constant. Such a net
tells no class from another, so the graphs are given random weights: filters of He's
standard deviation, and dense layers that are products of a column and a row, which
keeps the files small and tells positions and channels apart.
"""

import pathlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.pretrained import graphs
from zf_jax import geometry

pytestmark = pytest.mark.slow

LIGHT = pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
# Of float32 sums of many thousand terms in another order.
TOLERANCE = 1e-4
SIDE = 224


def path_of(name):
    return LIGHT / f"light_{name}.onnx"


def softmax_less(model):
    """Cuts the softmax off: classes that are nearly sure hide an error."""
    *nodes, last = model.graph.node
    assert last.op_type == "Softmax"
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend(nodes)
    model.graph.output.append(
        helper.make_tensor_value_info(last.input[0], TensorProto.FLOAT, None)
    )


def give_weights(model):
    """Random weights in place of the constant ones."""
    rng = np.random.default_rng(0)
    shapes = {
        each.name: numpy_helper.to_array(each) for each in model.graph.initializer
    }
    nodes = list(model.graph.node)
    del model.graph.node[:]

    def store(shape, deviation, name):
        value = rng.normal(0, deviation, shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    for node in nodes:
        if node.op_type != "ConstantOfShape":
            model.graph.node.append(node)
            continue
        (name,), shape = node.output, shapes[node.input[0]]
        if len(shape) == 4:
            store(shape, np.sqrt(2 / np.prod(shape[1:])), name)
        elif len(shape) == 2:
            # Their product: of deviation 1, as the logits need not be small.
            column = store((shape[0], 1), 1, f"{name}_column")
            row = store((1, shape[1]), 1 / np.sqrt(shape[1]), f"{name}_row")
            model.graph.node.append(helper.make_node("Mul", [column, row], [name]))
        else:
            store(shape, 0.1, name)


LAYERS = [f"layer{i}" for i in range(1, 9)]
VGG = [
    f"conv{block}_{i}"
    for block, count in enumerate((2, 2, 4, 4, 4), start=1)
    for i in range(1, count + 1)
]


# Parameters by hand from Krizhevsky et al. 2012 (with two groups) and Simonyan &
# Zisserman 2014 (their Table 2: 144 million); this ZFNet has 512 channels in each of
# layers 3 to 5, then 4096 and 1024 units.
@pytest.mark.parametrize(
    ("name", "layers", "parameters"),
    [
        ("zfnet512", LAYERS, 87_250_536),
        ("bvlc_alexnet", LAYERS, 60_965_224),
        ("vgg19", [*VGG, "fc6", "fc7", "fc8"], 143_667_240),
    ],
)
def test_random_weights(tmp_path, name, layers, parameters):
    model = onnx.load(path_of(name))
    give_weights(model)
    pixels = graphs.images((1, 3, SIDE, SIDE)) - np.float32(0.5)
    softmax_less(model)
    want = graphs.onnxruntime_of(model, pixels)
    net, params = graphs.load(model, tmp_path)
    error = graphs.relative_error(graphs.logits(net, params, pixels), want)
    assert [layer.name for layer in net.layers] == layers
    assert sum(geometry.parameters(net).values()) == parameters
    print(f"{name} with random weights: relative error {error:.1e}")
    assert error <= TOLERANCE
    # The logits tell the classes apart.
    assert np.std(want) > 0.1 * np.abs(want).max()
