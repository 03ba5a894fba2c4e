"""What the caller says of a file: channels, mean, scale, size, last layer; names."""

import dataclasses

import numpy as np
import onnx
import pytest

from tests.pretrained import graphs
from tests.pretrained.graphs import Chain
from zf_jax import convnet
from zf_jax.errors import BadInput
from zf_jax.pretrained import sequential as onnx_import

SHAPE = (2, 3, 13, 12)


def trunk():
    chain = Chain().conv(4, 3, (3, 3), strides=[2, 2]).add("Relu")
    return chain.add("MaxPool", kernel_shape=[2, 2])


def dense_net():
    chain = Chain().add("Flatten")
    return chain.add("Gemm", chain.weights(3 * 13 * 12, 5), chain.weights(5))


@pytest.mark.parametrize("make", [trunk, dense_net])
def test_bgr(tmp_path, make):
    model, pixels = make().model(), graphs.images(SHAPE)
    want = graphs.onnxruntime_of(model, pixels[:, ::-1])
    got = graphs.logits(*graphs.load(model, tmp_path, channels="bgr"), pixels)
    assert graphs.relative_error(got, want) <= graphs.TOLERANCE
    # The order matters to this net.
    got = graphs.logits(*graphs.load(model, tmp_path, channels="rgb"), pixels)
    assert graphs.relative_error(got, want) > 0.01


def test_mean_and_scale(tmp_path):
    scale = 1 / 58.395, 1 / 57.12, 1 / 57.375
    mean = np.array([123.675, 116.28, 103.53])
    model, pixels = trunk().model(), graphs.images(SHAPE) * 255
    given = (pixels - mean.reshape(3, 1, 1)) * np.reshape(scale, (-1, 1, 1))
    want = graphs.onnxruntime_of(model, given.astype(np.float32))
    net, params = graphs.load(model, tmp_path, mean=mean, scale=scale)
    got = graphs.logits(net, params, pixels)
    assert graphs.relative_error(got, want) <= graphs.TOLERANCE


def test_a_grey_net(tmp_path):
    chain = Chain((2, 1, 13, 12)).conv(4, 1, (3, 3))
    pixels = graphs.images((2, 1, 13, 12))
    want = graphs.onnxruntime_of(chain.model(), (pixels - 1) * 2)
    # One value for all channels there are.
    for channels in ("rgb", "bgr"):
        net, params = graphs.load(
            chain.model(), tmp_path, mean=(1.0,), scale=2.0, channels=channels
        )
        got = graphs.logits(net, params, pixels)
        assert graphs.relative_error(got, want) <= graphs.TOLERANCE
        assert (net.input.mean, net.input.scale) == ((1.0,), 2.0)


def test_one_value_for_three_channels(tmp_path):
    net, _ = graphs.load(trunk().model(), tmp_path, mean=2.0, scale=(0.5,))
    assert (net.input.mean, net.input.scale) == ((2.0,) * 3, 0.5)


# The graph of a trunk is for any size, padding by `auto_pad` for the size given.
@pytest.mark.parametrize("size", [(9, 16), 14])
def test_size(tmp_path, size):
    chain = Chain(("N", 3, "H", "W")).conv(4, 3, (3, 3), strides=[2, 2])
    chain.conv(4, 4, (3, 3), strides=[2, 2], auto_pad="SAME_UPPER").add("Relu")
    chain.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    net, params = graphs.load(chain.model(), tmp_path, size=size)
    rows, columns = net.input.size
    assert (rows, columns) == (size if isinstance(size, tuple) else (14, 14))
    pixels = graphs.images((2, 3, rows, columns))
    want = graphs.onnxruntime_of(chain.model(), pixels)
    got = graphs.logits(net, params, pixels)
    assert graphs.relative_error(got, want) <= graphs.TOLERANCE


def test_a_size_that_the_graph_leaves_open(tmp_path):
    model = Chain(("N", 3, "H", 30)).conv(2, 3, (3, 3)).model()
    assert graphs.load(model, tmp_path)[0].input.size == (224, 30)
    assert graphs.load(model, tmp_path, default_size=64)[0].input.size == (64, 30)
    assert graphs.load(model, tmp_path, size=64)[0].input.size == (64, 64)


def test_a_dense_layer_needs_the_size_it_was_made_for(tmp_path):
    chain = Chain(("N", 3, "H", "W")).add("Flatten")
    model = chain.add("Gemm", chain.weights(3 * 8 * 8, 5)).model()
    assert graphs.load(model, tmp_path, default_size=8)[0].input.size == (8, 8)
    with pytest.raises(BadInput, match=r"224x224 give 150528.*; give their size"):
        graphs.load(model, tmp_path)


def test_upto(tmp_path):
    chain = Chain()
    for channels, inputs in ((4, 3), (5, 4), (6, 5)):
        chain.conv(channels, inputs, (3, 3)).add("Relu")
    chain.add("Flatten").add("Gemm", chain.weights(6 * 7 * 6, 3))
    whole, params = graphs.load(chain.model(), tmp_path)
    names = [layer.name for layer in whole.layers]
    for name in names:
        cut, kept = graphs.load(chain.model(), tmp_path, upto=name)
        assert cut == whole.upto(name)
        assert list(kept) == names[: names.index(name) + 1]
        np.testing.assert_array_equal(kept[name]["kernel"], params[name]["kernel"])
    with pytest.raises(
        BadInput, match=r"upto=made: .* has made0, made2, made4, made7$"
    ):
        graphs.load(chain.model(), tmp_path, upto="made")


def names_of(folder, filters, **options):
    """Of a net of 1x1 filters and dense layers with (node's name, weights' name)."""
    chain, flat = Chain((2, 3, 4, 4)), False
    for node, weights in filters:
        if flat := flat or "fc" in node:
            if chain.nodes[-1].op_type != "Gemm":
                chain.add("Flatten")
            rows = 48 if chain.nodes[-1].op_type == "Flatten" else 3
            chain.add("Gemm", (weights, chain.weights(rows, 3)), name=node)
        else:
            chain.add("Conv", (weights, chain.weights(3, 3, 1, 1)), name=node)
    net, params = graphs.load(chain.model(), folder)
    assert list(params) == [layer.name for layer in net.layers]
    # They are fit to be Flax's names.
    graphs.logits(net, params, graphs.images((2, 3, 4, 4)))
    return list(params)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        # PyTorch.
        (
            [("/features/features.0/Conv", "features.0.weight")]
            + [("/features/features.3/Conv", "features.3.weight")]
            + [("/classifier/fc/Gemm", "classifier.1.weight")],
            ["features.0", "features.3", "classifier.1"],
        ),
        # Keras by tf2onnx, whose names of layers end in a number of the export.
        (
            [("functional_1/block1_conv1_1/convolution", "const_a")]
            + [("functional_1/block1_conv2_1/convolution", "const_b")],
            ["block1_conv1", "block1_conv2"],
        ),
        # Caffe2.
        ([("", "conv1_1_w_0"), ("", "conv1_2_w_0")], ["conv1_1", "conv1_2"]),
        # Weights that two layers share are told apart by their nodes.
        ([("a", "one.weight"), ("b", "one.weight.weight")], ["one", "one.weight"]),
        ([("a/x", "w1"), ("a/x/y", "w2")], ["a", "x"]),
        ([("same", "w1"), ("same", "w2")], ["same-1", "same-2"]),
        # Only letters, digits and ._- are left, and still they are two.
        ([("a b", "w1"), ("a\nb", "w2")], ["a_b-1", "a_b-2"]),
        ([("über", "w1"), ("/", "w2")], ["über", "Conv"]),
        # Flax keeps this name for itself.
        ([("x", "params.weight")], ["params_"]),
        # As many filters and dense layers as the paper's net.
        (
            [(f"c{i}", f"w{i}") for i in range(5)]
            + [(f"fc{i}", f"v{i}") for i in range(3)],
            [f"layer{i}" for i in range(1, 9)],
        ),
    ],
)
def test_names(tmp_path, given, wanted):
    assert names_of(tmp_path, given) == wanted


def test_the_net_is_called_as_its_file(tmp_path):
    path = tmp_path / "my net.v2.onnx"
    onnx.save(trunk().model(), path)
    net, _ = onnx_import.load_spec(str(path), mean=(1, 2, 3), scale=0.5)
    assert net.name == "my net.v2"
    assert dataclasses.astuple(net.input) == ((13, 12), (1, 2, 3), 0.5)


def test_the_parameters_are_float32_arrays_of_jax(tmp_path):
    _, params = graphs.load(trunk().model(), tmp_path)
    ((_, layer),) = params.items()
    assert {name: (x.dtype, x.shape) for name, x in layer.items()} == {
        "kernel": (np.float32, (3, 3, 3, 4)),
        "bias": (np.float32, (4,)),
    }


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        ({"channels": "gbr"}, "channels 'gbr': there are rgb and bgr"),
        ({"mean": (1.0, 2.0)}, "takes images of 3 channels"),
        ({"scale": (1.0, 2.0)}, "scale (1.0, 2.0)"),
        ({"size": (2, 9)}, "does not fit in 2x9 positions"),
        ({"size": -5}, "does not fit in -5x-5 positions"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, culprit):
    with pytest.raises(BadInput) as raised:
        graphs.load(trunk().model(), tmp_path, **options)
    assert culprit in str(raised.value)


def test_bgr_of_filters_of_one_colour_each(tmp_path):
    chain = Chain().conv(6, 1, (3, 3), group=3)
    net, _ = graphs.load(chain.model(), tmp_path)
    assert convnet.ConvNet(net).net.layers[0].filter.groups == 3
    with pytest.raises(BadInput, match="filters of one channel each, give rgb"):
        graphs.load(chain.model(), tmp_path, channels="bgr")
