"""Makes captum_residual.npz: Captum's rules on a small residual net, in float64.

    python3 -m venv /tmp/torch
    /tmp/torch/bin/pip install torch==2.13.0
    /tmp/torch/bin/pip install captum==0.9.0
    /tmp/torch/bin/python tests/references/make_captum_residual.py

Every ReLU is a module of its own and none works in place: Captum hooks modules, and
does not see a ReLU that is a function, nor tell the calls of one module apart. As in
make_captum.py, its seed is a gradient of 1, and the rule of a selected ReLU is applied
to the seed.

The net: a filter 3 x 3, normalised; max pooling 3 x 3, stride 2, padding 1; a residual
block of 6 maps; one of 8 maps with stride 2 and a filter 1 x 1 in the shortcut; the
mean of each map; 5 logits.

The file, all float64 and NCHW (OIHW kernels):
    torch, captum       versions, text
    images              [2, 3, 13, 12]
    NAME/kernel         of stem, block1.first, block1.second, block2.first,
                        block2.second, block2.shortcut and head
    NAME/scale, shift   [C], the normalisation after it (head: shift alone)
    LAYER/neuron        selector in stem, block1, block2 [channel, row, column] or head
    LAYER/value         [2], the neuron in each image
    LAYER/RULE          [2, 3, 13, 12], deconvnet, guided or gradient
"""

import pathlib
import warnings

import captum
import numpy as np
import torch
from captum.attr import NeuronDeconvolution, NeuronGradient, NeuronGuidedBackprop
from torch import nn

RULES = {
    "deconvnet": NeuronDeconvolution,
    "guided": NeuronGuidedBackprop,
    "gradient": NeuronGradient,
}


class ConvNorm(nn.Sequential):
    """A filter and a normalisation with statistics that were measured before."""

    def __init__(self, before: int, maps: int, size: int, stride: int):
        norm = nn.BatchNorm2d(maps)
        with torch.no_grad():
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(0, 0.3)
        conv = nn.Conv2d(before, maps, size, stride, size // 2, bias=False)
        super().__init__(conv, norm)

    def arrays(self) -> dict:
        """The kernel, and the normalisation as a factor and a constant."""
        conv, norm = self
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * scale
        return {"kernel": conv.weight, "scale": scale, "shift": shift}


class Block(nn.Module):
    """Two filters and a shortcut."""

    def __init__(self, before: int, maps: int, stride: int):
        super().__init__()
        self.first = ConvNorm(before, maps, 3, stride)
        self.inner = nn.ReLU()
        self.second = ConvNorm(maps, maps, 3, 1)
        self.shortcut = ConvNorm(before, maps, 1, stride) if stride > 1 else None
        self.relu = nn.ReLU()

    def forward(self, x):
        """[N, C, H, W] to [N, maps, H', W']."""
        inner = self.second(self.inner(self.first(x)))
        return self.relu(inner + (self.shortcut(x) if self.shortcut else x))


class Net(nn.Module):
    """The net of the module's docstring."""

    def __init__(self):
        super().__init__()
        self.stem, self.stem_relu = ConvNorm(3, 6, 3, 1), nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.block1, self.block2 = Block(6, 6, 1), Block(6, 8, 2)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        """Images [N, 3, H, W] to logits."""
        x = self.pool(self.stem_relu(self.stem(x)))
        return self.head(self.block2(self.block1(x)).mean((2, 3)))


def main() -> None:
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", "Setting backward hooks on ReLU")
    warnings.filterwarnings("ignore", "Input Tensor 0 did not already require")
    net, images = Net().double().eval(), torch.randn(2, 3, 13, 12).double()
    found = {
        "torch": np.array(torch.__version__),
        "captum": np.array(captum.__version__),
        "images": images.numpy(),
        "head/kernel": net.head.weight.detach().numpy(),
        "head/shift": net.head.bias.detach().numpy(),
    }
    for name, module in net.named_modules():
        if isinstance(module, ConvNorm):
            for key, value in module.arrays().items():
                found[f"{name}/{key}"] = value.detach().numpy()
    layers = {
        "stem": net.stem_relu,
        "block1": net.block1.relu,
        "block2": net.block2.relu,
        "head": net.head,
    }
    for name, module in layers.items():
        seen = []
        hook = module.register_forward_hook(
            lambda _, __, value, s=seen: s.append(value)
        )
        net(images)
        hook.remove()
        maps = seen[0].detach().numpy()
        neuron = tuple(map(int, np.unravel_index(maps[0].argmax(), maps[0].shape)))
        found[f"{name}/neuron"] = np.array(neuron)
        found[f"{name}/value"] = maps[(slice(None), *neuron)]
        for rule, method in RULES.items():
            result = method(net, module).attribute(images, neuron)
            found[f"{name}/{rule}"] = result.detach().numpy()
    path = pathlib.Path(__file__).with_name("captum_residual.npz")
    np.savez_compressed(path, **found)


if __name__ == "__main__":
    main()
