"""The net that an experiment examines: a training run's checkpoint, or an ONNX file."""

import dataclasses
import pathlib
from typing import NamedTuple

import jax
import numpy as np

from zf_jax import cli, convnet, deconvnet, spec
from zf_jax.data import crops
from zf_jax.errors import BadInput
from zf_jax.layers import Dense, Pair
from zf_jax.probes import projection
from zf_jax.training import checkpoint

# Means of ImageNet's pixels, RGB in 0..255, and factors after they are taken off.
_PRESETS = {
    "caffe": ((123.68, 116.779, 103.939), (1.0,)),
    "torch": ((123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375)),
    "unit": ((0.0,), (1 / 255,)),
}


@dataclasses.dataclass(frozen=True)
class RuleConfig:
    """How a net is projected."""

    rule: deconvnet.Rule = cli.field(
        "deconvnet",
        "for the ReLU in the backward pass: the paper's, the gradient's, or guided "
        "backpropagation's",
        choices=deconvnet.RULES,
    )


@dataclasses.dataclass(frozen=True)
class ModelConfig(RuleConfig):
    """Which net, and how it sees images."""

    checkpoint: pathlib.Path | None = cli.field(
        None, "workdir of a training run, or a folder that holds just one"
    )
    step: int | None = cli.field(None, "which checkpoint; the newest if unset")
    onnx: pathlib.Path | None = cli.field(None, "or: an ONNX file that holds the net")
    preset: str | None = cli.field(
        None,
        "the images that --onnx takes: caffe, BGR in 0..255 minus ImageNet's mean; "
        "torch, RGB in 0..1 minus its mean, divided by its standard deviation; unit, "
        "RGB in 0..1. A grey net takes the average of the three channels' values",
        choices=tuple(_PRESETS),
    )
    mean: tuple[float, ...] = cli.field(
        (),
        "in place of the preset's, in pixels of 0..255: one number for all channels, "
        "or one a channel",
    )
    scale: tuple[float, ...] = cli.field(
        (), "in place of the preset's: the factor after the mean is taken off"
    )
    labels: pathlib.Path | None = cli.field(
        None, "text file of the classes' names, one a line; the run's own if unset"
    )
    upto: str | None = cli.field(
        None,
        "last layer to keep; without dense layers a net takes images of any size",
        formerly="last",
    )
    size: int | None = cli.field(
        None,
        "smaller side that images are resized to, pixels; a net with dense layers sees "
        "the middle of them, one without sees all. Of an ONNX file whose input size is "
        "open, the size of its input",
        minimum=8,
    )


class LoadedModel(NamedTuple):
    """A trained net and how it sees images.

    Attributes:
      net: its layers.
      params: its parameters, on the device.
      labels: names of the classes; empty where the net has none.
      resize: smaller side of an image before it is cropped, pixels.
      dataset: name of the data it was trained on, where that is known.
      data_dir: where that is kept; None for TFDS' own folder.
      run: the workdir of its training; None for an ONNX file.
      rule: for the ReLU in the backward pass.
      activation: what turns logits into probabilities, "softmax" or "sigmoid"; None
        where the file does not say.
    """

    net: spec.Spec
    params: dict
    labels: tuple[str, ...]
    resize: int
    dataset: str | None
    data_dir: str | None = None
    run: pathlib.Path | None = None
    rule: deconvnet.Rule = "deconvnet"
    activation: str | None = None

    @property
    def name(self) -> str:
        """For tables: of the run's folder, or of the ONNX file."""
        return self.run.name if self.run else self.net.name

    @property
    def crop_size(self) -> Pair | None:
        """Rows and columns that the net sees; None where it takes any size."""
        dense = any(isinstance(layer.filter, Dense) for layer in self.net.layers)
        return self.net.input.size if dense else None

    def class_names(self, layer: str) -> tuple[str, ...]:
        """Names of the layer's channels, where they are classes; else empty."""
        return self.labels if layer == self.net.layers[-1].name else ()

    def upto(self, layer: str) -> "LoadedModel":
        """The net without what follows the layer."""
        return self._replace(net=self.net.upto(layer))

    def apply(self, images: jax.Array) -> tuple[jax.Array, convnet.Trace]:
        """The logits and the trace of images as `prepare` makes them."""
        return convnet.ConvNet(self.net).apply({"params": self.params}, images)

    def project(self, images, best, **options) -> tuple[np.ndarray, np.ndarray]:
        """Patches and projections by the net's rule, as `projection.project` does."""
        return projection.project(
            self.net, self.params, images, best, rule=self.rule, **options
        )

    def probabilities(self, logits: jax.Array) -> jax.Array:
        """Logits [N, K] to probabilities.

        By the sigmoid where the net ends in one or has a single unit, else by softmax.
        """
        by_unit = self.activation == "sigmoid" or logits.shape[-1] == 1
        return jax.nn.sigmoid(logits) if by_unit else jax.nn.softmax(logits)

    def frame(self, image: np.ndarray) -> np.ndarray:
        """[H, W, 3] uint8 of any size to [h, w, C] uint8: resized and cropped."""
        image = crops.resize(image, self.resize)
        image = image if self.crop_size is None else crops.centre(image, self.crop_size)
        return self.to_channels(image)

    def to_channels(self, images: np.ndarray) -> np.ndarray:
        """[..., 3] uint8 RGB to [..., C] uint8, for a net of grey images their luma.

        The weights are those of Pillow's mode L (ITU-R BT.601).
        """
        if self.net.input.channels == 3:
            return images
        luma = images.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])
        return np.rint(luma).astype(np.uint8)[..., None]

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """[H, W, C] uint8 of `frame` to the float32 values that the net takes."""
        return np.asarray(convnet.prepare(image, self.net.input))


def load(config: ModelConfig) -> LoadedModel:
    """The net that a configuration names.

    Raises:
      BadInput: it names none or two, or the file or folder cannot be read.
    """
    if (config.checkpoint is None) == (config.onnx is None):
        raise BadInput("--checkpoint=DIR or --onnx=FILE: give one of them")
    for flag in ("preset", "mean", "scale"):
        if config.checkpoint and getattr(config, flag):
            raise BadInput(f"--{flag}: leave it out; a training run knows its own")
    how = {"size": config.size, "labels": config.labels, "rule": config.rule}
    if config.onnx:
        found = _read_onnx(config)
        size = max(found.spec.input.size)
        loaded = LoadedModel(
            found.spec, found.params, (), size, None, activation=found.activation
        )
        return _adjust(loaded, cut=config.upto is not None, **how)
    return from_run(config.checkpoint, config.step, upto=config.upto, **how)


def from_run(
    workdir: str | pathlib.Path,
    step: int | None = None,
    *,
    upto: str | None = None,
    size: int | None = None,
    labels: pathlib.Path | None = None,
    rule: deconvnet.Rule = "deconvnet",
) -> LoadedModel:
    """The net of a training run.

    Args:
      workdir: of the run, or a folder that holds just one.
      step: of training; the newest checkpoint by default.
      upto: last layer to keep; all by default.
      size: smaller side that images are resized to, pixels; the run's by default.
      labels: file of the classes' names; the run's by default.
      rule: for the ReLU in the backward pass.

    Raises:
      BadInput: no such checkpoint or layer, a size smaller than the net's input, or
        names that do not fit the classes.
    """
    metadata, params, _ = checkpoint.load(workdir, step)
    net = metadata.net.upto(upto) if upto else metadata.net
    params = jax.device_put({layer.name: params[layer.name] for layer in net.layers})
    loaded = LoadedModel(
        net,
        params,
        metadata.labels,
        metadata.resize,
        metadata.dataset,
        metadata.data_dir,
        checkpoint.locate(workdir),
    )
    return _adjust(loaded, cut=upto is not None, size=size, labels=labels, rule=rule)


def _adjust(
    loaded: LoadedModel, *, cut: bool, size: int | None, labels, rule: deconvnet.Rule
) -> LoadedModel:
    """With the size, the names and the rule that are asked for."""
    if size:
        loaded = loaded._replace(resize=size)
        if loaded.crop_size and size < max(loaded.crop_size):
            rows, columns = loaded.crop_size
            raise BadInput(
                f"--size={size}: {loaded.net.name} takes {rows}x{columns} pixels; give "
                "as many, or drop its dense layers with --upto"
            )
    last = loaded.net.layers[-1].filter
    names = ()
    if isinstance(last, Dense) and not cut:
        names = loaded.labels or tuple(f"class {i}" for i in range(last.units))
        names = read_labels(labels, last.units) if labels else names
    return loaded._replace(labels=names, rule=rule)


def read_labels(path: pathlib.Path, count: int) -> tuple[str, ...]:
    """The names of `count` classes, one a line; a byte order mark is no part of one.

    Raises:
      BadInput: not a text file, or another number of names.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"--labels={path}: not a text file in UTF-8") from None
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(names) != count:
        raise BadInput(
            f"--labels={path}: {len(names)} names, the net has {count} classes"
        )
    return names


def _read_onnx(config: ModelConfig):
    """The file as `sequential.ImportedNet`, for pixels of 0..255."""
    try:
        from zf_jax.pretrained import sequential
    except ImportError:
        raise BadInput("--onnx: needs pip install -e '.[pretrained]'") from None
    if not (config.preset or config.mean or config.scale):
        raise BadInput(
            "--preset: say which images the net takes, caffe, torch or unit, or give "
            "--mean and --scale (--help)"
        )
    found = sequential.read(
        config.onnx,
        mean=0.0,
        channels="bgr" if config.preset == "caffe" else "rgb",
        upto=config.upto,
        default_size=config.size or sequential.DEFAULT_SIZE,
    )
    channels = found.spec.input.channels
    if channels not in (1, 3):
        raise BadInput(
            f"--onnx={config.onnx}: takes images of {channels} channels; the images of "
            "commands have 3, or 1 for a grey net: call the library instead"
        )
    # Without a preset, pixels of 0..255 as they are.
    mean, scale = _PRESETS.get(config.preset, ((0.0,), (1.0,)))
    net = sequential.preprocess(
        found.spec,
        mean=_each_channel("mean", config.mean, mean, channels),
        scale=_each_channel("scale", config.scale, scale, channels),
    )
    return found._replace(spec=net)


def _each_channel(
    flag: str, given: tuple[float, ...], preset: tuple[float, ...], channels: int
) -> tuple[float, ...]:
    """A value a channel: of the flag where it is given, else of the preset."""
    values = given or preset
    if not given and channels == 1:
        values = (sum(preset) / len(preset),)
    if len(values) == 1:
        return values * channels
    if len(values) != channels:
        raise BadInput(
            f"--{flag}={','.join(f'{each:g}' for each in values)}: the net takes "
            f"{channels} channels; give one number, or one a channel"
        )
    return values
