"""Every operation and padding mode, against onnxruntime (at run time).

Tolerance: float32 sums of at most a few hundred terms in another order.
"""

import jax
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.pretrained import graphs
from tests.pretrained.graphs import Chain
from zf_jax.layers import LRN, Dense, Dropout, Flatten, Pool, Relu
from zf_jax.pretrained import onnx as onnx_import

TOLERANCE = 1e-5


def assert_same(tmp_path, chain, like=None, **options):
    """The package gives for the chain what onnxruntime gives (for `like`)."""
    net, params = graphs.load(chain.model(), tmp_path, **options)
    shape = [d.dim_value for d in chain.inputs[0].type.tensor_type.shape.dim]
    pixels = graphs.images(shape)
    want = graphs.onnxruntime_of((like or chain).model(), pixels)
    got = graphs.logits(net, params, pixels)
    assert graphs.relative_error(got, want) <= TOLERANCE
    return net


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [1, 1, 1, 1]},
        # Top, left, bottom, right.
        {"pads": [1, 0, 2, 3]},
        {"strides": [2, 3]},
        {"strides": [3, 2], "pads": [0, 2, 1, 0]},
        {"auto_pad": "VALID", "strides": [2, 1]},
        {"auto_pad": "NOTSET", "pads": [2, 1, 0, 1]},
        {"kernel_shape": [3, 4], "group": 1, "dilations": [1, 1]},
    ]
    + [
        {"auto_pad": side, "strides": [rows, columns]}
        for side in ("SAME_UPPER", "SAME_LOWER")
        for rows, columns in ((1, 1), (2, 2), (3, 5))
    ],
)
def test_conv(tmp_path, attributes):
    chain = Chain().conv(6, 3, (3, 4), **attributes)
    assert_same(tmp_path, chain)


@pytest.mark.parametrize("groups", [2, 4])
def test_groups(tmp_path, groups):
    chain = Chain().conv(8, 3, (3, 3)).conv(12, 8 // groups, (3, 3), group=groups)
    net = assert_same(tmp_path, chain)
    assert net.layers[1].filter.groups == groups


def test_conv_without_bias(tmp_path):
    chain = Chain()
    chain.add("Conv", chain.weights(4, 3, 2, 2)).add("Relu")
    chain.add("Conv", chain.weights(4, 4, 2, 2), "")
    assert_same(tmp_path, chain)


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 2]},
        {"kernel_shape": [3, 2], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 0, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [2, 3], "strides": [3, 4], "ceil_mode": 1},
        {"kernel_shape": [3, 3], "strides": [2, 3], "pads": [1, 1, 1, 1]}
        | {"ceil_mode": 1},
        # The last window would begin in the padding, and is none.
        {"kernel_shape": [3, 3], "strides": [4, 4], "pads": [0, 0, 2, 2]}
        | {"ceil_mode": 1},
        {"kernel_shape": [2, 2], "strides": [3, 3], "auto_pad": "VALID"},
    ]
    + [
        {"kernel_shape": [3, 2], "strides": [rows, columns], "auto_pad": side}
        for side in ("SAME_UPPER", "SAME_LOWER")
        for rows, columns in ((1, 1), (2, 2), (3, 2))
    ],
)
def test_max_pool(tmp_path, attributes):
    # Filters that leave maps negative show that padding never wins.
    chain = Chain().add("Conv", -np.ones((2, 3, 1, 1), np.float32))
    assert_same(tmp_path, chain.add("MaxPool", **attributes))


# Lengths 5 to 12 against every stride: each remainder that rounding up can meet.
@pytest.mark.parametrize("length", range(5, 13))
def test_ceil_mode_at_every_size(tmp_path, length):
    for stride, pads in ((2, [0, 0]), (3, [1, 0]), (4, [1, 1]), (5, [0, 1])):
        chain = Chain((1, 3, length, 12)).conv(2, 3, (1, 1))
        chain.add(
            "MaxPool",
            kernel_shape=[2, 2],
            strides=[stride, 1],
            pads=[pads[0], 0, pads[1], 0],
            ceil_mode=1,
        )
        assert_same(tmp_path, chain)


@pytest.mark.parametrize(
    ("size", "rest"),
    [
        (5, {"alpha": 0.5, "beta": 0.75, "bias": 2.0}),
        (3, {"alpha": 0.9, "beta": 0.6}),
        (1, {}),
        # Wider than all maps together.
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


def normalise(chain, maps, **attributes):
    """A BatchNormalization with numbers as a training leaves them."""
    gain, shift, mean = (chain.weights(maps) for _ in range(3))
    variance = np.square(chain.weights(maps)) + np.float32(0.1)
    return chain.add("BatchNormalization", gain, shift, mean, variance, **attributes)


@pytest.mark.parametrize("opset", [7, 8, 9, 13, 14, 15, 17, 21])
def test_batch_normalization(tmp_path, opset):
    chain = Chain(opset=opset).conv(5, 3, (3, 3), pads=[1, 1, 1, 1])
    normalise(chain, 5, epsilon=0.01).add("Relu")
    chain.add("Conv", chain.weights(4, 5, 3, 3))
    net = assert_same(tmp_path, normalise(chain, 4))
    assert [len(layer.ops) for layer in net.layers] == [2, 1]


def test_batch_normalization_of_dense(tmp_path):
    chain = Chain().conv(2, 3, (3, 3)).add("Flatten")
    chain.add("Gemm", chain.weights(2 * 11 * 10, 6), chain.weights(6))
    assert_same(tmp_path, normalise(chain, 6).add("Relu"))


@pytest.mark.parametrize("opset", [7, 10, 12, 13])
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


# The first dense layer's rows stand map by map in ONNX, place by place here.
@pytest.mark.parametrize(
    "flatten", ["Flatten", "Flatten-3", "Reshape", "Reshape0", "computed"]
)
def test_flatten(tmp_path, flatten):
    chain = Chain().conv(4, 3, (3, 3), strides=[2, 3]).add("Relu")
    match flatten:
        case "Flatten":
            chain.add("Flatten", axis=1)
        case "Flatten-3":
            chain.add("Flatten", axis=-3)
        case "Reshape":
            chain.add("Reshape", np.array([2, 4 * 6 * 4]))
        case "Reshape0":
            chain.add("Reshape", np.array([0, -1]))
        case "computed":
            # As PyTorch exports view(x.size(0), -1).
            shape = chain.beside("Shape", chain.tensor)
            count = chain.beside("Gather", shape, chain.store(np.array(0)))
            row = chain.beside("Unsqueeze", count, chain.store(np.array([0])))
            rest = chain.store(np.array([-1]))
            chain.add("Reshape", chain.beside("Concat", row, rest, axis=0))
    chain.add("Gemm", chain.weights(4 * 6 * 4, 5), chain.weights(5)).add("Relu")
    net = assert_same(tmp_path, chain.add("Gemm", chain.weights(5, 3)))
    assert net.layers[1].ops == (Flatten(), Dense(5), Relu())
    assert net.layers[2].ops == (Dense(3),)


@pytest.mark.parametrize(
    ("bias", "attributes"),
    [
        ((6,), {}),
        ((1, 6), {"beta": 0.5}),
        ((1,), {"alpha": 3.0}),
        ((), {"alpha": -0.25, "beta": 2.0}),
        (None, {"alpha": 2.0}),
    ],
)
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(tmp_path, bias, attributes, transposed):
    chain = Chain((2, 3, 4, 5)).add("Flatten")
    weights = chain.weights(60, 6)
    weights = np.ascontiguousarray(weights.T) if transposed else weights
    given = [] if bias is None else [chain.weights(*bias)]
    chain.add("Gemm", weights, *given, transB=transposed, **attributes)
    assert_same(tmp_path, chain)


@pytest.mark.parametrize("bias", [None, (6,), (1, 6)])
def test_mat_mul(tmp_path, bias):
    chain = Chain((2, 3, 4, 5)).add("Reshape", np.array([-1, 60]))
    chain.add("MatMul", chain.weights(60, 6))
    if bias:
        chain.add("Add", chain.weights(*bias))
    assert_same(tmp_path, chain.add("Relu"))


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [11, 13])
def test_softmax_is_left_out(tmp_path, op, opset):
    chain = Chain((2, 3, 4, 5), opset).add("Flatten")
    chain.add("Gemm", chain.weights(60, 6)).add(op, axis=1).add("Identity")
    net, params = graphs.load(chain.model(), tmp_path)
    pixels = graphs.images((2, 3, 4, 5))
    got = getattr(jax.nn, {"Softmax": "softmax"}.get(op, "log_softmax"))(
        graphs.logits(net, params, pixels)
    )
    want = graphs.onnxruntime_of(chain.model(), pixels)
    assert graphs.relative_error(np.asarray(got), want) <= TOLERANCE


@pytest.mark.parametrize("before", [(), ("Identity",)])
@pytest.mark.parametrize("dense", [False, True])
def test_transposes_of_tf2onnx(tmp_path, before, dense):
    chain = Chain((2, 13, 12, 3))
    for op in before:
        chain.add(op)
    # tf2onnx leaves kernels in TensorFlow's order and turns them in the graph.
    kernel = chain.store(chain.weights(3, 3, 3, 4))
    kernel = chain.beside("Transpose", kernel, perm=[3, 2, 0, 1])
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
    assert graphs.relative_error(got, want) <= TOLERANCE


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1), (), (1,)])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_arithmetic_is_folded(tmp_path, op, shape, place):
    chain = Chain().conv(4, 3, (3, 3))
    value = np.abs(chain.weights(*shape)) + np.float32(0.5)
    # The image is the node's first input, or its second.
    chain.add(op, value, place=place).add("Relu")
    if place == 1 and op == "Div":
        with pytest.raises(onnx_import.BadInput, match="divides a constant"):
            graphs.load(chain.model(), tmp_path)
        return
    net = assert_same(tmp_path, chain)
    assert len(net.layers[0].ops) == 2


def test_what_changes_nothing(tmp_path):
    chain = Chain().add("Identity")
    kernel = helper.make_tensor("k", TensorProto.FLOAT, (2, 3, 1, 1), range(6))
    kernel = chain.beside("Identity", chain.beside("Constant", value=kernel))
    chain.add("Cast", to=TensorProto.FLOAT).add("Conv", kernel).add("Identity")
    chain.add("Relu").add("Relu").add("MaxPool", kernel_shape=[2, 2]).add("Relu")
    net = assert_same(tmp_path, chain.add("Identity"))
    assert net.layers[0].ops[1:] == (Relu(), Pool(2, 1))


@pytest.mark.parametrize("opset", [5, 6])
def test_cast_before_and_after_its_opset_6(tmp_path, opset):
    # onnxruntime begins at 7.
    chain, like = Chain(opset=opset).conv(4, 3, (3, 3)), Chain().conv(4, 3, (3, 3))
    to = "FLOAT" if opset < 6 else TensorProto.FLOAT
    assert_same(tmp_path, chain.add("Cast", to=to), like)


def test_a_relu_behind_its_pool(tmp_path):
    chain = Chain().conv(4, 3, (3, 3)).add("MaxPool", kernel_shape=[3, 3])
    net = assert_same(tmp_path, chain.add("Relu"))
    assert net.layers[0].ops[1:] == (Relu(), Pool(3, 1))


def test_constants_computed_in_the_graph(tmp_path):
    # Pieces of what weight normalisation and the like leave behind.
    chain = Chain()
    given = chain.store(chain.weights(4, 3, 3, 3))
    gain = chain.store(np.abs(chain.weights(4, 1, 1, 1)))
    kernel = chain.beside("Mul", given, chain.beside("Sqrt", gain))
    kernel = chain.beside("Neg", chain.beside("Div", kernel, gain))
    two = chain.store(np.array([4]))
    bias = chain.beside(
        "ConstantOfShape", two, value=helper.make_tensor("v", 1, [1], [0.5])
    )
    assert_same(tmp_path, chain.add("Conv", kernel, bias))


WIDE = {
    "float16": (TensorProto.FLOAT16, np.float16),
    "double": (TensorProto.DOUBLE, np.float64),
    "bfloat16": (TensorProto.BFLOAT16, None),
}


def stored_as(kind, value, *, raw):
    """A tensor of the type called `kind`, and what it holds as float32."""
    number, dtype = WIDE[kind]
    if raw and dtype:
        tensor = numpy_helper.from_array(value.astype(dtype))
    else:
        tensor = helper.make_tensor("t", number, value.shape, value.ravel())
    return tensor, numpy_helper.to_array(tensor).astype(np.float32)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", WIDE)
def test_float_types(tmp_path, kind, raw):
    # The reference is onnxruntime in float32 on the same, rounded weights.
    chain, like = Chain(dtype=WIDE[kind][0]), Chain()
    shapes = ("Conv", (4, 3, 3, 3), (4,)), ("Gemm", (4 * 11 * 10, 5), (5,))
    for op, *given in shapes:
        pairs = [stored_as(kind, chain.weights(*s), raw=raw) for s in given]
        if op == "Gemm":
            chain.add("Flatten")
            like.add("Flatten")
        chain.add(op, *(tensor for tensor, _ in pairs))
        like.add(op, *(value for _, value in pairs))
    assert_same(tmp_path, chain, like)


def test_half_weights_cast_in_the_graph(tmp_path):
    chain = Chain()
    half = chain.store(chain.weights(4, 3, 3, 3).astype(np.float16))
    assert_same(
        tmp_path, chain.add("Conv", chain.beside("Cast", half, to=TensorProto.FLOAT))
    )


def test_weights_in_a_file_beside(tmp_path):
    chain = Chain().conv(4, 3, (3, 3)).add("Relu")
    path = tmp_path / "net.onnx"
    onnx.save(
        chain.model(), path, save_as_external_data=True, location="w", size_threshold=0
    )
    assert (tmp_path / "w").stat().st_size >= 4 * 4 * 27
    net, params = onnx_import.load(path, mean=graphs.BLACK)
    pixels = graphs.images((2, 3, 13, 12))
    want = graphs.onnxruntime_of(chain.model(), pixels)
    got = graphs.logits(net, params, pixels)
    assert graphs.relative_error(got, want) <= TOLERANCE


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
    normalise(chain, 6, **old).add("Relu")
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


@pytest.mark.parametrize("opset", range(1, 22))
def test_opsets(tmp_path, opset):
    # onnxruntime itself begins at 7; the net is the same in all.
    net, params = graphs.load(small_net(opset).model(), tmp_path)
    pixels = graphs.images((2, 3, 13, 12))
    want = graphs.onnxruntime_of(small_net(max(opset, 7)).model(), pixels)
    got = np.asarray(jax.nn.softmax(graphs.logits(net, params, pixels)))
    assert graphs.relative_error(got, want) <= TOLERANCE
