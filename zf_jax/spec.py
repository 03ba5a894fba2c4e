"""The nets of the paper, each a `Spec` (`net_spec.py` tells what that is).

`NETS` has them by name: ZFNET (fig. 3), ALEXNET, the rows of Table 3, VGG16, and TINY
with the same changes. Standard library only.
"""

import dataclasses

from zf_jax.errors import BadInput
from zf_jax.layers import LRN, Conv, Dense, Dropout, Flatten, Layer, Op, Pool, Relu
from zf_jax.net_spec import Input, Spec, from_json, to_json

__all__ = [
    "ALEXNET",
    "NETS",
    "TABLE3",
    "TABLE3_TINY",
    "TINY",
    "VGG16",
    "ZFNET",
    "Input",
    "Spec",
    "by_name",
    "from_json",
    "to_json",
]


def by_name(name: str) -> Spec:
    """The predefined net called `name`.

    Raises:
      BadInput: there is no such net; names those there are.
    """
    if name not in NETS:
        raise BadInput(f"spec {name!r}: there are {', '.join(NETS)}")
    return NETS[name]


# cuda-convnet rounds map sizes up, for filters and pools alike: the last window may
# reach past the bottom and the right of the image. Here that is explicit padding.
# Not in the paper: it follows from the map sizes of fig. 3 (110, 55, 26, 13, 6).
_ROUND_UP = ((0, 1), (0, 1))
_ROUND_UP_11 = ((0, 3), (0, 3))


# Maps of layers 3 to 5.
_MAPS = (384, 384, 256)


def _filters(maps: tuple[int, int, int], groups: int = 1) -> tuple[Layer, ...]:
    """Layers 3 to 5, which ZFNET and ALEXNET share."""
    third, fourth, fifth = maps
    return (
        Layer("layer3", (Conv(third, 3, padding=1), Relu())),
        Layer("layer4", (Conv(fourth, 3, padding=1, groups=groups), Relu())),
        Layer("layer5", (Conv(fifth, 3, padding=1, groups=groups), Relu(), Pool())),
    )


def _classifier(*units: int, classes: int = 1000, first: int = 6) -> tuple[Layer, ...]:
    """Fully connected layers of `units` with dropout, then the logits in layer 8."""
    hidden = [
        Layer(f"layer{first + i}", (Dense(count), Relu(), Dropout()))
        for i, count in enumerate(units)
    ]
    top, *rest = [*hidden, Layer("layer8", (Dense(classes),))]
    return (dataclasses.replace(top, ops=(Flatten(), *top.ops)), *rest)


def _zfnet() -> Spec:
    bottom = (
        Layer(
            "layer1", (Conv(96, 7, 2, _ROUND_UP), Relu(), Pool(3, 2, _ROUND_UP), LRN())
        ),
        Layer("layer2", (Conv(256, 5, 2), Relu(), Pool(3, 2, _ROUND_UP), LRN())),
    )
    return Spec("zfnet", Input(), bottom + _filters(_MAPS) + _classifier(4096, 4096))


def _alexnet(name, *, groups=1) -> Spec:
    bottom = (
        Layer("layer1", (Conv(96, 11, 4, _ROUND_UP_11), Relu(), LRN(), Pool())),
        Layer(
            "layer2", (Conv(256, 5, padding=2, groups=groups), Relu(), LRN(), Pool())
        ),
    )
    top = _filters(_MAPS, groups) + _classifier(4096, 4096)
    return Spec(name, Input(), bottom + top)


def _without(net: Spec, *names: str) -> Spec:
    """`net` less some layers: the next one takes what remains (Table 3)."""
    kept = [layer for layer in net.layers if layer.name not in names]
    for i, layer in enumerate(kept):
        first_dense = isinstance(layer.ops[0], Dense) and isinstance(
            kept[i - 1].ops[0], Conv
        )
        if first_dense:
            kept[i] = dataclasses.replace(layer, ops=(Flatten(), *layer.ops))
    gone = "".join(name.removeprefix("layer") for name in names)
    return Spec(f"{net.name}-without{gone}", net.input, tuple(kept))


def _hidden(net: Spec, factor: float) -> Spec:
    """`net` with `factor` times the units in layers 6 and 7 (Table 3)."""
    resized = _resized(net, dict.fromkeys(("layer6", "layer7"), factor))
    units = resized.layers[net.index("layer7")].filter.units
    return dataclasses.replace(resized, name=f"{net.name}-{units}")


def _wide(net: Spec) -> Spec:
    """`net` with 4/3, 8/3 and 2 times the maps in layers 3 to 5 (Table 3).

    That is 512, 1024 and 512 for the paper's 384, 384 and 256.
    """
    factors = {"layer3": 4 / 3, "layer4": 8 / 3, "layer5": 2}
    return dataclasses.replace(_resized(net, factors), name=f"{net.name}-wide")


def _resized(net: Spec, factors: dict[str, float]) -> Spec:
    """`net` with some layers' maps or units multiplied."""

    def resized(op: Op, factor: float) -> Op:
        match op:
            case Conv():
                return dataclasses.replace(op, maps=round(factor * op.maps))
            case Dense():
                return Dense(round(factor * op.units))
        return op

    layers = tuple(
        Layer(
            each.name, tuple(resized(op, factors.get(each.name, 1)) for op in each.ops)
        )
        for each in net.layers
    )
    return dataclasses.replace(net, layers=layers)


def _shallow(net: Spec) -> tuple[Spec, ...]:
    """What Table 3 takes away from a net: two layers, one, two others, four."""
    return (
        _without(net, "layer3", "layer4"),
        _without(net, "layer7"),
        _without(net, "layer6", "layer7"),
        _without(net, "layer3", "layer4", "layer6", "layer7"),
    )


def _broad(net: Spec) -> tuple[Spec, ...]:
    """How Table 3 changes a net's width in layers 3 to 7."""
    wide = _wide(net)
    return _hidden(net, 1 / 2), _hidden(net, 2), wide, _hidden(wide, 2)


def _vgg16() -> Spec:
    """Configuration D of Simonyan & Zisserman 2014; layers by its own block names."""
    blocks = []
    for block, (maps, count) in enumerate(
        [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], start=1
    ):
        for i in range(1, count + 1):
            pool = (Pool(2, 2),) if i == count else ()
            ops = (Conv(maps, 3, padding=1), Relu(), *pool)
            blocks.append(Layer(f"block{block}_conv{i}", ops))
    classifier = [
        dataclasses.replace(layer, name=name)
        for layer, name in zip(
            _classifier(4096, 4096), ("fc1", "fc2", "predictions"), strict=True
        )
    ]
    return Spec("vgg16", Input(), (*blocks, *classifier))


def _tiny() -> Spec:
    """ZFNET's eight layers at a size that a laptop trains in minutes, on 64 x 64."""
    return Spec(
        "tiny",
        Input(64, mean=(118.0, 116.0, 108.0), scale=1 / 64),
        (
            Layer(
                "layer1",
                (Conv(32, 7, 2, _ROUND_UP), Relu(), Pool(3, 2, _ROUND_UP), LRN()),
            ),
            Layer("layer2", (Conv(64, 3, 1, 1), Relu(), Pool(3, 2, _ROUND_UP), LRN())),
            *_filters((96, 96, 64)),
            *_classifier(256, 256, classes=10),
        ),
    )


# Fig. 3. Dropout and the classifier's sizes: section 3.
ZFNET = _zfnet()
# Krizhevsky et al. 2012, with its two groups in layers 2, 4 and 5.
ALEXNET = _alexnet("alexnet", groups=2)
VGG16 = _vgg16()
TINY = _tiny()

# The rows of Table 3, in its order.
# Not in the paper: whether its replication of Krizhevsky's net kept the two groups;
# these do not, as the paper says of its own net.
_DENSE = _alexnet("alexnet")
TABLE3 = (
    dataclasses.replace(_DENSE, name="alexnet-dense"),
    *_shallow(_DENSE),
    _hidden(_DENSE, 1 / 2),
    _hidden(_DENSE, 2),
    ZFNET,
    *_broad(ZFNET),
)
# The same changes of the small net.
TABLE3_TINY = (TINY, *_shallow(TINY), *_broad(TINY))

NETS = {net.name: net for net in (*TABLE3_TINY, ALEXNET, VGG16, *TABLE3)}
