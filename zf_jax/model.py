"""A model: what commands and probes ask questions about, wherever it comes from.

A checkpoint of a `Spec` (`of_spec`), an ONNX file (`pretrained.onnx.load`) and a user's
own file (`from_file`) all give a `Model`: a JAX function with its parameters, and how
it sees images.

    from flax import linen as nn
    from zf_jax import model

    def make():
        net = Net()
        params = ...
        return model.Model(net.apply, params, model.Input(224), labels=("cat", "dog"))
"""

import dataclasses
import importlib.util
import pathlib
import sys
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax

from zf_jax import convnet
from zf_jax.errors import BadInput
from zf_jax.layers import Dense
from zf_jax.net_spec import Input, Spec

__all__ = ["Input", "Model", "from_file", "of_spec"]

Activation = Literal["softmax", "sigmoid"]
Layout = Literal["NHWC", "NCHW"]
_UNNAMED = "model"


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A function of images with its parameters.

    Attributes:
      apply: (params, images [N, H, W, C] float32 as `prepare` makes them) -> logits
        [N, L], or {name: array} of several outputs. A net that takes [N, C, H, W], or
        one image, is wrapped: `lambda params, x: net(params, x.transpose(0, 3, 1, 2))`.
      params: any pytree of arrays.
      input: how pixels become what `apply` takes.
      labels: names of the classes, in the order of the logits; empty where there are
        none, or they are not known.
      name: for titles and tables.
      activation: what turns logits into probabilities; None where that is not known:
        the sigmoid of a single logit, else softmax.
      layout: of the maps inside; "NCHW" of a net that was born in PyTorch or ONNX.
      output: which of several outputs has the logits; "logits" by default.
      spec: the layers, where the model is of a `Spec`.
    """

    apply: Callable[[Any, jax.Array], Any]
    params: Any
    input: Input
    labels: tuple[str, ...] = ()
    name: str = _UNNAMED
    activation: Activation | None = None
    layout: Layout = "NHWC"
    output: str | None = None
    spec: Spec | None = None

    def __post_init__(self):
        object.__setattr__(self, "labels", tuple(self.labels))
        if not callable(self.apply):
            raise BadInput(
                f"{self.name}: apply is a {type(self.apply).__name__}; give a function "
                "of (params, images)"
            )
        if not isinstance(self.input, Input):
            raise BadInput(
                f"{self.name}: input is a {type(self.input).__name__}; give a "
                "model.Input(size, mean, scale)"
            )
        for field, value, known in (
            ("activation", self.activation, (None, "softmax", "sigmoid")),
            ("layout", self.layout, ("NHWC", "NCHW")),
        ):
            if value not in known:
                raise BadInput(
                    f"{self.name}: {field} is {value!r}; give one of "
                    f"{', '.join(map(repr, known))}"
                )

    def function(self, images: jax.Array) -> Any:
        """What `apply` gives for prepared images [N, H, W, C], by the own parameters.

        It is what `capture`, `rectify`, `occlusion` and the other transforms take.
        """
        return self.apply(self.params, images)

    def logits(self, images: jax.Array) -> jax.Array:
        """The logits of prepared images, [N, L]: of several outputs the one with them.

        Raises:
          BadInput: which output has them is not known.
        """
        return self.select_logits(self.function(images))

    def select_logits(self, outputs: Any) -> jax.Array:
        """Of what `apply` gave, the output that has the logits.

        Raises:
          BadInput: which one has them is not known.
        """
        if not isinstance(outputs, Mapping):
            return outputs
        name = self.output or (next(iter(outputs)) if len(outputs) == 1 else "logits")
        if name not in outputs:
            raise BadInput(
                f"{self.name}: has the outputs {', '.join(sorted(outputs))}, and no "
                f"{name}; name the one with the logits, as output={min(outputs)!r}"
            )
        return outputs[name]

    def prepare(self, pixels: jax.Array) -> jax.Array:
        """Pixels [..., C] in 0..255, RGB, as `apply` takes them, float32."""
        return convnet.prepare(pixels, self.input)

    def probabilities(self, logits: jax.Array) -> jax.Array:
        """Logits [N, L] as probabilities of the classes."""
        single = self.activation is None and logits.shape[-1] == 1
        by_class = self.activation == "sigmoid" or single
        return jax.nn.sigmoid(logits) if by_class else jax.nn.softmax(logits)

    def with_params(self, params: Any) -> "Model":
        """The same model with other parameters."""
        return dataclasses.replace(self, params=params)


def of_spec(
    net: Spec,
    params: Mapping[str, Any],
    *,
    labels: Sequence[str] = (),
    activation: Activation | None = None,
) -> Model:
    """The model of a `Spec`; its hidden values have its layers' names.

    Args:
      net: the layers.
      params: by layer, "kernel" and "bias", as `convnet.ConvNet` has them.
      labels: names of the classes; "class 0" and so on by default, none of a net whose
        last layer is not dense.
      activation: as in `Model`.

    Raises:
      BadInput: not as many labels as the net has classes.
    """
    last = net.layers[-1].filter
    classes = last.units if isinstance(last, Dense) else 0
    if labels and len(labels) != classes:
        raise BadInput(f"{net.name}: {len(labels)} labels for {classes} classes")

    def apply(params, images):
        return convnet.ConvNet(net).apply({"params": params}, images)[0]

    return Model(
        apply,
        {layer.name: params[layer.name] for layer in net.layers},
        net.input,
        labels=tuple(labels) or tuple(f"class {i}" for i in range(classes)),
        name=net.name,
        activation=activation,
        spec=net,
    )


def from_file(given: str) -> Model:
    """The model that a function of the user's own file makes.

    Args:
      given: "FILE.py:FUNCTION". The function takes no arguments and returns a `Model`;
        one without a name takes the file's. The file can import what lies beside it.

    Raises:
      BadInput: no such file or function; it raises (its traceback is printed first), or
        returns no `Model`.
    """
    path, colon, name = given.rpartition(":")
    if not colon or not path or not name:
        raise BadInput(f"{given}: write FILE.py:FUNCTION, as my_net.py:make")
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    make = getattr(_import(path), name, None)
    if not callable(make):
        raise BadInput(f"{path}: has no function {name}")
    found = _run(make, f"{path}: {name}()")
    if not isinstance(found, Model):
        raise BadInput(
            f"{path}: {name}() returned a {type(found).__name__}; it must return a "
            "zf_jax.model.Model"
        )
    if found.name == _UNNAMED:
        found = dataclasses.replace(found, name=path.stem)
    return found


def _import(path: pathlib.Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None:
        raise BadInput(f"{path}: not a Python file, its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    # As when the file is run: its neighbours can be imported, now and later on, and
    # dataclasses find the module that they are in.
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules.setdefault(path.stem, module)
    _run(lambda: spec.loader.exec_module(module), str(path))
    return module


def _run(function: Callable[[], Any], culprit: str) -> Any:
    """Calls the user's code; prints the traceback of an error in it."""
    try:
        return function()
    except BadInput:
        # It says in one line what is wrong.
        raise
    except Exception as error:
        # Without the frames of this function and its caller.
        shown = error.__traceback__.tb_next
        traceback.print_exception(type(error), error, shown)
        raise BadInput(f"{culprit} raised {type(error).__name__}, see above") from None
