"""Each operation and padding mode, against onnxruntime (at run time).

Tolerance: float32 sums of at most a few hundred terms in another order.
"""

import jax
import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.pretrained import graphs
from tests.pretrained.graphs import Chain, assert_same
from zf_jax import geometry
from zf_jax.layers import LRN, Dense, Dropout, Flatten, Pool, Relu
from zf_jax.pretrained import attributes
from zf_jax.pretrained.graph import Node


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        # Top, left, bottom, right.
        {"pads": [1, 0, 2, 3], "strides": [3, 2]},
        {"auto_pad": "VALID", "strides": [2, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 3]},
        {"auto_pad": "NOTSET", "pads": [2, 1, 0, 1], "kernel_shape": [3, 4]}
        | {"group": 1, "dilations": [1, 1]},
    ],
)
def test_conv(tmp_path, attributes):
    assert_same(tmp_path, Chain().conv(6, 3, (3, 4), **attributes))


def test_groups(tmp_path):
    chain = Chain().conv(8, 3, (3, 3)).conv(12, 2, (3, 3), group=4)
    net = assert_same(tmp_path, chain)
    assert net.layers[1].filter.groups == 4


def test_conv_without_bias(tmp_path):
    chain = Chain()
    chain.add("Conv", chain.weights(4, 3, 2, 2)).add("Relu")
    # The second is left out by an empty name.
    chain.add("Conv", chain.weights(4, 4, 2, 2), "")
    assert_same(tmp_path, chain)


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 0, 1]},
        {"kernel_shape": [3, 3], "strides": [2, 3], "pads": [1, 1, 1, 1]}
        | {"ceil_mode": 1},
        {"kernel_shape": [3, 2], "strides": [3, 2], "auto_pad": "SAME_LOWER"},
    ],
)
def test_max_pool(tmp_path, attributes):
    # Filters that leave channels negative show that padding never wins.
    chain = Chain().add("Conv", -np.ones((2, 3, 1, 1), np.float32))
    assert_same(tmp_path, chain.add("MaxPool", **attributes))


# Each remainder that rounding up can meet, against the shapes of onnxruntime.
@pytest.mark.parametrize(
    ("stride", "pads"), [(2, (0, 0)), (3, (1, 0)), (4, (1, 1)), (5, (0, 1))]
)
def test_ceil_mode(stride, pads):
    given = {"pads": [pads[0], 0, pads[1], 0], "strides": [stride, 1], "ceil_mode": 1}
    for length in range(5, 13):
        chain = Chain((1, 1, length, 6))
        chain.add("MaxPool", kernel_shape=[2, 2], **given)
        images = graphs.images((1, 1, length, 6))
        want = graphs.onnxruntime_of(chain.model(), images).shape[2]
        node = Node("MaxPool", "", given, (), ())
        padding = attributes.padding(node, (length, 6, 1), (2, 2), (stride, 1))
        assert geometry.output_length(length, 2, stride, padding[0]) == want


def test_pools_that_change_nothing(tmp_path):
    # As torchvision's AlexNet and VGG at the size they were made for.
    chain = Chain((2, 3, 6, 6)).add("MaxPool", kernel_shape=[1, 1])
    chain.conv(4, 3, (3, 3)).add("Relu").add("MaxPool", kernel_shape=[2, 2])
    chain.add("AveragePool", kernel_shape=[1, 1], strides=[1, 1]).add("Flatten")
    chain.add("Gemm", chain.weights(4 * 3 * 3, 5))
    net = assert_same(tmp_path, chain)
    assert net.layers[0].ops[1:] == (Relu(), Pool(2, 1))
    chain = Chain((2, 3, 3, 3)).conv(4, 3, (3, 3)).add("GlobalAveragePool")
    assert_same(tmp_path, chain.add("Flatten").add("Gemm", chain.weights(4, 5)))


@pytest.mark.parametrize(
    ("size", "rest"),
    [
        (5, {"alpha": 0.5, "beta": 0.6, "bias": 2.0}),
        (1, {}),
        # Wider than all channels together.
        (31, {"alpha": 9.0}),
    ],
)
def test_lrn(tmp_path, size, rest):
    chain = Chain().conv(7, 3, (3, 3)).add("Relu").add("LRN", size=size, **rest)
    net = assert_same(tmp_path, chain)
    lrn = net.layers[0].ops[-1]
    assert isinstance(lrn, LRN)
    # ONNX divides alpha by the size; its default is 1e-4.
    np.testing.assert_allclose(lrn.alpha, rest.get("alpha", 1e-4) / size, rtol=1e-6)


@pytest.mark.parametrize("opset", [10, 12])
def test_dropout(tmp_path, opset):
    chain = Chain(opset=opset).conv(5, 3, (3, 3)).add("Relu")
    if opset < 12:
        chain.add("Dropout", ratio=0.25)
    else:
        chain.add("Dropout", np.float32(0.25), np.bool_(False), outputs=2)
    net = assert_same(tmp_path, chain.conv(2, 5, (1, 1)))
    assert net.layers[0].ops[1:] == (Relu(), Dropout(0.25))


def test_dropout_between_flatten_and_dense(tmp_path):
    chain = Chain().conv(2, 3, (3, 3)).add("Relu").add("Flatten").add("Dropout")
    chain.add("Gemm", chain.weights(2 * 11 * 10, 6))
    net = assert_same(tmp_path, chain)
    assert [layer.ops[1:] for layer in net.layers] == [
        (Relu(), Dropout()),
        (Dense(6),),
    ]


# The first dense layer's rows go channel by channel in ONNX, position by position here.
@pytest.mark.parametrize("flatten", ["Flatten", "Flatten-3", "Reshape", "computed"])
def test_flatten(tmp_path, flatten):
    chain = Chain().conv(4, 3, (3, 3), strides=[2, 3]).add("Relu")
    match flatten:
        case "Flatten":
            chain.add("Flatten", axis=1)
        case "Flatten-3":
            chain.add("Flatten", axis=-3)
        case "Reshape":
            chain.add("Reshape", np.array([0, -1]))
        case "computed":
            # As PyTorch exports view(x.size(0), -1).
            shape = chain.off_path("Shape", chain.tensor)
            count = chain.off_path("Gather", shape, chain.store(np.array(0)))
            row = chain.off_path("Unsqueeze", count, chain.store(np.array([0])))
            rest = chain.store(np.array([-1]))
            chain.add("Reshape", chain.off_path("Concat", row, rest, axis=0))
    chain.add("Gemm", chain.weights(4 * 6 * 4, 5), chain.weights(5)).add("Relu")
    net = assert_same(tmp_path, chain.add("Gemm", chain.weights(5, 3)))
    assert net.layers[1].ops == (Flatten(), Dense(5), Relu())
    assert net.layers[2].ops == (Dense(3),)


@pytest.mark.parametrize(
    ("bias", "attributes", "transposed"),
    [
        ((6,), {}, 0),
        ((1, 6), {"beta": 0.5}, 1),
        ((), {"alpha": -0.25, "beta": 2.0}, 0),
        (None, {"alpha": 2.0}, 1),
    ],
)
def test_gemm(tmp_path, bias, attributes, transposed):
    chain = Chain((2, 3, 4, 5)).add("Flatten")
    weights = chain.weights(60, 6)
    weights = np.ascontiguousarray(weights.T) if transposed else weights
    given = [] if bias is None else [chain.weights(*bias)]
    chain.add("Gemm", weights, *given, transB=transposed, **attributes)
    assert_same(tmp_path, chain)


@pytest.mark.parametrize("bias", [None, (1, 6)])
def test_mat_mul(tmp_path, bias):
    chain = Chain((2, 3, 4, 5)).add("Reshape", np.array([-1, 60]))
    chain.add("MatMul", chain.weights(60, 6))
    if bias:
        chain.add("Add", chain.weights(*bias))
    assert_same(tmp_path, chain.add("Relu"))


FUNCTIONS = {
    "Softmax": jax.nn.softmax,
    "LogSoftmax": jax.nn.log_softmax,
    "Sigmoid": jax.nn.sigmoid,
}


@pytest.mark.parametrize(
    ("op", "activation"),
    [
        ("Softmax", "softmax"),
        ("LogSoftmax", "softmax"),
        ("Sigmoid", "sigmoid"),
        (None, None),
    ],
)
def test_the_final_activation_is_left_out_and_told(tmp_path, op, activation):
    chain = Chain((2, 3, 4, 5)).add("Flatten").add("Identity")
    chain.add("Gemm", chain.weights(60, 6))
    if op:
        chain.add(op).add("Identity")
    found = graphs.read(chain.model(), tmp_path)
    assert found.activation == activation
    pixels = graphs.images((2, 3, 4, 5))
    got = graphs.logits(found.spec, found.params, pixels)
    got = np.asarray(FUNCTIONS[op](got) if op else got)
    want = graphs.onnxruntime_of(chain.model(), pixels)
    assert graphs.relative_error(got, want) <= graphs.TOLERANCE


def test_a_net_that_is_cut_has_no_activation(tmp_path):
    chain = Chain((2, 3, 4, 5)).add("Flatten")
    chain.add("Gemm", chain.weights(60, 6), name="a").add("Relu")
    chain.add("Gemm", chain.weights(6, 5), name="b").add("Softmax")
    assert graphs.read(chain.model(), tmp_path, upto="a").activation is None
    assert graphs.read(chain.model(), tmp_path, upto="b").activation == "softmax"
    # The sigmoid is not at the end: the net cannot be cut behind it.
    chain.nodes[-1].op_type = "Sigmoid"
    chain.add("Gemm", chain.weights(5, 2), name="c")
    assert graphs.read(chain.model(), tmp_path, upto="b").activation is None


@pytest.mark.parametrize("dense", [False, True])
def test_transposes_of_tf2onnx(tmp_path, dense):
    chain = Chain((2, 13, 12, 3)).add("Identity")
    # tf2onnx leaves kernels in TensorFlow's order and turns them in the graph.
    kernel = chain.store(chain.weights(3, 3, 3, 4))
    kernel = chain.off_path("Transpose", kernel, perm=[3, 2, 0, 1])
    chain.add("Transpose", perm=[0, 3, 1, 2]).add("Conv", kernel)
    chain.add("Add", chain.weights(1, 4, 1, 1)).add("Relu")
    chain.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    chain.add("Transpose", perm=[0, 2, 3, 1])
    if dense:
        chain.add("Reshape", np.array([-1, 5 * 5 * 4]))
        chain.add("MatMul", chain.weights(100, 6)).add("Add", chain.weights(6))
    net, params = graphs.load(chain.model(), tmp_path)
    assert net.input.size == (13, 12)
    pixels = graphs.images((2, 3, 13, 12))
    want = graphs.onnxruntime_of(chain.model(), pixels.transpose(0, 2, 3, 1))
    got = graphs.logits(net, params, pixels)
    want = want if dense else want.transpose(0, 3, 1, 2)
    assert graphs.relative_error(got, want) <= graphs.TOLERANCE


def test_what_changes_nothing(tmp_path):
    chain = Chain().add("Identity")
    kernel = helper.make_tensor("k", TensorProto.FLOAT, (2, 3, 1, 1), range(6))
    kernel = chain.off_path("Identity", chain.off_path("Constant", value=kernel))
    chain.add("Cast", to=TensorProto.FLOAT).add("Conv", kernel).add("Identity")
    chain.add("Relu").add("Relu").add("MaxPool", kernel_shape=[2, 2]).add("Relu")
    net = assert_same(tmp_path, chain.add("Identity"))
    assert net.layers[0].ops[1:] == (Relu(), Pool(2, 1))


def test_a_relu_behind_its_pool(tmp_path):
    chain = Chain().conv(4, 3, (3, 3)).add("MaxPool", kernel_shape=[3, 3])
    net = assert_same(tmp_path, chain.add("Relu"))
    assert net.layers[0].ops[1:] == (Relu(), Pool(3, 1))
