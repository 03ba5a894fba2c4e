"""Makes captum.npz: Captum's deconvolution and guided backpropagation.

    python3 -m venv /tmp/torch
    /tmp/torch/bin/pip install torch==2.13.0
    /tmp/torch/bin/pip install captum==0.9.0
    /tmp/torch/bin/python tests/references/make_captum.py

Captum hooks every ReLU *module* and takes the gradient of one neuron of one module,
the same neuron in each image. Selected here are ReLU modules, whose outputs are what
zf_jax calls the maps of a layer, and the last Linear. Captum saves a module's output
inside of the hooks of that module, so a selected ReLU's own rule is applied to the
seed, as in zf_jax: at a dead unit, guided backpropagation is zero and deconvolution
is not. Captum's seed is a gradient of 1, not the activation's value.

The file, all float32 and NCHW (OIHW kernels) unless told otherwise:
    torch, captum                versions, text
    nets                         JSON, {net: {"size": [H, W], "layers": [[maps, size,
                                 stride, padding, pool size or 0], ..., [units]]}};
                                 all layers but the last have a ReLU, all pools stride 2
    NET/images                   [2, 3, H, W]
    NET/layerN/kernel, bias      of torch's Conv2d or Linear (on a C, H, W flattening)
    NET/layerN/maps              what Captum saw at that layer
    NET/layerN/I/neuron          selector: [channel, row, column] or [unit], int
    NET/layerN/I/deconvnet       [2, 3, H, W], NeuronDeconvolution
    NET/layerN/I/guided          [2, 3, H, W], NeuronGuidedBackprop
"""

import json
import pathlib
import warnings

import captum
import numpy as np
import torch
from captum.attr import NeuronDeconvolution, NeuronGuidedBackprop
from torch import nn

NETS = {
    "overlapping": {
        "size": [13, 12],
        "layers": [[6, 3, 1, 1, 3], [8, 3, 1, 1, 3], [5]],
    },
    "disjoint": {
        "size": [12, 14],
        "layers": [[6, 3, 1, 1, 2], [8, 3, 1, 0, 2], [5]],
    },
    "strided": {
        "size": [17, 14],
        "layers": [[6, 5, 2, 2, 3], [8, 3, 2, 1, 0], [7], [5]],
    },
}
RULES = {"deconvnet": NeuronDeconvolution, "guided": NeuronGuidedBackprop}


def build(net: dict) -> tuple[nn.Sequential, list[nn.Module], list[nn.Module]]:
    """The net, its filters, and for every layer the module to select neurons of."""
    modules, filters, selected, channels = [], [], [], 3
    for layer in net["layers"]:
        if len(layer) == 5:
            maps, size, stride, padding, pool = layer
            filters.append(nn.Conv2d(channels, maps, size, stride, padding))
        else:
            [maps], pool = layer, 0
            if isinstance(filters[-1], nn.Conv2d):
                modules.append(nn.Flatten())
            probe = nn.Sequential(*modules)(torch.zeros(1, 3, *net["size"]))
            filters.append(nn.Linear(probe.shape[1], maps))
        modules.append(filters[-1])
        if layer is not net["layers"][-1]:
            modules.append(nn.ReLU())
        selected.append(modules[-1])
        if pool:
            modules.append(nn.MaxPool2d(pool, 2))
        channels = maps
    return nn.Sequential(*modules), filters, selected


def main() -> None:
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", "Setting backward hooks on ReLU")
    warnings.filterwarnings("ignore", "Input Tensor 0 did not already require")
    found = {
        "torch": np.array(torch.__version__),
        "captum": np.array(captum.__version__),
        "nets": np.array(json.dumps(NETS)),
    }
    for name, net in NETS.items():
        model, filters, selected = build(net)
        images = torch.randn(2, 3, *net["size"])
        found[f"{name}/images"] = images.numpy()
        x, maps = images, {}
        for module in model:
            x = module(x)
            maps[module] = x.detach().numpy()
        for i, (module, output) in enumerate(zip(filters, selected, strict=True), 1):
            at = f"{name}/layer{i}"
            found[f"{at}/kernel"] = module.weight.detach().numpy()
            found[f"{at}/bias"] = module.bias.detach().numpy()
            found[f"{at}/maps"] = maps[output]
            # The two strongest neurons of image 0; image 1 may well be dead there.
            strength = maps[output][0].reshape(len(maps[output][0]), -1).max(1)
            for j, channel in enumerate(map(int, np.argsort(-strength)[:2])):
                chosen = maps[output][0, channel]
                place = np.unravel_index(chosen.argmax(), chosen.shape)
                neuron = (channel, *map(int, place))
                found[f"{at}/{j}/neuron"] = np.array(neuron)
                for rule, method in RULES.items():
                    result = method(model, output).attribute(images, neuron)
                    found[f"{at}/{j}/{rule}"] = result.detach().numpy()
    np.savez_compressed(pathlib.Path(__file__).with_name("captum.npz"), **found)


if __name__ == "__main__":
    main()
