"""ResNet-50 (He et al., CVPR 2016) and MobileNetV2 (Sandler et al., CVPR 2018).

With random weights, batch normalisation as in inference, 224 x 224 pixels and 1000
classes; `reference_resnet.py` has the same nets in PyTorch. ResNet-50 halves in the
3 x 3 convolutions of a stage, as torchvision's does. The ends of its stages are tagged.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

SIZE, CLASSES = (224, 224), 1000
# Channels within a block, blocks and stride of each stage of ResNet-50.
STAGES = {
    "stage1": (64, 3, 1),
    "stage2": (128, 4, 2),
    "stage3": (256, 6, 2),
    "stage4": (512, 3, 2),
}
# The tagged values, lowest first, and how many channels they have.
TAGS = {"stem": 64, "stage1": 256, "stage2": 512, "stage3": 1024, "stage4": 2048}
# Expansion, channels, blocks and stride of each stage of MobileNetV2.
INVERTED = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class ConvNorm(nn.Module):
    """A convolution and batch normalisation, padded as PyTorch pads."""

    channels: int
    size: int
    stride: int = 1
    groups: int = 1

    @nn.compact
    def __call__(self, x):
        around = self.size // 2
        x = nn.Conv(
            self.channels,
            (self.size, self.size),
            self.stride,
            [(around, around)] * 2,
            feature_group_count=self.groups,
            use_bias=False,
            name="conv",
        )(x)
        return nn.BatchNorm(use_running_average=True, epsilon=1e-5, name="norm")(x)


class Bottleneck(nn.Module):
    """A block of ResNet-50."""

    channels: int
    stride: int

    @nn.compact
    def __call__(self, x):
        y = nn.relu(ConvNorm(self.channels, 1, name="reduce")(x))
        y = nn.relu(ConvNorm(self.channels, 3, self.stride, name="filter")(y))
        y = ConvNorm(4 * self.channels, 1, name="expand")(y)
        if x.shape != y.shape:
            x = ConvNorm(4 * self.channels, 1, self.stride, name="shortcut")(x)
        return nn.relu(x + y)


class ResNet50(nn.Module):
    """Images [N, H, W, 3] to logits [N, 1000]."""

    @nn.compact
    def __call__(self, x):
        x = checkpoint_name(nn.relu(ConvNorm(64, 7, 2, name="first")(x)), "stem")
        x = nn.max_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])
        for stage, (channels, blocks, stride) in STAGES.items():
            for i in range(blocks):
                name = f"{stage}_block{i + 1}"
                x = Bottleneck(channels, 1 if i else stride, name=name)(x)
            x = checkpoint_name(x, stage)
        return nn.Dense(CLASSES, name="head")(x.mean(axis=(1, 2)))


class InvertedResidual(nn.Module):
    """A block of MobileNetV2."""

    expansion: int
    channels: int
    stride: int

    @nn.compact
    def __call__(self, x):
        y, hidden = x, x.shape[-1] * self.expansion
        if self.expansion > 1:
            y = nn.relu6(ConvNorm(hidden, 1, name="expand")(y))
        y = nn.relu6(ConvNorm(hidden, 3, self.stride, hidden, name="filter")(y))
        y = ConvNorm(self.channels, 1, name="reduce")(y)
        return x + y if x.shape == y.shape else y


class MobileNetV2(nn.Module):
    """Images [N, H, W, 3] to logits [N, 1000]."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu6(ConvNorm(32, 3, 2, name="first")(x))
        for stage, (expansion, channels, blocks, stride) in enumerate(INVERTED, 1):
            for i in range(blocks):
                name, step = f"stage{stage}_block{i + 1}", 1 if i else stride
                x = InvertedResidual(expansion, channels, step, name=name)(x)
        x = nn.relu6(ConvNorm(1280, 1, name="last")(x))
        return nn.Dense(CLASSES, name="head")(x.mean(axis=(1, 2)))


NETS = {"resnet50": ResNet50, "mobilenetv2": MobileNetV2}


def initialise(name: str, seed: int = 0) -> tuple[nn.Module, dict]:
    """A net by name, and random variables that keep its values near 1.

    Kernels are from He's distribution. Statistics and scales are no 0 and 1, so that
    a comparison sees them.
    """
    model, rng = NETS[name](), np.random.default_rng(seed)
    images = jax.ShapeDtypeStruct((1, *SIZE, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)

    def draw(path, leaf):
        match path[-1].key:
            case "kernel":
                deviation = math.sqrt(2 / math.prod(leaf.shape[:-1]))
                values = rng.normal(scale=deviation, size=leaf.shape)
            case "scale" | "var":
                values = rng.uniform(0.5, 1, leaf.shape)
            case "bias" | "mean":
                values = rng.normal(scale=0.1, size=leaf.shape)
        return jnp.asarray(values, jnp.float32)

    return model, jax.tree_util.tree_map_with_path(draw, shapes)
