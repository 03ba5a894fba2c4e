"""The deconvnet: against autodiff of an independent net, by hand, and its laws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import reference_net
from zf_jax import convnet, deconvnet, geometry, spec
from zf_jax.errors import BadInput
from zf_jax.layers import LRN, Conv, Dense, Dropout, Flatten, Layer, Pool, Relu
from zf_jax.spec import Input, Spec

UP = ((0, 1), (0, 1))
# LRN far stronger than the paper's, so that its gradient is not its identity.
STRONG_LRN = LRN(3, 1.0, 0.3)
# LRN after the pool (ZFNET) and before it (AlexNet), overlapping pools, groups,
# dense layers, and one convolutional layer without a Relu.
TOPPED = Spec(
    "topped",
    Input((15, 12)),
    (
        Layer("a", (Conv(6, 3, 1, UP), Relu(), Pool(3, 2, UP), STRONG_LRN)),
        Layer("b", (Conv(8, 3, 1, 1, groups=2), Relu(), STRONG_LRN, Pool(3, 2))),
        Layer("c", (Conv(6, 2),)),
        Layer("d", (Flatten(), Dense(9), Relu(), Dropout())),
        Layer("e", (Dense(5),)),
    ),
)
# Stride 4, asymmetric padding of filters and pools, rectangles, odd sizes, remainders.
UNEVEN = Spec(
    "uneven",
    Input((33, 26), mean=(0.0, 0.0)),
    (
        Layer("a", (Conv(6, (5, 7), 4, ((0, 3), (2, 1))), Relu(), STRONG_LRN, Pool(3))),
        Layer(
            "b",
            (
                Conv(4, (3, 2), 1, ((2, 0), (1, 1)), groups=2),
                Relu(),
                Pool((2, 3), (1, 2), ((1, 0), (0, 2))),
                STRONG_LRN,
            ),
        ),
        Layer("c", (Conv(4, (2, 1), (2, 1)), Relu())),
    ),
)
NETS = {net.name: net for net in (TOPPED, UNEVEN)}
RULES = deconvnet.RULES


def normal(shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(values, jnp.float32)


def make_params(net: Spec) -> dict:
    """Weights that keep the maps at order 1, and biases, which must not come down."""
    params = {}
    for i, (name, shapes) in enumerate(geometry.parameter_shapes(net).items()):
        kernel, bias = shapes
        scale = np.sqrt(2 / np.prod(kernel[:-1])).astype(np.float32)
        params[name] = {
            "kernel": scale * normal(kernel, 2 * i),
            "bias": 0.3 * normal(bias, 2 * i + 1),
        }
    return params


@functools.partial(jax.jit, static_argnums=0)
def apply(net, params, images):
    return convnet.ConvNet(net).apply({"params": params}, images)


@functools.cache
def start(name: str, count: int = 2, size=None):
    """A net, its parameters and the trace of some images."""
    net = NETS[name]
    images = normal((count, *(size or net.input.size), net.input.channels), 99)
    params = make_params(net)
    _, trace = apply(net, params, images)
    return net, params, trace


def make_seeds(trace) -> dict:
    """Signed signals at every unit of every layer: harder than one at one unit."""
    return {name: normal(x.shape, len(name)) for name, x in trace.maps.items()}


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def project_all(net, params, seeds, trace, rule, lrn=None) -> dict:
    """Every layer's projection, compiled as one."""
    return {
        layer: deconvnet.reconstruct(
            net, params, seed, trace, layer=layer, rule=rule, lrn=lrn
        )
        for layer, seed in seeds.items()
    }


def relative(found, expected) -> float:
    """Largest error, as a part of the largest value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def reference(net, params, seeds, images, rule, lrn):
    """The signals of all layers' seeds together, in one walk down."""

    def maps(x):
        return reference_net.apply(net, params, x, rule=rule, lrn=lrn)[0]

    _, transpose = jax.vjp(maps, images)
    return transpose(seeds)[0]


def only(layer: str, seeds: dict) -> dict:
    """One layer's seed; exactly zero at the others, so that one program serves all."""
    return {
        name: x if name == layer else jnp.zeros_like(x) for name, x in seeds.items()
    }


@pytest.mark.parametrize(
    ("name", "rule", "lrn"),
    [
        *((name, rule, None) for name in NETS for rule in RULES),
        ("topped", "deconvnet", "gradient"),
        ("topped", "gradient", "identity"),
    ],
)
def test_every_layer_equals_autodiff(name, rule, lrn):
    net, params, trace = start(name)
    seeds = make_seeds(trace)
    found = project_all(net, params, seeds, trace, rule, lrn)
    default = "gradient" if rule == "gradient" else "identity"
    for layer in seeds:
        assert found[layer].shape == trace.images.shape
        expected = reference(
            net,
            params,
            only(layer, seeds),
            trace.images,
            rule,
            lrn or default,
        )
        # float32 sums of order 50 terms, at most five filters and two powers deep.
        assert relative(found[layer], expected) < 1e-5, layer


def test_gradient_rule_equals_jax_grad_of_the_isolated_activation():
    net, params, trace = start("topped")
    seeds = {
        layer: deconvnet.isolate(maps, channel=np.argmax(maps) % maps.shape[-1])
        for layer, maps in trace.maps.items()
    }
    found = project_all(net, params, seeds, trace, "gradient")

    @jax.jit
    @jax.grad
    def gradient(images, seeds):
        # Of 1/2 a^2, which is the activation's own value times its gradient.
        _, trace = apply(net, params, images)
        chosen = jax.tree.map(
            lambda x, seed: jnp.where(seed != 0, x, 0), trace.maps, seeds
        )
        return sum(0.5 * (x**2).sum() for x in chosen.values())

    for layer in seeds:
        expected = gradient(trace.images, only(layer, seeds))
        assert np.any(expected)
        assert relative(found[layer], expected) < 1e-5, layer


def tiny(*layers, size=(1, 2)) -> Spec:
    return Spec("tiny", Input(size, mean=(0.0,)), layers)


def values(*rows) -> jax.Array:
    return jnp.asarray(rows, jnp.float32)[None, :, :, None]


def test_golden_rules():
    # By hand: pixels 1 -1, doubled and rectified, are the maps 2 0; a second filter 1 5
    # sees 2. Down comes R = 2 10: the deconvnet passes both on (4 20), the others keep
    # nothing where the map was zero (4 0). The biases would show, were they used.
    net = tiny(Layer("a", (Conv(1, 1), Relu())), Layer("b", (Conv(1, (1, 2)), Relu())))
    params = {
        "a": {"kernel": jnp.full((1, 1, 1, 1), 2.0), "bias": jnp.full(1, 0.5)},
        "b": {"kernel": values((1, 5)).reshape(1, 2, 1, 1), "bias": jnp.full(1, -0.5)},
    }
    _, trace = apply(net, params, values((1, -1)))
    assert trace.maps["a"].ravel().tolist() == [2.5, 0]
    seed = deconvnet.isolate(trace.maps["b"], channel=0)
    assert seed.ravel().tolist() == [2]
    expected = {"deconvnet": [4, 20], "gradient": [4, 0], "guided": [4, 0]}
    for rule, pixels in expected.items():
        found = deconvnet.reconstruct(net, params, seed, trace, layer="b", rule=rule)
        assert found.ravel().tolist() == pixels


def test_golden_rectification():
    # By hand: with the filter 5 -1 above maps 2.5 2.5 (and no pooling) R is v 5 -1:
    # the gradient passes the -1 on, the other two do not.
    net = tiny(Layer("a", (Conv(1, 1), Relu())), Layer("b", (Conv(1, (1, 2)),)))
    params = {
        "a": {"kernel": jnp.full((1, 1, 1, 1), 2.0), "bias": jnp.full(1, 0.5)},
        "b": {"kernel": values((5, -1)).reshape(1, 2, 1, 1), "bias": jnp.zeros(1)},
    }
    _, trace = apply(net, params, values((1, 1)))
    seed = deconvnet.isolate(trace.maps["b"], channel=0)
    assert seed.ravel().tolist() == [10]
    expected = {"deconvnet": [100, 0], "gradient": [100, -20], "guided": [100, 0]}
    for rule, pixels in expected.items():
        found = deconvnet.reconstruct(net, params, seed, trace, layer="b", rule=rule)
        assert found.ravel().tolist() == pixels


def test_golden_unpooling():
    # By hand: 2x2 pools of 4x4 pixels; the strongest unit of layer b is 9 * 3, and
    # comes down as 27 * 3 where the 9 stands, though the pool is far coarser. The
    # pixels are signed: a filter of -2 in layer a (of -pixels) makes them negative.
    net = tiny(
        Layer("a", (Conv(1, 1), Relu(), Pool(2, 2))),
        Layer("b", (Conv(1, 1), Relu())),
        size=4,
    )
    image = values((1, 2, 0, 0), (0, 0, 0, 4), (0, 0, 5, 0), (9, 0, 0, 0))
    for sign in (1, -1):
        params = {
            "a": {"kernel": jnp.full((1, 1, 1, 1), 1.0 * sign), "bias": jnp.zeros(1)},
            "b": {"kernel": jnp.full((1, 1, 1, 1), 3.0), "bias": jnp.zeros(1)},
        }
        _, trace = apply(net, params, sign * image)
        seed = deconvnet.isolate(trace.maps["b"], channel=0)
        found = deconvnet.reconstruct(net, params, seed, trace, layer="b")
        expected = np.zeros((4, 4))
        expected[3, 0] = sign * 81
        assert found[0, :, :, 0].tolist() == expected.tolist()


def test_switches_steer():
    # The same signal under another image's switches, or none, is another picture.
    net, params, trace = start("topped")
    seeds = make_seeds(trace)
    found = project_all(net, params, seeds, trace, "deconvnet")
    swapped = {name: jnp.flip(x, 0) for name, x in trace.switches.items()}
    centre = {name: jnp.zeros_like(x) for name, x in trace.switches.items()}
    for switches in (swapped, centre):
        other = trace._replace(switches=switches)
        changed = project_all(net, params, seeds, other, "deconvnet")
        # Layer a has no pool below its maps.
        np.testing.assert_array_equal(changed["a"], found["a"])
        assert relative(changed["c"], found["c"]) > 0.1


@pytest.mark.parametrize("layer", ["a", "b", "c"])
@pytest.mark.parametrize("name", NETS)
def test_support_lies_inside_the_receptive_field(name, layer):
    net, params, trace = start(name, count=5)
    maps = trace.maps[layer]
    rows, columns = maps.shape[1] - 1, maps.shape[2] - 1
    positions = [(0, 0), (0, columns), (rows, 0), (rows, columns)]
    positions.append((rows // 2, columns // 2))
    ones = jnp.ones_like(maps)  # A dead unit would say nothing.
    seed = deconvnet.isolate(ones, channel=1, position=jnp.asarray(positions))
    pixels = np.array(deconvnet.reconstruct(net, params, seed, trace, layer=layer))
    for each, position in zip(pixels, positions, strict=True):
        (top, bottom), (left, right) = geometry.patch(net, layer, position)
        assert np.any(each[top:bottom, left:right])
        each[top:bottom, left:right] = 0
        assert not np.any(each), position


@pytest.mark.parametrize("size", [(34, 27), (41, 29)])
def test_the_images_own_shape_comes_back(size):
    # Stride 4 with several remainders: odd, even and rectangular.
    net, params, trace = start("uneven", size=size)
    seed = deconvnet.isolate(trace.maps["c"], channel=0, position=(0, 0))
    pixels = deconvnet.reconstruct(
        net, params, jnp.ones_like(seed), trace, layer="c", rule="gradient"
    )
    assert pixels.shape == (2, *size, 2)
    assert np.any(pixels)


@pytest.mark.parametrize("layer", ["c", "d"])
def test_a_batch_equals_one_at_a_time(layer):
    net, params, trace = start("topped", count=5)
    trace = jax.tree.map(lambda x: x[:3], trace)
    maps = trace.maps[layer]
    # Each image with a unit of its own.
    dense = maps.ndim == 2
    channels = jnp.argsort(-maps, axis=-1)[:, 1] if dense else jnp.asarray([3, 0, 5])
    positions = None if dense else jnp.asarray([[1, 0], [0, 0], [1, 0]])
    seed = deconvnet.isolate(maps, channel=channels, position=positions)
    together = deconvnet.reconstruct(net, params, seed, trace, layer=layer)
    for i in range(3):
        alone = jax.tree.map(lambda x, i=i: x[i : i + 1], trace)
        position = None if dense else tuple(positions[i].tolist())
        one = deconvnet.isolate(
            alone.maps[layer], channel=int(channels[i]), position=position
        )
        np.testing.assert_array_equal(one[0], seed[i])
        pixels = deconvnet.reconstruct(net, params, one, alone, layer=layer)
        assert np.any(pixels)
        # The same sums, perhaps in another order for another batch.
        assert relative(together[i], pixels[0]) < 1e-6


def test_a_trace_of_the_cut_net_is_enough():
    net, params, trace = start("topped")
    seed = deconvnet.isolate(trace.maps["b"], channel=2)
    whole = deconvnet.reconstruct(net, params, seed, trace, layer="b")
    _, short = apply(net.upto("b"), params, trace.images)
    cut = deconvnet.reconstruct(net, params, seed, short, layer="b")
    assert np.any(whole)
    # The forward pass may fuse in another way.
    assert relative(cut, whole) < 1e-6


def test_dtype_is_the_seeds():
    net, params, trace = start("topped")
    model = convnet.ConvNet(net, dtype=jnp.bfloat16)
    _, coarse = jax.jit(model.apply)({"params": params}, trace.images)
    seeds = {"b": deconvnet.isolate(coarse.maps["b"], channel=2)}
    low = project_all(net, params, seeds, coarse, "deconvnet")["b"]
    assert low.dtype == jnp.bfloat16
    wide = {"b": seeds["b"].astype(jnp.float32)}
    high = project_all(net, params, wide, coarse, "deconvnet")["b"]
    assert high.dtype == jnp.float32
    # Eight bits of mantissa: 0.4 % a rounding, some five roundings on the way.
    assert 0 < relative(np.asarray(low, np.float32), np.asarray(high)) < 0.02


def test_the_same_call_compiles_once(monkeypatch):
    traced = []
    original = deconvnet.conv.conv_transpose

    def counted(*arguments):
        traced.append(arguments[0])
        return original(*arguments)

    monkeypatch.setattr(deconvnet.conv, "conv_transpose", counted)
    net, params, trace = start("topped")
    # A net that no other test uses, or it would have been compiled before.
    net = Spec("counted", net.input, net.layers)
    for channel in range(3):
        seed = deconvnet.isolate(trace.maps["c"], channel=channel)
        equal = spec.from_json(spec.to_json(net))  # another object, the same net
        deconvnet.reconstruct(equal, params, seed, trace, layer="c")
    assert len(traced) == 3  # once for each of the layers c, b and a
    deconvnet.reconstruct(net, params, seed, trace, layer="c", rule="guided")
    assert len(traced) == 6


def test_reconstruct_inside_jit_and_vmap():
    net, params, trace = start("topped")
    seed = deconvnet.isolate(trace.maps["c"], channel=jnp.asarray([0, 1]))
    expected = deconvnet.reconstruct(net, params, seed, trace, layer="c")

    def down(factor):
        return deconvnet.reconstruct(net, params, factor * seed, trace, layer="c")

    found = jax.jit(jax.vmap(down))(jnp.asarray([1.0, 2.0]))
    assert np.any(expected)
    assert relative(found[0], expected) < 1e-6
    assert relative(found[1], 2 * expected) < 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "z"}, "layer 'z': topped has a, b, c, d, e"),
        (
            {"rule": "saliency"},
            "rule 'saliency': there are deconvnet, guided, gradient",
        ),
        ({"lrn": "none"}, "lrn 'none': there are"),
        ({"layer": "b"}, r"a seed of shape \(2, 2, 1, 6\) at b: the trace has"),
    ],
)
def test_bad_requests(change, message):
    net, params, trace = start("topped")
    seed = jnp.zeros_like(trace.maps["c"])
    with pytest.raises(BadInput, match=message):
        deconvnet.reconstruct(net, params, seed, trace, **{"layer": "c"} | change)


def test_a_trace_without_the_layer():
    net, params, trace = start("topped")
    _, short = apply(net.upto("b"), params, trace.images)
    with pytest.raises(BadInput, match=r"at c: the trace has \{'a'"):
        deconvnet.reconstruct(net, params, trace.maps["c"], short, layer="c")


MAPS = np.zeros((2, 2, 3, 2), np.float32)
MAPS[0, :, :, 0] = [[1, 5, 2], [0, 5, 3]]
MAPS[0, :, :, 1] = [[-4, -2, -3], [-1, -5, -6]]
MAPS[1, :, :, 0] = [[7, 0, 0], [0, 0, 8]]


def placed(*entries) -> list:
    """Zeros, but for `((image, row, column, channel), value)`."""
    expected = np.zeros_like(MAPS)
    for entry, value in entries:
        expected[entry] = value
    return expected.tolist()


def test_isolate_the_strongest():
    # By hand: of the two fives the first, row by row; of all zeros the first.
    found = deconvnet.isolate(jnp.asarray(MAPS), channel=0)
    assert found.tolist() == placed(((0, 0, 1, 0), 5), ((1, 1, 2, 0), 8))
    # Of a map without a Relu the strongest is the largest, not the farthest from 0.
    found = deconvnet.isolate(jnp.asarray(MAPS), channel=jnp.asarray([1, 0]))
    assert found.tolist() == placed(((0, 1, 0, 1), -1), ((1, 1, 2, 0), 8))


@pytest.mark.parametrize("array", [jnp.asarray, np.asarray, list])
def test_isolate_at_positions(array):
    # By hand; a position or a channel for each image, or one for all.
    maps = jnp.asarray(MAPS)
    found = deconvnet.isolate(
        maps, channel=array([1, 0]), position=array([[0, 2], [0, 0]])
    )
    assert found.tolist() == placed(((0, 0, 2, 1), -3), ((1, 0, 0, 0), 7))
    found = deconvnet.isolate(maps, channel=0, position=(1, 2))
    assert found.tolist() == placed(((0, 1, 2, 0), 3), ((1, 1, 2, 0), 8))
    found = deconvnet.isolate(maps, channel=array([0, 1]), position=(0, 0))
    assert found.tolist() == placed(((0, 0, 0, 0), 1))


def test_isolate_a_dense_unit():
    maps = jnp.asarray([[1.0, 2, 3], [4, 5, 6]])
    assert deconvnet.isolate(maps, channel=2).tolist() == [[0, 0, 3], [0, 0, 6]]
    found = deconvnet.isolate(maps, channel=jnp.asarray([0, 1]))
    assert found.tolist() == [[1, 0, 0], [0, 5, 0]]


def test_isolate_traced_units_inside_jit():
    maps, positions = jnp.asarray(MAPS), jnp.asarray([[0, 2], [0, 0]])
    found = jax.jit(
        lambda maps, channel, position: deconvnet.isolate(
            maps, channel=channel, position=position
        )
    )(maps, jnp.asarray([1, 0]), positions)
    assert found.tolist() == placed(((0, 0, 2, 1), -3), ((1, 0, 0, 0), 7))


@pytest.mark.parametrize("position", [None, (1, 2)])
def test_isolate_given_units_inside_jit(position):
    # Numbers known while tracing, as a script's flags are.
    maps = jnp.asarray(MAPS)
    expected = deconvnet.isolate(maps, channel=0, position=position)
    found = jax.jit(lambda x: deconvnet.isolate(x, channel=0, position=position))(maps)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(BadInput, match="channel 2: the maps have 0 to 1"):
        jax.jit(lambda x: deconvnet.isolate(x, channel=2, position=position))(maps)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"channel": 2}, "channel 2: the maps have 0 to 1"),
        ({"channel": -1}, "channel -1: the maps have 0 to 1"),
        ({"channel": [0, 5]}, "channel 5: the maps have 0 to 1"),
        ({"channel": 0, "position": (2, 0)}, "position 2: the maps have 0 to 1"),
        ({"channel": 0, "position": (0, 3)}, "position 3: the maps have 0 to 2"),
        ({"channel": 0, "position": (-1, 0)}, "position -1: the maps have 0 to 1"),
        ({"channel": 0, "position": [[0, 0], [0, 9]]}, "position 9: the maps have"),
        # Of a wrong shape.
        ({"channel": [0, 1, 0]}, "channel"),
        ({"channel": 0, "position": 1}, "position"),
        ({"channel": 0, "position": [[0, 0], [0, 1], [1, 1]]}, "position"),
    ],
)
def test_isolate_outside_of_the_maps(request_, message):
    with pytest.raises(BadInput, match=message):
        deconvnet.isolate(jnp.asarray(MAPS), **request_)


def test_isolate_a_dense_unit_outside():
    maps = jnp.zeros((2, 3))
    with pytest.raises(BadInput, match="channel 3: the maps have 0 to 2"):
        deconvnet.isolate(maps, channel=3)
    with pytest.raises(BadInput, match="position: a dense layer has none"):
        deconvnet.isolate(maps, channel=0, position=(0, 0))
