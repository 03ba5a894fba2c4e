"""Nets as data: the table of all of them, JSON, and bad descriptions."""

import json
import re

import pytest

from zf_jax import geometry, spec
from zf_jax.errors import BadInput
from zf_jax.layers import LRN, Conv, Dense, Dropout, Flatten, Layer, Pool, Relu
from zf_jax.spec import Input, Spec

# Rows of the maps, then of the outputs, of the convolutional layers. ZFNET: the
# labels of fig. 3 (by arithmetic). AlexNet: Krizhevsky et al. 2012, fig. 2, whose 55,
# 27, 13 follow from a 224 image rounded up. VGG16: 224 halved by five pools.
# TINY: by hand, e.g. (64 + 6 - 7) // 2 + 1 = 32, then (32 + 1 - 3) // 2 + 1 = 16.
ZF = [110, 26, 13, 13, 13], [55, 13, 13, 13, 6]
ALEX = [55, 27, 13, 13, 13], [27, 13, 13, 13, 6]
ALEX_WITHOUT_34 = [55, 27, 13], [27, 13, 6]
SMALL_WITHOUT_34 = [30, 15, 7], [15, 7, 3]
VGG = (
    [224] * 2 + [112] * 2 + [56] * 3 + [28] * 3 + [14] * 3,
    [224, 112, 112, 56, 56, 56, 28, 28, 28, 14, 14, 14, 7],
)
SMALL = [30, 15, 7, 7, 7], [15, 7, 7, 7, 3]

# name: parameters, units of the dense layers, sizes. Parameters: by arithmetic
# (derived from Krizhevsky's and fig. 3's sizes); VGG16: Simonyan & Zisserman 2014,
# table 2 (138 million), to the unit in torchvision's vgg16. TINY by hand: 4,736 +
# 18,496 + 55,392 + 83,040 + 55,360 + 147,712 + 65,792 + 2,570. Its variants likewise:
# e.g. layer 5 after layer 2 has 64 * 64 * 9 + 64 = 36,928, and 576 of its outputs go
# into 10 classes by 5,770.
TABLE = {
    "tiny": (433_098, [256, 256, 10], SMALL),
    "tiny-without34": (276_234, [256, 256, 10], SMALL_WITHOUT_34),
    "tiny-without7": (367_306, [256, 10], SMALL),
    "tiny-without67": (222_794, [10], SMALL),
    "tiny-without3467": (65_930, [10], SMALL_WITHOUT_34),
    "tiny-128": (308_682, [128, 128, 10], SMALL),
    "tiny-512": (780_234, [512, 512, 10], SMALL),
    "tiny-wide": (1_050_826, [256, 256, 10], SMALL),
    "tiny-wide-512": (1_545_418, [512, 512, 10], SMALL),
    "alexnet": (60_965_224, [4096, 4096, 1000], ALEX),
    "vgg16": (138_357_544, [4096, 4096, 1000], VGG),
    "alexnet-dense": (62_378_344, [4096, 4096, 1000], ALEX),
    "alexnet-without34": (59_870_824, [4096, 4096, 1000], ALEX_WITHOUT_34),
    "alexnet-without7": (45_597_032, [4096, 1000], ALEX),
    "alexnet-without67": (12_964_200, [1000], ALEX),
    "alexnet-without3467": (10_456_680, [1000], ALEX_WITHOUT_34),
    "alexnet-2048": (28_868_968, [2048, 2048, 1000], ALEX),
    "alexnet-8192": (154_562_920, [8192, 8192, 1000], ALEX),
    "zfnet": (62_357_608, [4096, 4096, 1000], ZF),
    "zfnet-2048": (28_848_232, [2048, 2048, 1000], ZF),
    "zfnet-8192": (154_542_184, [8192, 8192, 1000], ZF),
    "zfnet-wide": (107_627_624, [4096, 4096, 1000], ZF),
    "zfnet-wide-8192": (237_560_936, [8192, 8192, 1000], ZF),
}


def small_net(*layers: Layer, size=12) -> Spec:
    return Spec("small", Input(size), layers)


CONV = Layer("low", (Conv(4, 3), Relu(), Pool()))
TOP = Layer("top", (Flatten(), Dense(5)))


def test_all_tested():
    assert set(TABLE) == set(spec.NETS), "give every Spec of NETS a row in TABLE"


@pytest.mark.parametrize("name", TABLE)
def test_sizes_and_parameters(name):
    net = spec.by_name(name)
    parameters, units, (maps, outputs) = TABLE[name]
    assert sum(geometry.parameters(net).values()) == parameters
    shapes = geometry.shapes(net).values()
    spatial = [each for each in shapes if len(each.maps) == 3]
    assert [each.maps[0] for each in spatial] == maps
    assert [each.output[0] for each in spatial] == outputs
    assert all(each.maps[0] == each.maps[1] for each in spatial)
    assert [each.maps[0] for each in shapes if len(each.maps) == 1] == units


@pytest.mark.parametrize("net", spec.NETS.values(), ids=spec.NETS)
def test_json_round_trip(net):
    text = spec.to_json(net)
    again = spec.from_json(text)
    assert again == net
    assert hash(again) == hash(net)
    assert again.name == json.loads(text)["name"] == net.name


def test_json_keeps_every_field():
    net = Spec(
        "odd",
        Input((20, 31), mean=(0.5,), scale=0.25),
        (
            Layer(
                "a",
                (
                    Conv(4, (3, 5), (1, 2), ((0, 1), (2, 3))),
                    Relu(),
                    LRN(3, 1.0, 2e-4, 0.5),
                    Pool((2, 3), (2, 1), ((1, 0), (0, 2))),
                    Dropout(0.25),
                ),
            ),
            Layer("b", (Conv(6, 1, groups=2),)),
        ),
    )
    assert spec.from_json(spec.to_json(net)) == net


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"name": "a", "input": {}, "layers": []}',
        '{"name": "a", "input": {"sise": 3}, "layers": []}',
        '{"name": "a", "input": {}, "layers": [["b", ["Blur", {}]]]}',
        '{"name": "a", "input": {}, "layers": [["b", ["Conv", {"maps": 3}]]]}',
        '{"name": "a", "input": {}, "layers": [["b", ["Relu", {}]]]}',
    ],
)
def test_bad_json(text):
    with pytest.raises(BadInput, match=r"^(not the JSON of a Spec|a: needs layers)"):
        spec.from_json(text)


def test_numbers_stand_for_rows_and_columns():
    assert Conv(4, 3, 2, 1) == Conv(4, (3, 3), (2, 2), ((1, 1), (1, 1)))
    assert Pool(3, 2, 1) == Pool((3, 3), (2, 2), ((1, 1), (1, 1)))
    assert Input(8) == Input((8, 8))
    # Lists, as JSON gives them, become tuples: without, nothing could be hashed.
    assert hash(Conv(4, [3, 3], [2, 2], [[0, 1], [0, 1]])) == hash(
        Conv(4, 3, 2, ((0, 1), (0, 1)))
    )
    assert Input(8, mean=[1.0, 2.0]).channels == 2


def test_by_name():
    for name, net in spec.NETS.items():
        assert spec.by_name(name) is net
    with pytest.raises(BadInput, match=r"'zfnett': there are tiny, .*zfnet"):
        spec.by_name("zfnett")


def test_table3_is_in_the_papers_order():
    # Table 3, top to bottom (section 5.1).
    names = [net.name for net in (*spec.TABLE3_TINY, *spec.TABLE3)]
    assert names == [name for name in TABLE if name not in ("alexnet", "vgg16")]


def test_upto():
    cut = spec.ZFNET.upto("layer3")
    assert cut.layers == spec.ZFNET.layers[:3]
    assert cut.input == spec.ZFNET.input
    assert spec.ZFNET.upto("layer8") == spec.ZFNET
    with pytest.raises(BadInput, match=r"layer 'layer9': zfnet has layer1, .*layer8"):
        spec.ZFNET.upto("layer9")


def test_index():
    assert [spec.ZFNET.index(f"layer{i}") for i in range(1, 9)] == list(range(8))
    with pytest.raises(BadInput, match="layer 'Layer1': zfnet has layer1"):
        spec.ZFNET.index("Layer1")


@pytest.mark.parametrize("name", ["zfnet", "alexnet-without67", "vgg16"])
def test_with_classes(name):
    net = spec.by_name(name)
    other = net.with_classes(7)
    assert other.layers[:-1] == net.layers[:-1]
    before, after = geometry.parameter_shapes(net), geometry.parameter_shapes(other)
    last = net.layers[-1].name
    assert after[last] == ((before[last][0][0], 7), (7,))
    # The layer that had a Flatten (where 6 and 7 are gone) keeps it.
    assert len(other.layers[-1].ops) == len(net.layers[-1].ops)


def test_zfnet_layer_by_layer():
    # Fig. 3: filters, pools 3x3 with stride 2, then LRN; dropout in 6 and 7.
    names = [[type(op).__name__ for op in layer.ops] for layer in spec.ZFNET.layers]
    assert names == [
        ["Conv", "Relu", "Pool", "LRN"],
        ["Conv", "Relu", "Pool", "LRN"],
        ["Conv", "Relu"],
        ["Conv", "Relu"],
        ["Conv", "Relu", "Pool"],
        ["Flatten", "Dense", "Relu", "Dropout"],
        ["Dense", "Relu", "Dropout"],
        ["Dense"],
    ]
    assert spec.ZFNET.layers[0].ops[3] == LRN(5, 2.0, 1e-4, 0.75)
    assert spec.ZFNET.layers[5].ops[3] == Dropout(0.5)


def test_alexnet_normalises_before_it_pools():
    names = [type(op).__name__ for op in spec.ALEXNET.layers[1].ops]
    assert names == ["Conv", "Relu", "LRN", "Pool"]
    groups = [layer.filter.groups for layer in spec.ALEXNET.layers[:5]]
    assert groups == [1, 2, 1, 2, 2]  # Krizhevsky et al. 2012, section 3.5


def test_head_and_tail():
    layer = Layer("one", (Flatten(), Dense(3), Relu(), Dropout(), LRN()))
    assert layer.ops_to_maps == (Flatten(), Dense(3), Relu())
    assert layer.ops_after_maps == (Dropout(), LRN())
    assert layer.filter == Dense(3)
    assert Layer("two", (Dense(3),)).ops_after_maps == ()


@pytest.mark.parametrize(
    "ops",
    [
        (),
        (Relu(),),
        (Pool(),),
        (Relu(), Conv(4, 3)),
        (Conv(4, 3), Conv(4, 3)),
        (Conv(4, 3), Relu(), Relu()),
        (Conv(4, 3), Pool(), Relu()),
        (Flatten(), Dense(3), Dropout(), Dense(3)),
        (Conv(4, 3), Pool(), LRN(), Pool()),
        (Conv(4, 3), Relu(), Pool(), Pool()),
        # Flatten comes first or not at all, and only once, and before Dense alone.
        (Dense(3), Flatten()),
        (Dense(3), Flatten(), Relu()),
        (Conv(4, 3), Relu(), Flatten()),
        (Flatten(), Flatten(), Dense(3)),
    ],
    ids=lambda ops: "-".join(type(op).__name__ for op in ops) or "empty",
)
def test_layers_out_of_order(ops):
    with pytest.raises(BadInput, match=r"^culprit: "):
        Layer("culprit", ops)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Conv(4, 0), "Conv(maps=4, size=(0, 0)"),
        (lambda: Conv(4, 3, 0), "stride=(0, 0)"),
        (lambda: Conv(4, 3, 1, -1), "padding=((-1, -1), (-1, -1))"),
        (lambda: Conv(4, (3, 3), padding=((0, 0), (-2, 1))), "((0, 0), (-2, 1))"),
        (lambda: Pool((0, 3)), "Pool(size=(0, 3)"),
        (lambda: Pool(16), "at most 255 entries"),
        (lambda: Pool(3, 2, 3), "a window could lie in the padding alone"),
        (lambda: Pool((3, 2), 1, ((0, 0), (0, 2))), "the padding alone"),
    ],
)
def test_bad_windows(make, named):
    with pytest.raises(BadInput, match=re.escape(named)):
        make()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Conv(4, (3, 3, 3)), id="three sizes"),
        pytest.param(lambda: Conv(4, 2.5), id="half a pixel"),
        pytest.param(lambda: Conv(4, 3, padding=((1, 1),)), id="one padding"),
        pytest.param(lambda: Conv(0, 3), id="no maps"),
        pytest.param(lambda: Conv(4, 3, groups=0), id="no groups"),
        pytest.param(lambda: Dense(0), id="no units"),
    ],
)
def test_impossible_numbers(make):
    with pytest.raises(BadInput, match=r"^(Conv|Dense)\("):
        make()


def test_the_largest_pool_has_255_entries():
    # By hand: switches 0 to 254 fit in a uint8, and 255 stands for nowhere.
    assert Pool((15, 17)).size == (15, 17)
    assert Pool((1, 255)).size == (1, 255)


@pytest.mark.parametrize("layers", [(), (CONV, CONV)])
def test_layers_need_names_of_their_own(layers):
    with pytest.raises(BadInput, match="small: needs layers"):
        small_net(*layers)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((Layer("low", (Conv(4, 13),)),), "low of small: a 13x13 window does not fit"),
        (
            (CONV, Layer("mid", (Conv(6, 3, groups=3),))),
            "mid of small: 3 groups do",
        ),
        ((Layer("low", (Conv(4, 3, groups=2),)),), "low of small: 2 groups do not"),
        ((CONV, Layer("top", (Dense(5),))), "top of small: Dense needs a Flatten"),
        ((TOP, CONV), "low of small: Conv cannot follow Dense"),
        (
            (Layer("top", (Flatten(), Dense(5), Relu(), Pool())),),
            "top of small: Pool cannot follow Dense",
        ),
    ],
)
def test_nets_that_do_not_fit_together(layers, message):
    with pytest.raises(BadInput, match=message):
        geometry.shapes(small_net(*layers))
