"""Nets of timm as PyTorch's two exporters write them, against onnxruntime.

Weights are random, statistics of batch normalisation too. The tests need torch and
timm, which are no dependency, and are skipped without.
"""

import contextlib
import importlib.util
import io
import pathlib
import warnings

import numpy as np
import onnxruntime
import pytest

from zf_jax import xla
from zf_jax.pretrained import onnx as onnx_import

pytestmark = pytest.mark.slow
for _needed in ("torch", "timm"):
    # Importing them takes seconds, which tests that are not slow should not wait for.
    if importlib.util.find_spec(_needed) is None:
        pytest.skip(f"needs {_needed}", allow_module_level=True)
# Of float32 sums of many terms in another order, relative to the largest output.
_TOLERANCE = 1e-4
_SIZES = {"vgg11_bn": 224}
# How a net is exported, and for how many images.
_EXPORTS = {
    "one image": (1, {"dynamo": True}),
    "any number": (2, {"dynamo": True}),
    "legacy, one image": (1, {"dynamo": False}),
    "legacy, opset 11, any number": (
        2,
        {
            "dynamo": False,
            "opset_version": 11,
            "input_names": ["images"],
            "dynamic_axes": {"images": {0: "n"}},
        },
    ),
}
_NETS = (
    "convnext_tiny",
    "densenet121",
    "efficientnet_lite0",
    "mobilenetv2_100",
    "mobilenetv3_large_100",
    "resnet18",
    "resnet50",
    "vgg11_bn",
)
_CASES = [(name, how) for name in _NETS for how in _EXPORTS if "any number" in how]
_CASES += [(name, how) for name in _NETS[::5] for how in _EXPORTS if "one image" in how]


def _create(name: str):
    import torch

    try:
        import timm
    except RuntimeError:
        # torchvision was built for another torch, and its operations are not there.
        for missing in ("nms", "qnms"):
            torch.library.define(f"torchvision::{missing}", "(Tensor x) -> Tensor")
        import timm
    torch.manual_seed(0)
    net = timm.create_model(name, pretrained=False).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net


def _export(net, images, path: pathlib.Path, how: str) -> None:
    import torch

    count, options = _EXPORTS[how]
    if count > 1 and options["dynamo"]:
        options = options | {"dynamic_shapes": ({0: torch.export.Dim("n")},)}
    said = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (images[:count],), str(path), **options)


@pytest.mark.parametrize(("name", "how"), _CASES)
def test_export(tmp_path, name, how):
    import torch

    size = _SIZES.get(name, 96)
    images = torch.randn(2, 3, size, size, generator=torch.manual_seed(1))
    path = tmp_path / "net.onnx"
    _export(_create(name), images, path, how)
    session = onnxruntime.InferenceSession(path)
    given = session.get_inputs()[0].name
    # A graph for one image takes no two; ours does.
    expected = [session.run(None, {given: each[None].numpy()})[0] for each in images]
    net = onnx_import.load(path, mean=0.0)
    found = xla.jit(net.apply)(net.params, images.numpy().transpose(0, 2, 3, 1))
    expected = np.concatenate(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= _TOLERANCE * np.abs(expected).max()
