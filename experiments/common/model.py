"""The model that an experiment examines: of a training run, an ONNX file, or a file."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from experiments.common import hidden_layers, onnx_model
from experiments.common.hidden_layers import HiddenLayer
from experiments.common.onnx_model import OnnxConfig
from zf_jax import cli, convnet, deconvnet
from zf_jax import model as models
from zf_jax.data import crops
from zf_jax.errors import BadInput
from zf_jax.layers import Dense, Pair
from zf_jax.probes import model_functions, projection
from zf_jax.spec import Spec
from zf_jax.training import checkpoint
from zf_jax.transforms import capture, rectify

# What the logits are called beside hidden values.
_LOGITS = "logits of the model"
# Rows and columns of images for a model that takes any, where --size is not given.
_ANY_SIZE = 224


@dataclasses.dataclass(frozen=True)
class RuleConfig:
    """How a net is projected."""

    rule: deconvnet.Rule = cli.field(
        "deconvnet",
        "for the ReLU in the backward pass: the paper's, the gradient's, or guided "
        "backpropagation's",
        choices=deconvnet.RULES,
    )
    nonlinear: str | None = cli.field(
        None,
        "for nonlinearities other than ReLU (SiLU, GELU, leaky ReLU, ...) in the "
        "backward pass: their own gradient, or by the sign of the signal what the rule "
        "does; refused if unset, but by the rule gradient",
        choices=("gradient", "sign"),
    )


@dataclasses.dataclass(frozen=True)
class ModelConfig(RuleConfig, OnnxConfig):
    """Which net, and how it sees images."""

    checkpoint: pathlib.Path | None = cli.field(
        None, "workdir of a training run, or a folder that holds just one"
    )
    step: int | None = cli.field(None, "which checkpoint; the newest if unset")
    model: str | None = cli.field(
        None,
        "or: FILE.py:FUNCTION, a function of your own without arguments that returns a "
        "zf_jax.model.Model; the code of the file is run",
    )
    labels: pathlib.Path | None = cli.field(
        None, "text file of the classes' names, one a line; the net's own if unset"
    )
    upto: str | None = cli.field(
        None,
        "last layer to keep; without dense layers a net takes images of any size",
        formerly="last",
    )
    size: int | None = cli.field(
        None,
        "smaller side that images are resized to, pixels; a net with dense layers sees "
        "the middle of them, one without sees all. Of a net whose input size is open, "
        "the size of its input",
        minimum=8,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model and how commands show it images.

    Attributes:
      model: the function, its parameters, input and classes.
      resize: smaller side of an image before it is cropped, pixels.
      crop_size: rows and columns that the model sees; None where it takes any size, as
        a Spec without dense layers does.
      dataset: name of the data it was trained on, where that is known.
      data_dir: where that is kept; None for TFDS' own folder.
      run: the workdir of its training; None for a file.
      rule: for the ReLU in the backward pass.
      nonlinear: for other nonlinearities, as `rectify.rectify` takes it.
      upto: the last layer that is looked at, where the model was cut; None for all.
    """

    model: models.Model
    resize: int
    crop_size: Pair | None
    dataset: str | None = None
    data_dir: str | None = None
    run: pathlib.Path | None = None
    rule: deconvnet.Rule = "deconvnet"
    nonlinear: str | None = None
    upto: str | None = None

    @property
    def name(self) -> str:
        """For tables: of the run's folder, or of the model."""
        return self.run.name if self.run else self.model.name

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes; empty where there are none."""
        return self.model.labels

    @property
    def input(self) -> models.Input:
        """What the model takes."""
        return self.model.input

    @functools.cached_property
    def apply_logits(self) -> Callable[[object, jax.Array], jax.Array]:
        """(params, images) -> logits, always the same function."""
        model = self.model
        return lambda params, images: model.select_logits(model.apply(params, images))

    def spec_for(self, purpose: str) -> Spec:
        """The layers of the net, for what needs more than a function.

        Raises:
          BadInput: the model is not of a Spec; says that `purpose` needs one.
        """
        if self.model.spec is None:
            raise BadInput(
                f"{purpose}: needs the layers of a net, a Spec; {self.name} is a "
                "function alone"
            )
        return self.model.spec

    @functools.cached_property
    def layers(self) -> dict[str, HiddenLayer]:
        """The hidden layers by name, in the order in which they are computed."""
        size = self.crop_size or self.input.size
        found = hidden_layers.of_model(self.model, size)
        if self.upto is None:
            return found
        hidden_layers.check("upto", self.upto, self.model, found, self._image)
        names = list(found)
        return {name: found[name] for name in names[: names.index(self.upto) + 1]}

    @property
    def _image(self) -> jax.ShapeDtypeStruct:
        """A prepared image, [1, H, W, C], without values."""
        size = self.crop_size or self.input.size
        return jax.ShapeDtypeStruct((1, *size, self.input.channels), jnp.float32)

    def check_rule(self, layers: Sequence[str]) -> None:
        """Refuses what a projection from these layers would refuse, before any work.

        Raises:
          BadInput: the model has no rectifier, or another nonlinearity below one of the
            layers, and --nonlinear says nothing of it.
        """
        how = {"nonlinear": self.nonlinear, "may_have_none": True}
        below = rectify.rectify(self.maps(layers), self.rule, **how)
        whole = rectify.rectify(self.model.function, "gradient", nonlinear="gradient")
        for flag, function in (("nonlinear", below), ("rule", whole)):
            try:
                jax.eval_shape(function, self._image)
            except BadInput as error:
                raise BadInput(f"--{flag}: {self.model.name}: {error}") from None

    @functools.cached_property
    def default_layers(self) -> list[str]:
        """The layers that are looked at where a command names none."""
        return hidden_layers.defaults(self.model, self.layers)

    def check_layers(self, flag: str, names: Sequence[str]) -> list[str]:
        """The layers, each once, in the order in which they are computed.

        Raises:
          BadInput: there is no such layer; the flag is named, and the nearest layers.
        """
        for name in names:
            hidden_layers.check(flag, name, self.model, self.layers, self._image)
        return sorted(set(names), key=list(self.layers).index)

    def class_names(self, layer: str) -> tuple[str, ...]:
        """Names of the layer's channels, where they are classes; else empty."""
        is_last = layer == list(self.layers)[-1]
        classes = self.layers[layer].shape == (len(self.labels),)
        return self.labels if is_last and classes else ()

    def maps(self, layers: Sequence[str]) -> Callable[[jax.Array], dict]:
        """A function of prepared images to the layers' maps or units, by name."""
        order = hidden_layers.channel_order(self.model)
        return capture.maps(self.model.function, layers, channels=order)

    def with_params(self, params) -> "LoadedModel":
        """The same model with other parameters."""
        return dataclasses.replace(self, model=self.model.with_params(params))

    def with_maps(self, layers: Sequence[str]) -> Callable[[jax.Array], tuple]:
        """A function of prepared images to the logits and the layers' maps, by name.

        One forward pass gives both. Without classes, None stands for the logits.
        """
        if not self.labels:
            maps = self.maps(layers)
            return lambda images: (None, maps(images))
        order = hidden_layers.channel_order(self.model)
        hidden = [name for name in layers if not self.class_names(name)]

        def tagged(images):
            return checkpoint_name(self.model.logits(images), _LOGITS)

        captured = capture.maps(tagged, [*hidden, _LOGITS], channels=order)

        def apply(images):
            found = captured(images)
            logits = found.pop(_LOGITS)
            return logits, {name: found.get(name, logits) for name in layers}

        return apply

    def with_outputs(self, layers: Sequence[str]) -> Callable[[jax.Array], tuple]:
        """A function of prepared images to the logits and the layers' outputs, by name.

        Of a Spec, a layer's output is what the next layer sees: its maps pooled and
        normalised. Of another model it is the hidden value itself.
        """
        if self.model.spec is None:
            return self.with_maps(layers)
        net, params = self.model.spec, self.model.params

        def apply(images):
            logits, trace = convnet.ConvNet(net).apply({"params": params}, images)
            return logits, {layer: trace.outputs[layer] for layer in layers}

        return apply

    def project(
        self, images, best, *, layer: str, channels=None, **options
    ) -> tuple[np.ndarray, np.ndarray]:
        """Patches and projections by the rule, as `projection.project` does."""
        projector = self.projector(images, {layer: best}, {layer: channels}, **options)
        return projector.project(layer, channels)

    def projector(self, images, best, channels, **options) -> projection.Projector:
        """Projects the strongest images of several layers, layer by layer."""
        return projection.Projector(
            self.model.function,
            images,
            best,
            channels,
            rule=self.rule,
            nonlinear=self.nonlinear,
            channel_axis=hidden_layers.channel_order(self.model),
            **options,
        )

    def frame(self, image: np.ndarray) -> np.ndarray:
        """[H, W, 3] uint8 of any size to [h, w, C] uint8: resized and cropped."""
        image = crops.resize(image, self.resize)
        image = image if self.crop_size is None else crops.centre(image, self.crop_size)
        return self.to_channels(image)

    def to_channels(self, images: np.ndarray) -> np.ndarray:
        """[..., 3] uint8 RGB to [..., C] uint8, for a net of grey images their luma.

        The weights are those of Pillow's mode L (ITU-R BT.601).
        """
        if self.input.channels == 3:
            return images
        luma = images.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])
        return np.rint(luma).astype(np.uint8)[..., None]

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """[H, W, C] uint8 of `frame` to the float32 values that the net takes."""
        return np.asarray(self.model.prepare(image))


def load(config: ModelConfig) -> LoadedModel:
    """The model that a configuration names.

    Raises:
      BadInput: it names none or two, or the file or folder cannot be read.
    """
    if sum(map(bool, (config.checkpoint, config.onnx, config.model))) != 1:
        raise BadInput(
            "--checkpoint=DIR, --onnx=FILE or --model=FILE.py:FUNCTION: give one of "
            "them"
        )
    for flag in ("preset", "mean", "scale"):
        if not config.onnx and getattr(config, flag):
            knows = "a training run" if config.checkpoint else "a Model"
            raise BadInput(f"--{flag}: leave it out; {knows} knows its own")
    how = {"upto": config.upto, "size": config.size, "labels": config.labels}
    if config.checkpoint:
        loaded = from_run(config.checkpoint, config.step, **how)
    elif config.onnx:
        found = onnx_model.load(config, upto=config.upto, size=config.size)
        loaded = _show(found, **how)
    else:
        loaded = _show(_of_file(config.model), **how)
    return dataclasses.replace(loaded, rule=config.rule, nonlinear=config.nonlinear)


def from_run(
    workdir: str | pathlib.Path,
    step: int | None = None,
    *,
    upto: str | None = None,
    size: int | None = None,
    labels: pathlib.Path | None = None,
) -> LoadedModel:
    """The net of a training run.

    Args:
      workdir: of the run, or a folder that holds just one.
      step: of training; the newest checkpoint by default.
      upto: last layer to keep; all by default.
      size: smaller side that images are resized to, pixels; the run's by default.
      labels: file of the classes' names; the run's by default.

    Raises:
      BadInput: no such checkpoint or layer, a size smaller than the net's input, or
        names that do not fit the classes.
    """
    metadata, params, _ = checkpoint.load(workdir, step)
    net = metadata.net.upto(upto) if upto else metadata.net
    params = jax.device_put({layer.name: params[layer.name] for layer in net.layers})
    names = () if upto else metadata.labels
    loaded = _show(
        models.of_spec(net, params, labels=names),
        upto=upto,
        size=size or metadata.resize,
        labels=labels,
    )
    return dataclasses.replace(
        loaded,
        dataset=metadata.dataset,
        data_dir=metadata.data_dir,
        run=checkpoint.locate(workdir),
    )


def _of_file(given: str) -> models.Model:
    """The model of the user's own file; its parameters on the device."""
    try:
        found = models.from_file(given)
    except BadInput as error:
        raise BadInput(f"--model: {error}") from None
    if found.input.channels not in (1, 3):
        raise BadInput(
            f"--model={given}: takes images of {found.input.channels} channels; the "
            "images of commands have 3, or 1 for a grey net: call the library instead"
        )
    return found.with_params(jax.device_put(found.params))


def _show(
    found: models.Model, *, upto: str | None, size: int | None, labels
) -> LoadedModel:
    """The model with its classes' names, and the size of images that is asked for."""
    own = found.input.size
    any_size = found.spec and not any(
        isinstance(layer.filter, Dense) for layer in found.spec.layers
    )
    crop_size = None if any_size else own or (size or _ANY_SIZE,) * 2
    resize = size or max(own or crop_size)
    if crop_size and resize < max(crop_size):
        rows, columns = crop_size
        cut = ", or drop its dense layers with --upto" if found.spec else ""
        raise BadInput(
            f"--size={size}: {found.name} takes {rows}x{columns} pixels; give as many"
            f"{cut}"
        )
    names = () if upto else _classes(found, crop_size)
    if labels and names:
        names = read_labels(labels, len(names))
    loaded = LoadedModel(
        dataclasses.replace(found, labels=names),
        resize,
        crop_size,
        upto=upto,
    )
    if upto:
        # Refuses an unknown name before anything is computed.
        loaded.layers  # noqa: B018
    return loaded


def _classes(found: models.Model, size: Pair | None) -> tuple[str, ...]:
    """Names of the classes, one a logit; none where there are no classes."""
    if found.spec:
        return found.labels
    shape = (*size, found.input.channels)
    try:
        outputs = model_functions.prepare(found.function, 1, shape, jnp.float32).result
    except BadInput as error:
        raise BadInput(f"{found.name}: {error}") from error
    try:
        logits = found.select_logits(outputs)
    except BadInput as error:
        print(f"{error}; until then it has no classes")
        return ()
    if len(logits.shape) != 2:
        return ()
    count = logits.shape[1]
    if found.labels and len(found.labels) != count:
        raise BadInput(
            f"{found.name}: has {len(found.labels)} labels, and logits of {count} "
            "classes"
        )
    return found.labels or tuple(f"class {i}" for i in range(count))


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
