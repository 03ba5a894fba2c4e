"""The nets of `resnet.py` in PyTorch, images [N, C, H, W].

Every rectifier is a module of its own and changes nothing in place, as Captum's hooks
need it.
"""

from collections import OrderedDict

import numpy as np
import torch
from flax import traverse_util
from torch import nn

from benchmarks import resnet


def make(name: str, variables: dict) -> nn.Module:
    """A net by name, with the variables of ours, in evaluation mode."""
    model = {"resnet50": _resnet50, "mobilenetv2": _mobilenetv2}[name]()
    modules = dict(model.named_modules())
    for path, values in traverse_util.flatten_dict(variables).items():
        _, *names, last = path
        target = _NAMES.get(last, last)
        getattr(modules[".".join(names)], target).data = _as_torch(last, values)
    return model.eval()


_NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}


def _as_torch(name: str, values) -> torch.Tensor:
    values = np.array(values)
    if name == "kernel":
        # HWIO to OIHW, and [in, out] to [out, in].
        order = (3, 2, 0, 1) if values.ndim == 4 else (1, 0)
        values = values.transpose(order).copy()
    return torch.tensor(values)


def relus(model: nn.Module) -> dict[str, nn.Module]:
    """The rectifiers of ResNet-50 that give what `resnet.TAGS` names."""
    found = {"stem": model.first_relu}
    for stage, (_, blocks, _) in resnet.STAGES.items():
        found[stage] = getattr(model, f"{stage}_block{blocks}").relu
    return found


def _conv_norm(before: int, channels: int, size: int, stride=1, groups=1):
    conv = nn.Conv2d(
        before, channels, size, stride, size // 2, groups=groups, bias=False
    )
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(channels)))


class _Bottleneck(nn.Module):
    def __init__(self, before: int, channels: int, stride: int):
        super().__init__()
        self.reduce = _conv_norm(before, channels, 1)
        self.filter = _conv_norm(channels, channels, 3, stride)
        self.expand = _conv_norm(channels, 4 * channels, 1)
        self.relu1, self.relu2, self.relu = nn.ReLU(), nn.ReLU(), nn.ReLU()
        if stride > 1 or before != 4 * channels:
            self.shortcut = _conv_norm(before, 4 * channels, 1, stride)
        else:
            self.shortcut = nn.Identity()

    def forward(self, x):
        y = self.relu1(self.reduce(x))
        y = self.relu2(self.filter(y))
        return self.relu(self.shortcut(x) + self.expand(y))


class _InvertedResidual(nn.Module):
    def __init__(self, before: int, expansion: int, channels: int, stride: int):
        super().__init__()
        hidden = before * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and before == channels
        if self.expands:
            self.expand, self.relu1 = _conv_norm(before, hidden, 1), nn.ReLU6()
        self.filter = _conv_norm(hidden, hidden, 3, stride, hidden)
        self.relu2, self.reduce = nn.ReLU6(), _conv_norm(hidden, channels, 1)

    def forward(self, x):
        y = self.relu1(self.expand(x)) if self.expands else x
        y = self.reduce(self.relu2(self.filter(y)))
        return x + y if self.adds else y


def _resnet50() -> nn.Sequential:
    modules, before = OrderedDict(first=_conv_norm(3, 64, 7, 2)), 64
    modules |= {"first_relu": nn.ReLU(), "pool": nn.MaxPool2d(3, 2, 1)}
    for stage, (channels, blocks, stride) in resnet.STAGES.items():
        for i in range(blocks):
            block = _Bottleneck(before, channels, 1 if i else stride)
            modules[f"{stage}_block{i + 1}"], before = block, 4 * channels
    return _with_head(modules, before)


def _mobilenetv2() -> nn.Sequential:
    modules, before = OrderedDict(first=_conv_norm(3, 32, 3, 2)), 32
    modules["first_relu"] = nn.ReLU6()
    for stage, (expansion, channels, blocks, stride) in enumerate(resnet.INVERTED, 1):
        for i in range(blocks):
            step = 1 if i else stride
            block = _InvertedResidual(before, expansion, channels, step)
            modules[f"stage{stage}_block{i + 1}"], before = block, channels
    modules |= {"last": _conv_norm(before, 1280, 1), "last_relu": nn.ReLU6()}
    return _with_head(modules, 1280)


def _with_head(modules: OrderedDict, channels: int) -> nn.Sequential:
    modules |= {"mean": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    return nn.Sequential(OrderedDict(modules, head=nn.Linear(channels, resnet.CLASSES)))
