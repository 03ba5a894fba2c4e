r"""Fig. 7: what the net looks at, by covering the image with a grey square.

    python -m experiments.occlusion --checkpoint=runs/tiny --indices=0,1,2 \
        --side=16 --stride=4 --out=runs/occlusion
    python -m experiments.occlusion --checkpoint=runs/tiny --images=cat.jpg \
        --side=16 --stride=4 --out=runs/occlusion
    python -m experiments.occlusion --onnx=vgg16.onnx --preset=caffe --images=holiday \
        --upto=block5_conv3 --size=224 --out=runs/occlusion

IMAGE.png, one an image, has the paper's five panels: (a) the image and a square; by the
square's position (b) the total activity of the strongest channel of `--layer`, (d) the
probability of the class, (e) the most probable class; and (c) projections of that
channel, this image's framed. A net without classes has no (d) and (e). One compiled
call computes them all at every position. IMAGE.npz has the numbers.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common import dataset, image_choice, model, output
from experiments.common.dataset import ImageSourceConfig
from experiments.common.image_choice import ImageConfig
from experiments.common.model import LoadedModel, ModelConfig
from experiments.common.output import OutputConfig
from experiments.occlusion import panels
from zf_jax import cli, hosts, xla
from zf_jax.errors import BadInput
from zf_jax.probes import occlusion, topk
from zf_jax.transforms import closure

# What the command calls its other file.
_FILES = ("pass",)


@dataclasses.dataclass(frozen=True)
class OcclusionConfig:
    """Which images of which net are covered, and by what."""

    model: ModelConfig = ModelConfig()
    data: ImageSourceConfig = ImageSourceConfig()
    choice: ImageConfig = ImageConfig()
    output: OutputConfig = OutputConfig()
    side: int = cli.field(32, "of the square, pixels of the net's input")
    stride: int = cli.field(8, "between the square's positions, pixels")
    fill: float | None = cli.field(
        None, "the square's grey, 0 to 255; the mean colour if unset"
    )
    layer: str | None = cli.field(
        None, "whose strongest map is summed; the last with maps if unset"
    )
    neighbour_images: int = cli.field(
        8,
        "images of other strong activations in (c), 0 for none",
        minimum=0,
        formerly="others",
    )
    batch_size: int | None = cli.field(
        None,
        "positions computed together; chosen if unset",
        minimum=1,
        formerly="chunk",
    )
    method: str = cli.field(
        "incremental",
        "recompute what the square changes, or all from the pixels; the numbers agree",
        choices=("incremental", "full"),
    )
    explain: bool = cli.field(False, "print what is recomputed, operation by operation")
    hosts: cli.HostsConfig = cli.HostsConfig()


def main(config: OcclusionConfig) -> list[pathlib.Path]:
    """Evaluates the net with the square at every position, image by image.

    Several hosts share the positions; the first draws.
    """
    config.hosts.initialize()
    loaded = model.load(config.model)
    out = output.folder(config.output, loaded.run, "occlusion")
    layer = choose_layer(config.layer, loaded)
    loaded.check_rule([layer])
    if loaded.crop_size:
        occlusion.grid(loaded.crop_size, config.side, config.stride)
    files, data = _open(config, loaded)
    chosen = image_choice.choose(config.choice, loaded, files, data, taken=_FILES)
    outputs_fn, maps_fn = _model_functions(loaded, layer)
    neighbours = None
    if config.neighbour_images:
        neighbours = panels.Neighbours(
            loaded, layer, data or files, out / "pass.npz", config.neighbour_images
        )
    if not loaded.labels:
        print(f"{loaded.model.name} has no classes: no panels (d) and (e)")
    if config.explain:
        square = {"side": config.side, "stride": config.stride}
        print(occlusion.explain(outputs_fn, chosen[0].image, **square))
    fill, written = _grey(loaded, config.fill), []
    for one in cli.progress(chosen, desc="occlusion"):
        swept = panels.SweepResult(
            one,
            _sweep(config, outputs_fn, one.image, fill),
            _evaluate(outputs_fn, one.image),
            topk.scan(maps_fn, [one.image[None]], k=1)[layer],
        )
        if not hosts.is_primary():
            continue
        square = panels.Square(config.side, config.stride, fill)
        written += panels.draw(loaded, layer, swept, square, neighbours, out)
    if files:
        files.report_skipped()
    return written


def choose_layer(name: str | None, loaded: LoadedModel) -> str:
    """The layer whose channels are summed: the last with maps, if none is named.

    Raises:
      BadInput: no such layer, or one without positions to sum over.
    """
    layers = loaded.layers
    if name is None:
        with_maps = [each for each in loaded.default_layers if layers[each].has_maps]
        if not with_maps:
            raise BadInput(
                f"{loaded.model.name}: has no layer of maps, so no activity to sum"
            )
        return with_maps[-1]
    loaded.check_layers("layer", [name])
    if not layers[name].has_maps:
        raise BadInput(f"--layer={name}: is dense, it has no maps to sum")
    return name


def _open(
    config: OcclusionConfig, loaded: LoadedModel
) -> tuple[dataset.ImageFiles | None, dataset.Dataset | None]:
    """The image files, and the data set where it is needed."""
    files = dataset.ImageFiles(config.data, loaded) if config.data.images else None
    named = bool(config.data.dataset or loaded.dataset)
    neighbours = config.neighbour_images and named
    if files is None or config.choice.indices or neighbours:
        return files, dataset.Dataset(config.data, loaded)
    return files, None


def _model_functions(loaded: LoadedModel, layer: str) -> tuple[Callable, Callable]:
    """What is computed at every position; and the layer's maps alone."""
    apply = loaded.with_maps([layer])

    def outputs_fn(images):
        logits, maps = apply(images)
        outputs = {"activity": maps[layer].sum(axis=(1, 2))}
        if loaded.labels:
            probability = loaded.model.probabilities(logits)
            outputs["probability"] = probability
            outputs["top"] = (
                # Of a single unit, whether it says so.
                (probability[:, 0] > 0.5).astype(jnp.int32)
                if probability.shape[-1] == 1
                else jnp.argmax(logits, axis=-1)
            )
        return outputs

    return outputs_fn, loaded.maps([layer])


def _sweep(
    config: OcclusionConfig, outputs_fn: Callable, image: np.ndarray, fill: jax.Array
) -> dict[str, np.ndarray]:
    """The outputs by the square's position, [R, S, ...] each."""
    outputs = occlusion.sweep(
        outputs_fn,
        image,
        side=config.side,
        stride=config.stride,
        fill=fill,
        batch_size=config.batch_size,
        method=config.method,
        devices=jax.devices(),
    )
    return {name: np.asarray(leaf) for name, leaf in outputs.items()}


def _evaluate(outputs_fn: Callable, image: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs for the image itself, the weights passed as arguments."""
    images = image[None]
    hoisted = closure.hoist(
        outputs_fn, jax.ShapeDtypeStruct(images.shape, images.dtype)
    )
    outputs = xla.jit(hoisted.apply)(hoisted.weights, images)
    return {name: np.asarray(leaf[0]) for name, leaf in outputs.items()}


def _grey(loaded: LoadedModel, fill: float | None) -> jax.Array:
    """The square's colour, [C] as the net takes it."""
    grey = loaded.input.mean if fill is None else [fill] * loaded.input.channels
    return loaded.model.prepare(jnp.asarray(grey))


if __name__ == "__main__":
    cli.run(main)
