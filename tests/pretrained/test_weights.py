"""Where weights come from: types, external data, arithmetic in the graph; opsets.

References: onnxruntime at run time.
"""

import jax
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.pretrained import graphs
from tests.pretrained.graphs import Chain, assert_same


def test_constants_computed_in_the_graph(tmp_path):
    # Pieces of what weight normalisation and the like leave behind.
    chain = Chain()
    given = chain.store(chain.weights(4, 3, 3, 3))
    gain = chain.store(np.abs(chain.weights(4, 1, 1, 1)))
    kernel = chain.off_path("Mul", given, chain.off_path("Sqrt", gain))
    kernel = chain.off_path("Neg", chain.off_path("Div", kernel, gain))
    two = chain.store(np.array([4]))
    bias = chain.off_path(
        "ConstantOfShape", two, value=helper.make_tensor("v", 1, [1], [0.5])
    )
    assert_same(tmp_path, chain.add("Conv", kernel, bias))


FLOAT_TYPES = {
    "float16": (TensorProto.FLOAT16, np.float16),
    "double": (TensorProto.DOUBLE, np.float64),
    "bfloat16": (TensorProto.BFLOAT16, None),
}


def stored_as(name, value, *, raw):
    """A tensor of the type called `name`, and what it holds as float32."""
    number, dtype = FLOAT_TYPES[name]
    if raw and dtype:
        tensor = numpy_helper.from_array(value.astype(dtype))
    else:
        tensor = helper.make_tensor("t", number, value.shape, value.ravel())
    return tensor, numpy_helper.to_array(tensor).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "raw"), [("float16", True), ("double", False), ("bfloat16", False)]
)
def test_float_types(tmp_path, name, raw):
    # The reference is onnxruntime in float32 on the same, rounded weights.
    chain, like = Chain(dtype=FLOAT_TYPES[name][0]), Chain()
    shapes = ("Conv", (4, 3, 3, 3), (4,)), ("Gemm", (4 * 11 * 10, 5), (5,))
    for op, *given in shapes:
        pairs = [stored_as(name, chain.weights(*s), raw=raw) for s in given]
        if op == "Gemm":
            chain.add("Flatten")
            like.add("Flatten")
        chain.add(op, *(tensor for tensor, _ in pairs))
        like.add(op, *(value for _, value in pairs))
    assert_same(tmp_path, chain, like)


@pytest.mark.parametrize("opset", [5, 6])
def test_cast_before_and_after_its_opset_6(tmp_path, opset):
    # onnxruntime begins at 7.
    chain, like = Chain(opset=opset).conv(4, 3, (3, 3)), Chain().conv(4, 3, (3, 3))
    to = "FLOAT" if opset < 6 else TensorProto.FLOAT
    assert_same(tmp_path, chain.add("Cast", to=to), like)


def small_net(opset):
    """The same net as each opset writes it."""
    chain = Chain(opset=opset).conv(6, 3, (3, 3), strides=[2, 2])
    if opset < 7:
        # Before broadcasting as numpy does it: an axis tells where it begins.
        chain.add("Add", chain.weights(6), axis=1, broadcast=1)
    else:
        chain.add("Add", chain.weights(6).reshape(6, 1, 1))
    old = {"consumed_inputs": [0, 0, 0, 1, 1]} if opset < 6 else {}
    old |= {"is_test": 1} if opset < 7 else {}
    graphs.normalise(chain, 6, **old).add("Relu")
    chain.add("LRN", size=3, alpha=0.1)
    chain.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    if opset < 5:
        chain.add("Reshape", shape=[0, -1])
    else:
        chain.add("Reshape", np.array([0, -1]))
    more = {"broadcast": 1} if opset < 7 else {}
    chain.add("Gemm", chain.weights(36, 5), chain.weights(5), **more)
    if opset < 7:
        chain.add("Dropout", is_test=1)
    elif opset < 12:
        chain.add("Dropout")
    else:
        chain.add("Dropout", np.float32(0.5))
    return chain.add("Softmax", axis=1)


# Each of them changed how one of the net's nodes is written; 23 is the newest.
@pytest.mark.parametrize("opset", [1, 5, 6, 7, 12, 13, 23])
def test_opsets(tmp_path, opset):
    # onnxruntime itself begins at 7; the net is the same in all.
    net, params = graphs.load(small_net(opset).model(), tmp_path)
    pixels = graphs.images((2, 3, 13, 12))
    want = graphs.onnxruntime_of(small_net(max(opset, 7)).model(), pixels)
    got = np.asarray(jax.nn.softmax(graphs.logits(net, params, pixels)))
    assert graphs.relative_error(got, want) <= graphs.TOLERANCE
