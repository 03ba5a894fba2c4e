r"""Fig. 7: what the net looks at, by covering the image with a grey square.

    python -m experiments.occlusion --checkpoint=runs/tiny --indices=0,1,2 \
        --side=16 --stride=4 --out=runs/occlusion
    python -m experiments.occlusion --checkpoint=runs/tiny --images=cat.jpg \
        --side=16 --stride=4 --out=runs/occlusion
    python -m experiments.occlusion --onnx=vgg16.onnx --preset=caffe --images=holiday \
        --last=block5_conv3 --size=224 --out=runs/occlusion

One PNG an image, with the paper's five panels: (a) the image and a square; by the
square's place (b) the total activity of the strongest map of `--layer`, (d) the
probability of the class, (e) the most probable class; and (c) projections of that map,
this image's framed. A net without classes has no (d) and (e). One compiled call reads
them all at every place. Beside each picture, the numbers in a .npz.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.common import dataset, image_choice, model, output, topk_pass
from experiments.common.image_choice import Chosen
from experiments.common.model import LoadedModel
from zf_jax import cli, convnet, io, spec, xla
from zf_jax.errors import BadInput
from zf_jax.figures import occlusion_panels, raster
from zf_jax.figures.occlusion_panels import ClassMaps
from zf_jax.layers import Conv
from zf_jax.probes import occlusion, projection, topk
from zf_jax.transforms import closure

flags.adopt_module_key_flags(model)
flags.adopt_module_key_flags(dataset)
flags.adopt_module_key_flags(image_choice)
flags.adopt_module_key_flags(output)
_SIDE = flags.DEFINE_integer("side", 32, "of the square, pixels of the net's input")
_STRIDE = flags.DEFINE_integer("stride", 8, "between the square's places, pixels")
_FILL = flags.DEFINE_float("fill", None, "its grey, 0 to 255; the mean colour if unset")
_LAYER = flags.DEFINE_string(
    "layer", None, "whose strongest map is read; the last with maps if unset"
)
_OTHERS = flags.DEFINE_integer("others", 8, "images beside in (c), 0 for none")
_CHUNK = flags.DEFINE_integer(
    "chunk", None, "places computed together; found if unset", lower_bound=1
)
_METHOD = flags.DEFINE_enum(
    "method",
    "incremental",
    ["incremental", "full"],
    "recompute what the square changes, or all from the pixels up; the numbers agree",
)
_EXPLAIN = flags.DEFINE_bool(
    "explain", False, "print what is recomputed, operation by operation"
)


def main() -> list[pathlib.Path]:
    """Reads the net at every place of the square, image by image."""
    known = model.load()
    out = output.folder(known.run, "occlusion")
    layer = _layer(known.net)
    if known.crop:
        occlusion.grid(known.crop, _SIDE.value, _STRIDE.value)
    files = dataset.ImageFiles(known) if dataset.files_given() else None
    beside, of_set = _OTHERS.value > 0, dataset.dataset_given(known)
    data = None
    if image_choice.wants_data() or (beside and of_set) or files is None:
        data = dataset.Dataset(known)
    looked_at = image_choice.choose(known, files, data)
    read, read_maps = _make_read(known, layer)
    others = None
    if beside:
        others = _Others(known, layer, data or files, out / "pass.npz")
    if not known.labels:
        print(f"{known.net.name} has no classes: no panels (d) and (e)")
    written = []
    if _EXPLAIN.value:
        size = {"side": _SIDE.value, "stride": _STRIDE.value}
        print(occlusion.explain(read, looked_at[0].image, **size))
    for one in cli.progress(looked_at, desc="occlusion"):
        readings = occlusion.sweep(
            read,
            one.image,
            side=_SIDE.value,
            stride=_STRIDE.value,
            fill=_grey(known.net),
            batch_size=_CHUNK.value,
            method=_METHOD.value,
        )
        own = topk.scan(read_maps, [one.image[None]], k=1)[layer]
        clean = _clean(read, one.image[None])
        written += _write(known, layer, one, clean, readings, own, others, out)
    if files:
        io.tell_skipped()
    return written


def _layer(net: spec.Spec) -> str:
    """The layer whose maps are read."""
    if _LAYER.value is None:
        return next(
            layer.name
            for layer in reversed(net.layers)
            if isinstance(layer.filter, Conv)
        )
    if not isinstance(net.layers[net.index(_LAYER.value)].filter, Conv):
        raise BadInput(f"--layer={_LAYER.value}: dense, has no maps to add up over")
    return _LAYER.value


def _make_read(known: LoadedModel, layer: str):
    """What is read at every place; and the layer's maps alone."""
    net = known.net if known.labels else known.net.upto(layer)
    model, trunk = convnet.ConvNet(net), convnet.ConvNet(known.net.upto(layer))

    def read(images):
        logits, trace = model.apply({"params": known.params}, images)
        readings = {"activity": trace.maps[layer].sum(axis=(1, 2))}
        if known.labels:
            readings["probability"] = jax.nn.softmax(logits)
            readings["top"] = jnp.argmax(logits, axis=-1)
        return readings

    def read_maps(images):
        _, trace = trunk.apply({"params": known.params}, images)
        return {layer: trace.maps[layer]}

    return read, read_maps


def _clean(read, images: np.ndarray) -> dict[str, np.ndarray]:
    """The readings of the image itself, the weights passed as arguments."""
    hoisted = closure.hoist(read, jax.ShapeDtypeStruct(dataset.shape, dataset.dtype))
    readings = xla.jit(hoisted.apply)(hoisted.weights, images)
    return {name: np.asarray(leaf[0]) for name, leaf in readings.items()}


def _grey(net: spec.Spec) -> jax.Array:
    """The square's colour, as the net takes it."""
    grey = net.input.mean if _FILL.value is None else [_FILL.value] * net.input.channels
    return convnet.prepare(jnp.asarray(grey), net.input)


class _Others:
    """The images that excite the layer's maps most, to be shown beside."""

    def __init__(self, known: LoadedModel, layer: str, data, path: pathlib.Path):
        self._project = functools.partial(
            projection.project, known.net, known.params, layer=layer, rule=known.rule
        )
        # One to spare: an image is not shown beside itself.
        k = min(_OTHERS.value + 1, len(data))
        self._best = topk_pass.strongest(
            known.net,
            known.params,
            data,
            [layer],
            k=k,
            path=path,
            desc="other images",
        )[layer]
        self._data = data

    def projections(self, number: int, one: Chosen) -> np.ndarray:
        """[K, h, w, C]: the projections of a map, from images other than `one`."""
        found = self._project(self._data, self._best, channels=[number])[1][0]
        # Of few images, the map may be silent in some.
        keep = np.asarray(self._best.values[number]) > 0
        if one.source is self._data:
            keep &= np.asarray(self._best.images[number]) != one.index
        return found[keep][: _OTHERS.value]


def _write(known, layer, one, clean, readings, own, others, out):
    """The picture and the arrays of one image, in the folder `out`."""
    net, side = known.net, _SIDE.value
    readings = {name: np.asarray(leaf) for name, leaf in readings.items()}
    # Not in the paper: whether the strongest map has the largest peak or sum.
    strongest = int(np.asarray(own.values)[:, 0].argmax())
    mine = projection.project(
        net,
        known.params,
        [one.image],
        own,
        layer=layer,
        channels=[strongest],
        rule=known.rule,
        batch_size=1,
    )[1][0]
    if others:
        mine = np.concatenate([mine, others.projections(strongest, one)])
    square = np.array(one.image)
    top, left = ((n - side) // 2 for n in square.shape[:2])
    square[top : top + side, left : left + side] = _grey(net)
    seen = occlusion_panels.OcclusionMaps(
        image=raster.denormalize(one.image, net.input),
        occluded=raster.denormalize(square, net.input),
        activation=readings["activity"][..., strongest],
        clean=clean["activity"][strongest],
        projections=mine,
        map_name=f"{layer} map {strongest}",
        side=(side, side),
        stride=(_STRIDE.value, _STRIDE.value),
        classes=_classes(known, one, clean, readings),
    )
    picture = out / f"{one.name}.png"
    occlusion_panels.draw(seen, title=f"{net.name}, {one.name}", path=picture)
    more = {f"clean_{name}": value for name, value in clean.items()}
    if known.labels:
        more["label"] = _label(one, clean)
    numbers = io.save_arrays(
        picture.with_suffix(".npz"), **readings, **more, map=strongest
    )
    return [picture, numbers]


def _label(one: Chosen, clean) -> int:
    """The class that is looked at: the true one, else what the net says."""
    return int(clean["top"]) if one.label is None else one.label


def _classes(known: LoadedModel, one: Chosen, clean, readings) -> ClassMaps | None:
    if not known.labels:
        return None
    label = _label(one, clean)
    return ClassMaps(
        probability=readings["probability"][..., label],
        clean=clean["probability"][label],
        name=known.labels[label],
        top=readings["top"],
        labels=known.labels,
    )


if __name__ == "__main__":
    cli.run(main)
