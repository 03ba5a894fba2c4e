"""What is no sequence of layers: one line that names the node, and where to cut."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.pretrained import graphs
from tests.pretrained.graphs import Chain
from zf_jax.pretrained import constants


@pytest.mark.parametrize("opset", [0, 99])
def test_opsets_that_are_not_known(tmp_path, opset):
    message, _ = graphs.refused_model(
        Chain(opset=opset).conv(2, 3, (1, 1)).model(), tmp_path
    )
    assert message.startswith(f"of opset {opset}, known are 1 to ")


def residual():
    chain = graphs.trunk()
    before = chain.tensor
    chain.conv(4, 4, (3, 3), pads=[1, 1, 1, 1], name="b/Conv")
    return chain.add("Add", before, name="b/Add")


def branches():
    chain = graphs.trunk()
    kernel = chain.store(chain.weights(4, 4, 1, 1))
    other = chain.off_path("Conv", chain.tensor, kernel, name="side")
    chain.conv(4, 4, (1, 1), name="b/Conv")
    return chain.add("Concat", other, axis=1, name="join")


def two_images():
    chain = graphs.trunk()
    chain.inputs.append(helper.make_tensor_value_info("other", 1, (1, 3, 9, 9)))
    return chain


def no_image():
    chain = Chain((2, 30))
    return chain.add("Gemm", chain.weights(30, 4))


def summed_with_an_image_twice():
    chain = graphs.trunk()
    return chain.add("Add", chain.tensor, name="twice")


def ring():
    chain = graphs.trunk()
    chain.conv(4, 4, (1, 1), name="b/Conv")
    # The first node takes what the last one gives, and the image goes nowhere else.
    chain.nodes[1].output[0] = chain.nodes[2].input[0] = "round"
    chain.nodes[2].output[0] = "made0_0"
    return chain


def ring_of_constants():
    chain = Chain()
    chain.nodes.append(helper.make_node("Neg", ["y"], ["x"]))
    chain.nodes.append(helper.make_node("Neg", ["x"], ["y"]))
    return chain.add("Conv", "x", name="first")


def missing():
    chain = graphs.trunk().conv(4, 4, (1, 1), name="b/Conv")
    chain.stored = [each for each in chain.stored if each.name != chain.stored[2].name]
    return chain


# The message, and the layer to cut after.
NOT_SEQUENCES = {
    residual: (
        "after a, the graph branches to 2 nodes (node 'b/Conv' (Conv), ",
        "a",
    ),
    branches: (
        "after a, the graph branches to 2 nodes (node 'side' (Conv), node 'b/Conv'",
        "a",
    ),
    two_images: ("takes 2 images: 'image', 'other'; a net takes one", None),
    no_image: ("takes 0 images; a net takes one", None),
    summed_with_an_image_twice: ("node 'twice' (Add) takes the same values twice", "a"),
    ring: ("node 'a/Relu' (Relu) is passed twice, the graph is a ring", "b"),
    ring_of_constants: ("at the image, node 'first' (Conv): its input", None),
    missing: ("after a, node 'b/Conv' (Conv): its input 'stored2' is missing", "a"),
}


@pytest.mark.parametrize("make", NOT_SEQUENCES, ids=lambda make: make.__name__)
def test_what_is_no_sequence(tmp_path, make):
    want, cut = NOT_SEQUENCES[make]
    message, found = graphs.refused_model(make().model(), tmp_path)
    assert want in message
    assert found == cut


KERNEL = np.ones((2, 4, 3, 3), np.float32)
# A node behind the trunk that no layer can be, and what is said of it.
NODES = {
    "average": (("AveragePool",), {"kernel_shape": [2, 2]}, "is nothing that a layer"),
    "leaky": (("LeakyRelu",), {"alpha": 0.1}, "is nothing that a layer here can be"),
    "unknown": (("Frobnicate",), {}, "is nothing that opset 17 has"),
    "newline": (("Frob\nnicate\x1b[2J",), {}, "(Frob nicate [2J) is nothing that"),
    "elsewhere": (("Conv",), {"domain": "com.me"}, "is of com.me, not of ONNX itself"),
    "dilated": (("Conv", KERNEL), {"dilations": [2, 2]}, "has dilations [2, 2]"),
    "dense": (
        ("Gemm", np.ones((440, 2), np.float32)),
        {},
        "takes channels that were not flattened",
    ),
    "other channels": (
        ("Conv", np.ones((2, 5, 3, 3), np.float32)),
        {},
        "filters 5 channels in 1 groups, and gets 4",
    ),
    "large": (
        ("Conv", np.ones((2, 4, 30, 3), np.float32)),
        {},
        "does not fit in 11x10 positions",
    ),
    "no weights": (("Conv", ""), {}, "has no weights in input 1"),
    "transposed": (("Gemm", KERNEL), {"transA": 1}, "takes its input transposed"),
    "not rows": (("MatMul", KERNEL), {}, "has weights of shape (2, 4, 3, 3), not rows"),
    "1d": (
        ("Conv", np.ones((2, 4, 3), np.float32)),
        {},
        "has weights of 3 axes, not 4",
    ),
    "kernel_shape": (
        ("Conv", KERNEL),
        {"kernel_shape": [5, 5]},
        "not of its kernel_shape",
    ),
    "whole numbers": (
        ("Conv", np.ones((2, 4, 3, 3), np.int32)),
        {},
        "has weights of int32, not of a float type",
    ),
    "bias": (
        ("Conv", KERNEL, np.ones(3, np.float32)),
        {},
        "has a bias of shape (3,) for 2 channels",
    ),
    "strides": (
        ("Conv", KERNEL),
        {"strides": [0, 1]},
        "has strides (0, 1)",
    ),
    "three strides": (
        ("Conv", KERNEL),
        {"strides": [1, 1, 1]},
        "has strides [1, 1, 1]",
    ),
    "attribute": (
        ("MaxPool",),
        {"kernel_shape": [2, 2], "legacy_pad": 3},
        "has an attribute 'legacy_pad' that opset 17 has not",
    ),
    "negative pads": (
        ("Conv", KERNEL),
        {"pads": [-1, 0, 0, 0]},
        "takes whole numbers, from 0",
    ),
    "two pads": (
        ("MaxPool",),
        {"kernel_shape": [2, 2], "pads": [1, 1]},
        "has pads [1, 1], not four",
    ),
    "pads of a pool": (
        ("MaxPool",),
        {"kernel_shape": [2, 2], "pads": [2, 0, 0, 0]},
        "a window could lie in the padding alone",
    ),
    "positions": (
        ("Conv", KERNEL),
        {"pads": [2**40] * 4},
        "positions, too many",
    ),
    "auto_pad": (
        ("MaxPool",),
        {"kernel_shape": [2, 2], "auto_pad": "SAME"},
        "has auto_pad b'SAME'",
    ),
    "no size": (("LRN",), {}, "has no size"),
    "axes": (("Transpose",), {"perm": [0, 3, 2, 1]}, "turns the axes to NWHC"),
    "axes twice": (
        ("Transpose",),
        {"perm": [0, 1, 1, 2]},
        "turns the axes by [0, 1, 1",
    ),
    "late": (
        ("BatchNormalization", *np.ones((4, 4), np.float32)),
        {},
        "does not follow a filter at once",
    ),
    "flatten": (("Flatten",), {"axis": 2}, "flattens from axis 2, not 1"),
    "training": (
        ("Dropout", np.float32(0.5), np.bool_(True)),
        {},
        "is in training mode",
    ),
    "ratio": (("Dropout", np.float32(np.nan)), {}, "drops no share from 0 to 1"),
}


@pytest.mark.parametrize("name", NODES)
def test_nodes_that_are_no_layer(tmp_path, name):
    (op, *inputs), attributes, want = NODES[name]
    chain = graphs.trunk().add(op, *inputs, name="culprit", **attributes)
    message, cut = graphs.refused_model(chain.model(), tmp_path)
    assert message.startswith("not a sequence of layers: after a, node 'culprit' (")
    assert want in message
    assert cut == "a"


def test_what_stands_at_the_wrong_place(tmp_path):
    def said(chain):
        return graphs.refused_model(chain.model(), tmp_path)[0]

    message = said(Chain().add("Relu", name="first").conv(2, 3, (1, 1)))
    assert "at the image, node 'first' (Relu) stands before the first filter" in message
    assert "has neither filters nor dense layers" in said(Chain().add("Identity"))
    message = said(Chain().conv(2, 3, (1, 1)).add("LRN", size=3).add("Relu"))
    assert "rectifies after its LRN, not before" in message
    pool = {"kernel_shape": [2, 2]}
    message = said(graphs.trunk().add("MaxPool", **pool).add("MaxPool", **pool))
    assert "pools what was pooled already" in message
    assert "stands behind the softmax" in said(
        graphs.trunk().add("Softmax").add("Relu")
    )
    message = said(graphs.trunk().add("Flatten").add("Relu"))
    assert "stands between flattening and a dense layer" in message
    chain = Chain((2, 3, 4, 4)).add("Flatten")
    message = said(chain.add("Gemm", chain.weights(27, 5)))
    assert "takes 27 entries, images of 4x4 give 48 (4x4x3)" in message
    chain = graphs.trunk().add("Transpose", perm=[0, 2, 3, 1])
    assert "takes [N, C, H, W] and gets NHWC" in said(chain.conv(2, 4, (1, 1)))
    chain = Chain((1, 2**40, 9, 9)).conv(2, 3, (1, 1))
    assert "images of 1099511627776 channels, too many" in said(chain)
    message = said(Chain((2, 13, 12, 3)).conv(2, 3, (1, 1)))
    assert "filters 3 channels in 1 groups, and gets 13" in message


def test_a_name_that_is_no_text(tmp_path):
    model, path = graphs.trunk().model().SerializeToString(), tmp_path / "net.onnx"
    path.write_bytes(model.replace(b"a/Relu", b"a/\xff\xfelu"))
    assert "has a name that is no text" in graphs.refused(path)


def test_a_left_out_input_is_no_way_on(tmp_path):
    # The last node gives nothing; another one leaves an input out: no link.
    chain = graphs.trunk()
    model = chain.add("Identity").model()
    model.graph.node[-1].output[0] = ""
    kernel = chain.store(chain.weights(2, 4, 1, 1))
    model.graph.node.append(helper.make_node("Conv", ["", kernel], ["apart"]))
    net, _ = graphs.load(model, tmp_path)
    assert [layer.name for layer in net.layers] == ["a"]


def tensor(dims, data=b"", data_type=TensorProto.FLOAT):
    return TensorProto(dims=dims, raw_data=data, data_type=data_type)


@pytest.mark.parametrize(
    "weights",
    [
        tensor((2, 4, 3, 3), bytes(4 * 71)),
        tensor((2**20, 2**20, 3, 3), bytes(288)),
        tensor((2**62, 2**62, 2, 2), bytes(288)),
        tensor((-2, -4, 3, 3), bytes(288)),
        tensor((2, 4, 3, 3), bytes(288), data_type=77),
        tensor((2, 4, 3, 3), bytes(36), data_type=TensorProto.INT4),
    ],
    ids=["short", "large", "huge", "negative", "unknown", "int4"],
)
def test_weights_that_are_not_there(tmp_path, weights):
    chain = graphs.trunk().add("Conv", weights, name="culprit")
    message, cut = graphs.refused_model(chain.model(), tmp_path)
    assert "node 'culprit' (Conv)" in message
    assert cut == "a"


@pytest.mark.parametrize("shape", [(2**16, 4, 64, 64), (2**40, 4, 3, 3), (-1, 4, 3, 3)])
def test_weights_computed_without_end(tmp_path, shape):
    chain = graphs.trunk()
    shape = chain.store(np.array(shape))
    chain.add("Conv", chain.off_path("ConstantOfShape", shape), name="culprit")
    message, cut = graphs.refused_model(chain.model(), tmp_path)
    assert "node 'culprit' (Conv): node 'off_path2' (ConstantOfShape)" in message
    assert cut == "a"


def test_weights_computed_bit_by_bit_without_end(tmp_path, monkeypatch):
    # Each is small enough, together they are not: 8 entries, 7 times.
    monkeypatch.setattr(constants, "_MAX_COMPUTED", 50)
    chain = graphs.trunk()
    given = chain.store(chain.weights(2, 4, 1, 1))
    for _ in range(7):
        given = chain.off_path("Neg", given)
    message, cut = graphs.refused_model(chain.add("Conv", given).model(), tmp_path)
    assert "node 'off_path8' (Neg) computes too many entries" in message
    assert cut == "a"


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_weights_that_are_no_numbers(tmp_path, value):
    chain = graphs.trunk()
    kernel = chain.weights(2, 4, 3, 3)
    kernel[1, 2, 0, 1] = value
    message, _ = graphs.refused_model(
        chain.add("Conv", kernel, name="b").model(), tmp_path
    )
    assert message == "b has weights that are no numbers"
    # The layer before that one is whole.
    assert len(graphs.load(chain.model(), tmp_path, upto="a")[0].layers) == 1


def test_weights_too_large_for_float32(tmp_path):
    chain = Chain(dtype=TensorProto.DOUBLE)
    chain.add("Conv", np.full((2, 3, 1, 1), 1e300), name="b")
    message, _ = graphs.refused_model(chain.model(), tmp_path)
    assert message == "b has weights that are no numbers"
