"""The same net in PyTorch, to be measured beside (pip install -e '.[reference]')."""

import numpy as np
import torch
from torch import nn

from zf_jax import geometry
from zf_jax.layers import LRN, Conv, Dense, Dropout, Flatten, Pool, Relu
from zf_jax.spec import Spec


def make(net: Spec) -> nn.Sequential:
    """`net` as torch modules, weights N(0, 0.01^2), images [N, C, H, W].

    Its first dense layer takes the pixels channel by channel, ours position by
    position: the same work, with the weights in another order.
    """
    modules = []
    for layer in net.layers:
        kernel, _ = geometry.parameter_shapes(net)[layer.name]
        for op in layer.ops:
            modules += _modules(op, kernel)
    built = nn.Sequential(*modules)
    for name, weights in built.named_parameters():
        if name.endswith("weight"):
            nn.init.normal_(weights, std=0.01)
        else:
            nn.init.zeros_(weights)
    return built


def _modules(op, kernel: tuple[int, ...]) -> list[nn.Module]:
    match op:
        case Conv():
            channels_in = kernel[2] * op.groups
            conv = nn.Conv2d(channels_in, op.maps, op.size, op.stride, groups=op.groups)
            return [*_padding(op, 0.0), conv]
        case Dense():
            return [nn.Linear(*kernel)]
        case Relu():
            return [nn.ReLU(inplace=True)]
        case Pool():
            return [*_padding(op, float("-inf")), nn.MaxPool2d(op.size, op.stride)]
        case LRN():
            # PyTorch divides alpha by the number of channels.
            return [nn.LocalResponseNorm(op.size, op.alpha * op.size, op.beta, op.k)]
        case Dropout():
            return [nn.Dropout(op.rate)]
        case Flatten():
            return [nn.Flatten()]


def _padding(op: Conv | Pool, value: float) -> list[nn.Module]:
    (top, bottom), (left, right) = op.padding
    pad = (left, right, top, bottom)
    return [nn.ConstantPad2d(pad, value)] if any(pad) else []


def relus(model: nn.Sequential) -> list[nn.Module]:
    """The rectifiers of a net, the lowest first."""
    return [module for module in model if isinstance(module, nn.ReLU)]


def load(model: nn.Sequential, net: Spec, params: dict) -> None:
    """Gives the filters of `make(net)` the parameters of ours; not dense layers."""
    convs = [module for module in model if isinstance(module, nn.Conv2d)]
    filters = [layer for layer in net.layers if isinstance(layer.filter, Conv)]
    for conv, layer in zip(convs, filters, strict=True):
        kernel, bias = (np.array(params[layer.name][n]) for n in ("kernel", "bias"))
        conv.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1))
        conv.bias.data = torch.tensor(bias)
