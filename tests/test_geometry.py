"""The arithmetic of windows: against the paper, against JAX, and by brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zf_jax import convnet, geometry, spec
from zf_jax.errors import BadInput
from zf_jax.geometry import ReceptiveField
from zf_jax.layers import LRN, Conv, Dense, Flatten, Layer, Pool, Relu
from zf_jax.spec import Input, Spec

UP = ((0, 1), (0, 1))
# Asymmetric padding, stride 4, a rectangular window, groups; five, two positions to
# a side, so that most fields lie partly outside of the image.
UNEVEN = Spec(
    "uneven",
    Input((25, 19), mean=(0.0, 0.0)),
    (
        Layer("a", (Conv(4, (5, 3), (4, 2), ((2, 1), (0, 3))), Relu(), LRN())),
        Layer("b", (Conv(4, (2, 3), 1, ((1, 0), (0, 2)), 2), Relu(), Pool(3, 1, UP))),
        Layer("c", (Conv(3, 2), Relu())),
    ),
)
STRIDED = Spec(
    "strided",
    Input((23, 30), mean=(0.0,)),
    (
        Layer("a", (Conv(3, 3, 2, ((0, 1), (1, 0))), Relu(), Pool(3, 2, UP), LRN())),
        Layer("b", (Conv(2, 3, 1, 1), Relu(), Pool((2, 3), (2, 1)))),
        Layer("c", (Conv(2, 1), Relu())),
    ),
)


def make_dense(size=(13, 10)) -> Spec:
    layers = (
        Layer("a", (Conv(4, 3, 2, UP), Relu(), Pool(2, 2))),
        Layer("b", (Flatten(), Dense(6), Relu())),
        Layer("c", (Dense(5),)),
    )
    return Spec("topped", Input(size), layers)


def traced_shapes(net: Spec, size) -> dict[str, geometry.LayerShapes]:
    """What JAX says of the shapes, by eval_shape of the convnet."""
    model = convnet.ConvNet(net)
    images = jax.ShapeDtypeStruct((1, *size, net.input.channels), jnp.float32)
    (_, trace), _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    below, found = images, {}
    for name in trace.maps:
        maps, output = trace.maps[name], trace.outputs[name]
        found[name] = geometry.LayerShapes(
            below.shape[1:], maps.shape[1:], output.shape[1:]
        )
        below = output
    return found


@pytest.mark.parametrize(
    ("net", "sizes"),
    [
        (spec.ZFNET.upto("layer5"), [(224, 224), (225, 181), (100, 333)]),
        (spec.ALEXNET.upto("layer5"), [(224, 224), (227, 131)]),
        (UNEVEN, [(25, 19), (26, 20), (27, 40), (13, 9)]),
        (STRIDED, [(23, 30), (15, 13), (20, 20)]),
        (make_dense(), [(13, 10)]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_shapes_equal_the_convnets(net, sizes):
    for size in sizes:
        assert geometry.shapes(net, size) == traced_shapes(net, size)
    assert geometry.shapes(net) == geometry.shapes(net, net.input.size)


def test_parameter_shapes_equal_the_convnets():
    for net in (UNEVEN, STRIDED, make_dense()):
        model = convnet.ConvNet(net)
        images = jnp.zeros((1, *net.input.size, net.input.channels))
        params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
        found = {
            name: (each["kernel"].shape, each["bias"].shape)
            for name, each in params.items()
        }
        assert found == geometry.parameter_shapes(net)
        sizes = {name: sum(map(np.prod, shapes)) for name, shapes in found.items()}
        assert sizes == geometry.parameters(net)


def test_zfnet_fields():
    # By arithmetic, the rows of the convs: size, step, first pixel of unit 0.
    expected = {
        "layer1": (7, 2, 0),
        "layer2": (27, 8, 0),
        "layer3": (75, 16, -16),
        "layer4": (107, 16, -32),
        "layer5": (139, 16, -48),
    }
    fields = geometry.receptive_fields(spec.ZFNET)
    for name, (size, step, start) in expected.items():
        assert fields[name] == ReceptiveField(
            (size, size), (step, step), (start, start)
        )
    for name in ("layer6", "layer7", "layer8"):
        assert fields[name] == ReceptiveField((224, 224), (0, 0), (0, 0))


def test_zfnet_multiply_adds():
    # By hand: rows x columns x maps x what one filter spans. In millions these are
    # by arithmetic, in millions: 170.8, 415.3, 149.5, 224.3, 149.5, 37.7, 16.8, 4.1.
    expected = {
        "layer1": 110 * 110 * 96 * (7 * 7 * 3),
        "layer2": 26 * 26 * 256 * (5 * 5 * 96),
        "layer3": 13 * 13 * 384 * (3 * 3 * 256),
        "layer4": 13 * 13 * 384 * (3 * 3 * 384),
        "layer5": 13 * 13 * 256 * (3 * 3 * 384),
        "layer6": 9216 * 4096,
        "layer7": 4096 * 4096,
        "layer8": 4096 * 1000,
    }
    assert geometry.multiply_adds(spec.ZFNET) == expected
    millions = [round(each / 1e6, 1) for each in expected.values()]
    assert millions == [170.8, 415.3, 149.5, 224.3, 149.5, 37.7, 16.8, 4.1]


def test_groups_halve_the_multiply_adds():
    # By hand: a filter of two groups spans half of the maps below.
    grouped = geometry.multiply_adds(spec.ALEXNET)
    dense = geometry.multiply_adds(spec.by_name("alexnet-dense"))
    for layer, share in zip(grouped, [1, 2, 1, 2, 2, 1, 1, 1], strict=True):
        assert grouped[layer] * share == dense[layer]


def test_multiply_adds_grow_with_the_image():
    # By hand: STRIDED's layer a has (23 + 1 - 3) // 2 + 1 = 11 rows and
    # (30 + 1 - 3) // 2 + 1 = 15 columns; at 47 x 62, 23 and 31.
    assert geometry.multiply_adds(STRIDED)["a"] == 11 * 15 * 3 * 9
    assert geometry.multiply_adds(STRIDED, (47, 62))["a"] == 23 * 31 * 3 * 9


@pytest.mark.parametrize(
    ("length", "size", "stride", "padding", "windows"),
    [
        (224, 7, 2, (0, 1), 110),
        (110, 3, 2, (0, 1), 55),
        (5, 5, 3, (0, 0), 1),
        (7, 3, 2, (0, 0), 3),  # by hand: at 0, 2, 4
        (8, 3, 2, (0, 0), 3),  # the last entry is in no window
        (4, 3, 4, (2, 3), 2),  # by hand: at -2 and 2
    ],
)
def test_slide(length, size, stride, padding, windows):
    assert geometry.output_length(length, size, stride, padding) == windows


@pytest.fixture(scope="module", params=[UNEVEN, STRIDED], ids=lambda net: net.name)
def seen(request):
    """For each layer, [rows, columns, H, W] bool: which pixels each unit sees.

    By brute force. Pooling the way it is would hide all but one entry of a window, so
    the net sums windows instead of picking: the Jacobian of that net with random
    positive weights on positive images has no accidental zeros.
    """
    net = request.param
    x = jnp.ones((1, *net.input.size, net.input.channels))
    jacobians, ops = {}, []

    def window_sum(op, x):
        channels = x.shape[-1]
        kernel = jnp.ones((*op.size, 1, channels))
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            op.stride,
            op.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=channels,
        )

    def run(ops, x):
        for op, kernel in ops:
            if kernel is None:
                x = window_sum(op, x)
            else:
                x = jax.lax.conv_general_dilated(
                    x,
                    kernel,
                    op.stride,
                    op.padding,
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                    feature_group_count=op.groups,
                )
        return x

    random = np.random.default_rng(0)
    for layer in net.layers:
        for op in layer.ops:
            if isinstance(op, Conv):
                shape = geometry.parameter_shapes(net)[layer.name][0]
                kernel = jnp.asarray(random.uniform(0.5, 1, shape), jnp.float32)
                ops.append((op, kernel))
                now = tuple(ops)
                total = jax.jit(lambda x, now=now: run(now, x)[0].sum(-1))
                jacobian = jax.jacrev(total)(x)
                jacobians[layer.name] = np.asarray(jacobian.sum((2, 5)) > 0)
            elif isinstance(op, Pool):
                ops.append((op, None))
    return net, jacobians


def test_fields_by_brute_force(seen):
    net, jacobians = seen
    height, width = net.input.size
    for name, field in geometry.receptive_fields(net).items():
        seen_by = jacobians[name]
        rows, columns, *_ = seen_by.shape
        assert (rows, columns) == geometry.shapes(net)[name].maps[:2]
        for i, j in np.ndindex(rows, columns):
            top, left = field.first(0, i), field.first(1, j)
            expected = np.zeros((height, width), bool)
            bottom, right = top + field.size[0], left + field.size[1]
            expected[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
            # Padding in between may hide part of a field at the border, as where two
            # of the windows of a Pool lie in its padding: a unit never sees more.
            assert not np.any(seen_by[i, j] & ~expected), (name, i, j)
            if min(top, left) >= 0 and bottom <= height and right <= width:
                np.testing.assert_array_equal(seen_by[i, j], expected)
        assert seen_by.any()


def test_patch_by_brute_force(seen):
    net, jacobians = seen
    for name, seen_by in jacobians.items():
        rows, columns, *_ = seen_by.shape
        for i, j in np.ndindex(rows, columns):
            (top, bottom), (left, right) = geometry.patch(net, name, (i, j))
            assert 0 <= top < bottom <= net.input.size[0]
            assert 0 <= left < right <= net.input.size[1]
            outside = seen_by[i, j].copy()
            outside[top:bottom, left:right] = False
            assert not outside.any(), (name, i, j)


def entries_below(op, entries, axis):
    """Which entries along an axis the windows at `entries` hold, one by one."""
    if not isinstance(op, Conv | Pool):
        return entries
    return {
        i * op.stride[axis] - op.padding[axis][0] + k
        for i in entries
        for k in range(op.size[axis])
    }


def test_patch_of_zfnet():
    # By hand: layer5's unit 0 sees [-48, 91), its unit 12
    # [144, 283), both cut by the image; unit 6 of layer 3 sees [80, 155).
    assert geometry.patch(spec.ZFNET, "layer5") == ((0, 91), (0, 91))
    assert geometry.patch(spec.ZFNET, "layer5", (12, 0)) == ((144, 224), (0, 91))
    assert geometry.patch(spec.ZFNET, "layer3", (6, 5)) == ((80, 155), (64, 139))
    assert geometry.patch(spec.ZFNET, "layer8", (0, 0)) == ((0, 224), (0, 224))
    # An image of another size has other borders and other positions.
    wide = geometry.patch(spec.ZFNET, "layer5", (0, 13), size=(224, 240))
    assert wide == ((0, 91), (160, 240))


@pytest.mark.parametrize("position", [(-1, 0), (0, 13), (13, 0)])
def test_patch_outside_of_the_maps(position):
    with pytest.raises(BadInput, match="layer5 has 13x13 positions"):
        geometry.patch(spec.ZFNET, "layer5", position)


def test_patch_of_a_unit_that_sees_padding_alone_is_empty():
    # By hand: a padding of 5 puts the first 3x3 window at [-5, -2), the last at
    # [10, 13) of 8. An empty patch cut out by a slice must be empty too: no negative
    # end, which a slice would count from the far side.
    layer = Layer("a", (Conv(4, 3, padding=5), Relu()))
    net = Spec("padded", Input(8), (layer,))
    for position in (0, 15):
        image = np.ones((8, 8))
        (top, bottom), (left, right) = geometry.patch(net, "a", (position, position))
        assert image[top:bottom, left:right].size == 0
        assert 0 <= top <= bottom <= 8


def test_too_small_images():
    with pytest.raises(BadInput, match="layer1 of zfnet: a 7x7 window does not fit"):
        geometry.shapes(spec.ZFNET.upto("layer5"), (5, 224))
    # By hand: 20 rows make 8 (layer1), 4 (pooled), and no 5x5 window fits in 4.
    with pytest.raises(BadInput, match="layer2 of zfnet: a 5x5 window does not fit in"):
        geometry.shapes(spec.ZFNET.upto("layer5"), (20, 224))


def test_a_dense_layer_takes_its_own_size():
    with pytest.raises(
        BadInput,
        match="layer6 of zfnet is dense and takes 6x6x256, images of 300x224 give it "
        "8x6x256: give images of 224x224, or cut the net",
    ):
        geometry.shapes(spec.ZFNET, (300, 224))
    # 226 rows leave the dense layers the same 6x6: by hand 111, 55 and so on.
    shapes = geometry.shapes(spec.ZFNET, (226, 226))
    assert shapes["layer6"].input == (6, 6, 256)
    assert shapes["layer1"].maps == (111, 111, 96)
