"""The net that an experiment looks at: trained here, or an ONNX file.

Flags shared by the experiments: --checkpoint=DIR, or --onnx=FILE with the images that
it takes (--preset).
"""

import pathlib
from typing import NamedTuple

import jax
import numpy as np
from absl import flags

from zf_jax import convnet, deconvnet, spec
from zf_jax.data import crops
from zf_jax.errors import BadInput
from zf_jax.layers import Dense, Pair
from zf_jax.training import checkpoint

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "workdir of a training run, or a folder that holds just one"
)
_STEP = flags.DEFINE_integer("step", None, "which checkpoint; the newest by default")
_ONNX = flags.DEFINE_string("onnx", None, "or: an ONNX file that holds the net")
_PRESET = flags.DEFINE_enum(
    "preset",
    None,
    ["caffe", "torch", "unit"],
    "the images that --onnx takes: caffe, BGR of 0 to 255 less ImageNet's mean; torch, "
    "RGB of 0 to 1 less its mean over its deviation; unit, RGB of 0 to 1",
)
_LABELS = flags.DEFINE_string(
    "labels", None, "file with the classes' names, one a line; the run's if unset"
)
_LAST = flags.DEFINE_string(
    "last", None, "layer to cut the net after; without dense layers it takes any size"
)
_SIZE = flags.DEFINE_integer(
    "size",
    None,
    "smaller side that images are resized to, pixels; a net with dense layers sees "
    "the middle of them, one without sees all",
    lower_bound=8,
)
_RULE = flags.DEFINE_enum(
    "rule",
    "deconvnet",
    ["deconvnet", "gradient", "guided"],
    "of the ReLU downwards: the paper's, the gradient's, guided backpropagation's",
)

_IMAGENET = (123.68, 116.779, 103.939)
_PRESETS = {
    "caffe": {"mean": _IMAGENET, "channels": "bgr"},
    "torch": {
        "mean": (123.675, 116.28, 103.53),
        "scale": (1 / 58.395, 1 / 57.12, 1 / 57.375),
    },
    "unit": {"mean": (0.0, 0.0, 0.0), "scale": 1 / 255},
}


class LoadedModel(NamedTuple):
    """A trained net and how it looks at images.

    Attributes:
      net: what it is.
      params: its parameters, on the device.
      labels: names of the classes; empty where the net has none.
      resize: smaller side of an image before it is cropped, pixels.
      dataset: name of the data it was trained on, where that is known.
      data_dir: where that is kept; None for TFDS' own place.
      run: the workdir of its training; None for an ONNX file.
      rule: what the ReLU does on the way down.
    """

    net: spec.Spec
    params: dict
    labels: tuple[str, ...]
    resize: int
    dataset: str | None
    data_dir: str | None = None
    run: pathlib.Path | None = None
    rule: deconvnet.Rule = "deconvnet"

    @property
    def crop(self) -> Pair | None:
        """Rows and columns of what the net sees; None where it takes any size."""
        dense = any(isinstance(layer.filter, Dense) for layer in self.net.layers)
        return self.net.input.size if dense else None

    def names(self, layer: str) -> tuple[str, ...]:
        """Those of the layer's maps, where they stand for classes; else empty."""
        return self.labels if layer == self.net.layers[-1].name else ()

    def frame(self, image: np.ndarray) -> np.ndarray:
        """[H, W, 3] uint8 of any size as the net sees it, uint8."""
        image = crops.resize(image, self.resize)
        return image if self.crop is None else crops.centre(image, self.crop)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """[H, W, 3] float32, what the net takes, of what `frame` gives."""
        return np.asarray(convnet.prepare(image, self.net.input))


def load() -> LoadedModel:
    """The net that the flags name.

    Raises:
      BadInput: none or two are named, or what was named cannot be read.
    """
    if (_CHECKPOINT.value is None) == (_ONNX.value is None):
        raise BadInput("--checkpoint=DIR or --onnx=FILE: give one of them")
    if _ONNX.value:
        return _as_asked(_from_onnx())
    return of_run(_CHECKPOINT.value, _STEP.value)


def of_run(workdir: str | pathlib.Path, step: int | None = None) -> LoadedModel:
    """The net of a training run after so many steps, the newest by default."""
    about, params, _ = checkpoint.load(workdir, step)
    net = about.net.upto(_LAST.value) if _LAST.value else about.net
    params = jax.device_put({layer.name: params[layer.name] for layer in net.layers})
    known = LoadedModel(
        net,
        params,
        about.labels,
        about.resize,
        about.dataset,
        about.data_dir,
        checkpoint.locate(workdir),
    )
    return _as_asked(known)


def _as_asked(known: LoadedModel) -> LoadedModel:
    """With the size, the names and the rule that the flags give."""
    if _SIZE.value:
        known = known._replace(resize=_SIZE.value)
        if known.crop and _SIZE.value < max(known.crop):
            raise BadInput(
                f"--size={_SIZE.value}: {known.net.name} takes {known.crop[0]}x"
                f"{known.crop[1]} pixels; give as many, or cut it with --last"
            )
    return known._replace(labels=_labels(known), rule=_RULE.value)


def _from_onnx() -> LoadedModel:
    try:
        from zf_jax.pretrained import onnx
    except ImportError:
        raise BadInput("--onnx: needs pip install -e '.[pretrained]'") from None
    if _PRESET.value is None:
        raise BadInput(
            "--preset: say which images the net takes, caffe, torch or unit (--help)"
        )
    path = pathlib.Path(_ONNX.value)
    net, params = onnx.load(path, last=_LAST.value, **_PRESETS[_PRESET.value])
    return LoadedModel(net, params, (), max(net.input.size), None)


def _labels(known: LoadedModel) -> tuple[str, ...]:
    last = known.net.layers[-1].filter
    if not isinstance(last, Dense) or _LAST.value:
        return ()
    if _LABELS.value is None:
        return known.labels or tuple(f"class {i}" for i in range(last.units))
    try:
        text = pathlib.Path(_LABELS.value).expanduser().read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadInput(f"--labels={_LABELS.value}: not a text file") from None
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(names) != last.units:
        raise BadInput(
            f"--labels={_LABELS.value}: {len(names)} names, the net has {last.units} "
            "classes"
        )
    return names
