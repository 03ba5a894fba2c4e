"""What the transforms of a function cost, on a residual net."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks import resnet, timing
from zf_jax import deconvnet, xla
from zf_jax.errors import BadInput
from zf_jax.transforms import capture, rectify

_PLAIN = "jax.vjp"


def bench(config: timing.CommonConfig) -> dict[str, timing.Measured]:
    """The rules beside plain backpropagation, the list of layers, one projection.

    Raises:
      BadInput: no --net.
    """
    if config.net != "resnet50":
        raise BadInput("--net: give resnet50, whose rectifiers are ReLUs")
    model, variables = resnet.initialise(config.net)
    shape = config.batch_size, *resnet.SIZE, 3
    images = jax.random.normal(jax.random.key(1), shape)

    def apply(images):
        return model.apply(variables, images)

    # In a user's order: what has values, then what is drawn of a unit.
    sides = {
        "capture.layers": lambda: capture.layers(apply, images[:1]),
        "deconvnet.project": functools.partial(_project, apply, images[:1]),
        _PLAIN: _backward(model, variables, images, lambda function: function),
    }
    for rule in ("deconvnet", "guided"):
        transform = functools.partial(rectify.rectify, rule=rule)
        sides[f"rectify {rule}"] = _backward(model, variables, images, transform)
    measured = timing.measure(sides, config.runs)
    for name, side in measured.items():
        ratio = side.median / measured[_PLAIN].median
        compared = f"; {ratio:.2f} x {_PLAIN}" if name.startswith("rectify") else ""
        print(f"{name:18} {side}{compared}")
    return measured


def _project(apply: Callable, image: jax.Array) -> None:
    """A unit of the highest maps, back to the pixels of one image."""
    highest = list(resnet.TAGS)[-1]
    jax.block_until_ready(deconvnet.project(apply, image, layer=highest, channel=0))


def _backward(model, variables, images, transform: Callable) -> Callable[[], object]:
    """All logits back to the pixels of a batch, compiled."""

    @xla.jit
    def run(variables, images):
        logits, backward = jax.vjp(
            transform(lambda images: model.apply(variables, images)), images
        )
        return backward(jnp.ones_like(logits))

    return lambda: jax.block_until_ready(run(variables, images))
