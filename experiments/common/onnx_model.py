"""The net of an ONNX file, and the images that it takes."""

import dataclasses
import pathlib

from zf_jax import cli, model
from zf_jax.errors import BadInput

# Means of ImageNet's pixels, RGB in 0..255, and factors after they are taken off.
_PRESETS = {
    "caffe": ((123.68, 116.779, 103.939), (1.0,)),
    "torch": ((123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375)),
    "unit": ((0.0,), (1 / 255,)),
}


@dataclasses.dataclass(frozen=True)
class OnnxConfig:
    """Which file, and how it sees images."""

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


def load(config: OnnxConfig, *, upto: str | None, size: int | None) -> model.Model:
    """The net of the file, for pixels of 0..255.

    A graph whose layers follow one another is a Spec, with layers as the paper counts
    them; of any other graph the hidden values have the graph's names.

    Args:
      config: names the file, and the images.
      upto: last layer to keep.
      size: of the images, pixels, where the file leaves that open.

    Raises:
      BadInput: the file cannot be read, or takes other images.
    """
    if not (config.preset or config.mean or config.scale):
        raise BadInput(
            "--preset: say which images the net takes, caffe, torch or unit, or give "
            "--mean and --scale (--help)"
        )
    found = _read(config, upto, size)
    channels = found.input.channels
    if channels not in (1, 3):
        raise BadInput(
            f"--onnx={config.onnx}: takes images of {channels} channels; the images of "
            "commands have 3, or 1 for a grey net: call the library instead"
        )
    # Without a preset, pixels of 0..255 as they are.
    mean, scale = _PRESETS.get(config.preset, ((0.0,), (1.0,)))
    mean = _each_channel("mean", config.mean, mean, channels)
    scale = _each_channel("scale", config.scale, scale, channels)
    if found.spec is None:
        pixels = model.Input(found.input.size, mean=mean, scale=scale)
        return dataclasses.replace(found, input=pixels)
    from zf_jax.pretrained import sequential

    # What the graph itself takes off the image is a part of the Spec's input.
    net = sequential.preprocess(found.spec, mean=mean, scale=scale)
    return model.of_spec(net, found.params, activation=found.activation)


def _read(config: OnnxConfig, upto: str | None, size: int | None) -> model.Model:
    """The net for images as the graph takes them, but RGB."""
    try:
        from zf_jax.pretrained import onnx, sequential
    except ImportError:
        raise BadInput("--onnx: needs pip install -e '.[pretrained]'") from None
    order = "bgr" if config.preset == "caffe" else "rgb"
    size = size or sequential.DEFAULT_SIZE
    options = {"mean": 0.0, "channels": order, "upto": upto}
    try:
        found = sequential.read(config.onnx, **options, default_size=size)
    except BadInput:
        pass
    else:
        return model.of_spec(found.spec, found.params, activation=found.activation)
    try:
        return onnx.load(config.onnx, **options)
    except BadInput:
        # The file may leave the size of its images open.
        return onnx.load(config.onnx, **options, size=size)


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
