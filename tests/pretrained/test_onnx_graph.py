"""Any graph of a vision net as a Model, against onnxruntime (at run time).

Tolerance: float32 sums of at most a few hundred terms in another order.
"""

import jax
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, parser

from tests.pretrained import graphs
from tests.pretrained.graphs import Chain
from zf_jax.errors import BadInput
from zf_jax.pretrained import onnx as onnx_import
from zf_jax.transforms import capture, rectify


def load(model, folder, **options):
    path = folder / "net.onnx"
    onnx.save(model, path)
    return onnx_import.load(path, **{"mean": 0.0} | options)


def outputs(loaded, pixels):
    """What the model gives for [N, C, H, W]."""
    return loaded.function(pixels.transpose(0, 2, 3, 1))


def assert_same(folder, chain, count=2, **options):
    """The model gives what onnxruntime gives, maps as [N, h, w, C]."""
    model = chain.model()
    _, *shape = (d.dim_value for d in chain.inputs[0].type.tensor_type.shape.dim)
    pixels = graphs.images((count, *shape))
    written = chain.inputs[0].type.tensor_type.shape.dim[0].dim_value or count
    parts = np.split(pixels, count // written)
    want = np.concatenate([graphs.onnxruntime_of(model, part) for part in parts])
    loaded = load(model, folder, **options)
    got = np.asarray(outputs(loaded, pixels))
    got = got.transpose(0, 3, 1, 2) if got.ndim == 4 else got
    assert graphs.relative_error(got, want) <= graphs.TOLERANCE
    return loaded


def classifier(**reshape):
    """Written for one image: the Reshape says so."""
    chain = Chain((1, 3, 13, 12)).conv(4, 3, (3, 3), pads=[1, 1, 1, 1]).add("Relu")
    chain.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    chain.add("Reshape", np.array([1, -1]))
    return chain.add("Gemm", chain.weights(5, 144), chain.weights(5), transB=1)


@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [1, 0, 2, 3], "strides": [3, 2]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 3]},
        {"dilations": [3, 2], "pads": [2, 1, 0, 1]},
    ],
)
def test_conv(tmp_path, attributes):
    assert_same(tmp_path, Chain().conv(6, 3, (3, 4), **attributes))


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 3], "pads": [1, 0, 2, 1], "output_padding": [1, 2]},
        {"strides": [2, 1], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"strides": [3, 2], "output_shape": [17, 11]},
        {"dilations": [2, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    ],
)
def test_conv_transpose_of_groups(tmp_path, attributes):
    chain = Chain((2, 4, 6, 5))
    chain.add("ConvTranspose", chain.weights(4, 3, 3, 4), chain.weights(6))
    node = chain.nodes[-1]
    for name, value in {**attributes, "group": 2}.items():
        node.attribute.append(helper.make_attribute(name, value))
    assert_same(tmp_path, chain)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 2, 1]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [3, 2], "strides": [3, 2], "auto_pad": "SAME_LOWER"},
    ],
)
def test_pools(tmp_path, op, attributes):
    # Filters that leave channels negative show that padding never wins.
    assert_same(tmp_path, Chain().conv(4, 3, (2, 2)).add(op, **attributes))


def test_average_that_counts_its_padding(tmp_path):
    attributes = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    chain = Chain().add("AveragePool", **attributes, count_include_pad=1)
    assert_same(tmp_path, chain)


def test_normalisations(tmp_path):
    chain = graphs.normalise(Chain().conv(6, 3, (2, 2)), 6, epsilon=0.01)
    chain.add("InstanceNormalization", chain.weights(6), chain.weights(6))
    chain.add("LRN", size=5, alpha=0.3, bias=2.0)
    loaded = assert_same(tmp_path, chain)
    assert len(loaded.params) == 8


def test_quantised_nets(tmp_path):
    # As onnxruntime quantises them: the rectifier is the least of the numbers.
    chain = Chain((2, 3, 6, 6))

    def quantise(values, scale, zero):
        scale, zero = chain.store(np.float32(scale)), chain.store(zero)
        quantised = chain.off_path("QuantizeLinear", values, scale, zero)
        return chain.off_path("DequantizeLinear", quantised, scale, zero)

    chain.tensor = quantise("image", 0.02, np.uint8(3))
    kernel = quantise(chain.store(chain.weights(4, 3, 3, 3)), 0.01, np.int8(0))
    chain.add("Conv", kernel)
    chain.tensor = quantise(chain.tensor, 0.01, np.int8(-128))
    loaded = load(chain.model(), tmp_path)
    assert set(loaded.params) == {kernel}
    pixels = graphs.images((2, 3, 6, 6))
    got = np.asarray(outputs(loaded, pixels)).transpose(0, 3, 1, 2)
    off = np.abs(got - graphs.onnxruntime_of(chain.model(), pixels))
    # What lies halfway between two numbers may become either.
    assert off.max() < 0.0101
    assert (off > 1e-6).mean() < 0.02
    images = graphs.images((2, 6, 6, 3))
    rectified = rectify.rectify(loaded.function, nonlinear="gradient")
    assert np.abs(jax.grad(lambda x: rectified(x).sum())(images)).max() > 0
    # That of the image cuts off what is below -3, no more.
    assert rectified.rectifiers == 1


def test_residuals_and_names(tmp_path):
    chain = Chain().conv(4, 3, (3, 3), pads=[1, 1, 1, 1]).add("Relu")
    before = chain.tensor
    chain.conv(4, 4, (3, 3), pads=[1, 1, 1, 1]).add("Add", before).add("Relu")
    loaded = assert_same(tmp_path, chain)
    assert loaded.layout == "NCHW"
    images = np.zeros((2, 13, 12, 3), np.float32)
    layers = capture.layers(loaded.function, images, channels="first")
    names = {row.name: (row.operation, row.shape[1:]) for row in layers}
    assert names[before] == ("relu", (13, 12, 4))
    assert names[chain.tensor] == ("relu", (13, 12, 4))
    rectified = rectify.rectify(loaded.function)
    jax.eval_shape(rectified, images)
    assert rectified.rectifiers == 2


def test_classifier_of_any_number_of_images(tmp_path):
    chain = classifier().add("Softmax")
    loaded = load(chain.model(), tmp_path)
    assert loaded.activation == "softmax"
    assert loaded.input.size == (13, 12)
    pixels = graphs.images((3, 3, 13, 12))
    got = jax.nn.softmax(outputs(loaded, pixels))
    for each, image in zip(got, pixels, strict=True):
        want = graphs.onnxruntime_of(chain.model(), image[None])
        np.testing.assert_allclose(each, want[0], atol=1e-6)


def tokens():
    """Written for one image, which lies along the second axis: [L, N, C]."""
    chain = Chain((1, 3, 6, 6)).conv(8, 3, (3, 3), strides=[3, 3]).add("Relu")
    chain.add("Reshape", np.array([1, 8, 4]))
    chain.add("Transpose", perm=[2, 0, 1]).add("Reshape", np.array([4, 2, 4]))
    chain.add("Softmax").add("Transpose", perm=[1, 0, 2])
    return chain.add("Reshape", np.array([1, 32]))


def test_one_image_at_a_time(tmp_path):
    # Softmax and the last Reshape would mix images that are reshaped together.
    loaded = assert_same(tmp_path, tokens(), count=3)
    images = np.zeros((3, 6, 6, 3), np.float32)
    rows = capture.layers(loaded.function, images, channels="first")
    assert (3, 2, 2, 8) in [row.shape for row in rows]


def test_channels_last(tmp_path):
    # As tf2onnx writes the nets of Keras.
    chain = Chain((2, 9, 8, 3)).add("Transpose", perm=[0, 3, 1, 2])
    chain.conv(5, 3, (3, 3)).add("Relu").add("Transpose", perm=[0, 2, 3, 1])
    loaded = load(chain.model(), tmp_path)
    assert loaded.input.size == (9, 8)
    pixels = graphs.images((2, 9, 8, 3))
    want = graphs.onnxruntime_of(chain.model(), pixels)
    assert graphs.relative_error(np.asarray(loaded.function(pixels)), want) <= 1e-6


def test_several_outputs(tmp_path):
    chain = Chain((None, 3, 9, 8)).conv(4, 3, (3, 3)).add("Relu")
    model = chain.add("GlobalAveragePool").add("Flatten").model()
    model.graph.output.append(helper.make_tensor_value_info("made1_0", 1, None))
    loaded = load(model, tmp_path)
    got = outputs(loaded, graphs.images((2, 3, 9, 8)))
    assert {name: value.shape for name, value in got.items()} == {
        "made3_0": (2, 4),
        "made1_0": (2, 7, 6, 4),
    }
    cut = load(model, tmp_path, upto="made1_0")
    np.testing.assert_array_equal(
        outputs(cut, graphs.images((2, 3, 9, 8))), got["made1_0"]
    )
    assert set(cut.params) == {"stored0", "stored1"}


def test_order_of_channels_and_preprocessing(tmp_path):
    model = Chain((2, 3, 5, 5)).conv(4, 3, (3, 3)).model()
    rgb = load(model, tmp_path)
    bgr = load(model, tmp_path, channels="bgr", mean=(1, 2, 3), scale=0.5)
    pixels = graphs.images((2, 3, 5, 5))
    np.testing.assert_array_equal(outputs(bgr, pixels[:, ::-1]), outputs(rgb, pixels))
    assert bgr.input.mean == (1, 2, 3)
    assert bgr.input.scale == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_numbers_of_channels(tmp_path, channels):
    loaded = assert_same(tmp_path, Chain((2, channels, 5, 5)).conv(4, channels, (3, 3)))
    assert loaded.input.channels == channels
    with pytest.raises(BadInput, match=rf"\(2, 5, 5, 3\).* with {channels} channels"):
        loaded.function(np.zeros((2, 5, 5, 3), np.float32))


def test_weights_of_half_precision(tmp_path):
    chain = Chain()
    kernel = chain.weights(4, 3, 3, 3).astype(np.float16)
    like = Chain().add("Conv", kernel.astype(np.float32))
    chain.off_path("Cast", chain.store(kernel, "half"), to=TensorProto.FLOAT)
    chain.nodes[-1].output[0] = "whole"
    loaded = assert_same(tmp_path, chain.add("Conv", "whole"))
    assert loaded.params["whole"].dtype == np.float32
    pixels = graphs.images((2, 3, 13, 12))
    want = graphs.onnxruntime_of(like.model(), pixels)
    assert (
        graphs.relative_error(
            np.asarray(outputs(loaded, pixels)).transpose(0, 3, 1, 2), want
        )
        <= graphs.TOLERANCE
    )


def branching(condition):
    """An `If` whose branches read a value from outside."""
    text = f"""
    <ir_version: 9, opset_import: ["" : 17]>
    net (float[2, 3, 4, 4] image) => (float[2, 3, 4, 4] out) {{
      {condition}
      out = If (condition) <
        then_branch = yes () => (float[2, 3, 4, 4] a) {{ a = Relu (image) }},
        else_branch = no () => (float[2, 3, 4, 4] b) {{ b = Unheard (image) }}
      >
    }}"""
    return parser.parse_model(text)


@pytest.mark.parametrize(
    "condition",
    [
        "condition = Constant <value = bool {1}> ()",
        "shape = Shape <start = 3> (image) four = Constant <value = int64[1] {4}> () "
        "condition = Equal (shape, four)",
    ],
)
def test_if(tmp_path, condition):
    loaded = load(branching(condition), tmp_path, upto="out")
    pixels = graphs.images((2, 3, 4, 4)) - 0.5
    got = np.asarray(outputs(loaded, pixels)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(got, np.maximum(pixels, 0))


def test_functions_of_the_file(tmp_path):
    text = """
    <ir_version: 9, opset_import: ["" : 17, "own" : 1]>
    net (float[2, 3, 4, 4] image) => (float[2, 3, 4, 4] out) {
      out = own.twice (image)
    }
    <domain: "own", opset_import: ["" : 17]>
    twice (x) => (y) { z = Relu (x)  y = Add (z, z) }"""
    loaded = load(parser.parse_model(text), tmp_path)
    pixels = graphs.images((2, 3, 4, 4)) - 0.5
    got = np.asarray(outputs(loaded, pixels)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(got, 2 * np.maximum(pixels, 0))


def refused(model, folder, **options):
    with pytest.raises(BadInput) as raised:
        load(model, folder, **options)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    return message


def test_operations_that_are_missing(tmp_path):
    chain = Chain().conv(4, 3, (3, 3)).add("Unheard", name="odd").add("Unseen")
    message = refused(chain.model(), tmp_path)
    assert "node 'odd' (Unheard)" in message
    assert "Unheard, Unseen in 2 nodes in all" in message
    assert "upto=made0_0 cuts the net before it" in message
    load(chain.model(), tmp_path, upto="made0_0")


def test_values_that_are_missing(tmp_path):
    message = refused(classifier().model(), tmp_path, upto="maed1_0")
    assert "maed1_0: no such value; there are made1_0" in message


def test_sizes_that_are_open(tmp_path):
    chain = Chain((None, None, None, None)).conv(4, 3, (3, 3))
    assert "'image' is; give size=(rows, columns)" in refused(chain.model(), tmp_path)
    assert load(chain.model(), tmp_path, size=(7, 5)).input.size == (7, 5)


def test_images_of_a_size_that_does_not_fit(tmp_path):
    message = refused(classifier().model(), tmp_path, size=20)
    assert "node 'made4_0' (Gemm) cannot be computed from 1x" in message


def test_inputs_beside_the_image(tmp_path):
    chain = Chain((2, 3, 4, 4))
    chain.inputs.append(helper.make_tensor_value_info("other", 1, (2, 3, 4, 4)))
    message = refused(chain.add("Add", "other").model(), tmp_path)
    assert "takes 'image' (2, 3, 4, 4), 'other' (2, 3, 4, 4)" in message


def test_external_data_left_behind(tmp_path):
    path = tmp_path / "net.onnx"
    options = {"save_as_external_data": True, "location": "w", "size_threshold": 0}
    onnx.save(classifier().model(), path, **options)
    (tmp_path / "w").unlink()
    with pytest.raises(BadInput, match=r"net.onnx: cannot be read|w"):
        onnx_import.load(path, mean=0.0)


def test_old_opsets(tmp_path):
    assert "of opset 6, known are 7" in refused(
        Chain(opset=6).conv(4, 3, (3, 3)).model(), tmp_path
    )


def test_images_that_a_reshape_would_mix(tmp_path):
    # Along the first axis are the classes of one image, not the images.
    chain = Chain((1, 3, 6, 6)).conv(8, 3, (6, 6)).add("Reshape", np.array([8]))
    chain.add("Softmax", axis=0).add("Reshape", np.array([1, 8]))
    assert_same(tmp_path, chain, count=3)
