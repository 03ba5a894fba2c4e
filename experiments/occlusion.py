r"""Fig. 7: what the net looks at, by covering the image with a grey square.

    python -m experiments.occlusion --checkpoint=runs/tiny --indices=0,1,2 \
        --side=16 --stride=4 --out=runs/occlusion
    python -m experiments.occlusion --checkpoint=runs/tiny --images=cat.jpg \
        --side=16 --stride=4 --out=runs/occlusion

One PNG an image, with the paper's five panels: (a) the image and a square; by the
square's place (b) the total activity of the strongest map of `--layer`, (d) the
probability of the class, (e) the most probable class; and (c) projections of that map,
this image's framed. One compiled call reads them all at every place. Beside each
picture, the numbers in a .npz.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments import chosen, trained
from launch import script
from zf_jax import convnet, geometry, spec
from zf_jax.errors import BadInput
from zf_jax.figures import files, plates, raster
from zf_jax.probes import gallery, occlusion
from zf_jax.training import checkpoint
from zf_jax.transforms import closure

flags.adopt_module_key_flags(trained)
flags.adopt_module_key_flags(chosen)
_OUT = flags.DEFINE_string("out", None, "folder for the pictures")
_SIDE = flags.DEFINE_integer("side", 32, "of the square, pixels of the net's input")
_STRIDE = flags.DEFINE_integer("stride", 8, "between the square's places, pixels")
_FILL = flags.DEFINE_float("fill", None, "its grey, 0 to 255; the mean colour if unset")
_LAYER = flags.DEFINE_string("layer", "layer5", "whose strongest map is read")
_OTHERS = flags.DEFINE_integer("others", 8, "images beside in (c); 0 reads no data set")
_CHUNK = flags.DEFINE_integer(
    "chunk", None, "places computed together; found if unset", lower_bound=1
)


def main() -> list[pathlib.Path]:
    """Reads the net at every place of the square, image by image."""
    known = trained.load()
    net = known.about.net
    if len(geometry.shapes(net.upto(_LAYER.value))[_LAYER.value].maps) < 3:
        raise BadInput(f"--layer={_LAYER.value}: dense, has no maps to add up over")
    occlusion.grid(net.input.size, _SIDE.value, _STRIDE.value)
    beside = _OTHERS.value > 0
    data = trained.open_images(known.about) if beside or chosen.wants_data() else None
    looked_at = chosen.images(known.about, data)
    read, read_maps = _make_read(known)
    best = _strongest(known, read_maps, data) if beside else None
    written = []
    for one in script.progress(looked_at, desc="occlusion"):
        readings = occlusion.sweep(
            read,
            one.image,
            side=_SIDE.value,
            stride=_STRIDE.value,
            fill=_grey(net),
            batch_size=_CHUNK.value,
        )
        own = gallery.strongest(read_maps, [one.image[None]], k=1)[_LAYER.value]
        clean = _clean(read, one.image[None])
        written += _write(known, one, clean, readings, own, data, best)
    return written


def _make_read(known: checkpoint.Restored):
    """What is read at every place; and the layer's maps alone."""
    model = convnet.ConvNet(known.about.net)
    trunk = convnet.ConvNet(known.about.net.upto(_LAYER.value))

    def read(images):
        logits, trace = model.apply({"params": known.params}, images)
        return {
            "probability": jax.nn.softmax(logits),
            "top": jnp.argmax(logits, axis=-1),
            "activity": trace.maps[_LAYER.value].sum(axis=(1, 2)),
        }

    def read_maps(images):
        _, trace = trunk.apply({"params": known.params}, images)
        return {_LAYER.value: trace.maps[_LAYER.value]}

    return read, read_maps


def _clean(read, images: np.ndarray) -> dict[str, jax.Array]:
    """The readings of the image itself, the weights passed as arguments."""
    hoisted = closure.hoist(read, jax.ShapeDtypeStruct(images.shape, images.dtype))
    return jax.jit(hoisted.apply)(hoisted.weights, images)


def _grey(net: spec.Spec) -> jax.Array:
    """The square's colour, as the net takes it."""
    grey = net.input.mean if _FILL.value is None else [_FILL.value] * net.input.channels
    return convnet.prepare(jnp.asarray(grey), net.input)


def _strongest(known: checkpoint.Restored, read_maps, data) -> gallery.Strongest:
    """The data set's strongest images for every map of the layer, and one to spare."""

    def of_pixels(images):
        return read_maps(convnet.prepare(images, known.about.net.input))

    passed = script.progress(
        data.batches(), total=data.count_batches(), desc="other images"
    )
    return gallery.strongest(of_pixels, passed, k=_OTHERS.value + 1)[_LAYER.value]


def _projections(known, one: chosen.Chosen, number: int, own, data, best) -> np.ndarray:
    """[K, h, w, C]: this image's projection of the map, then other images'."""
    project = functools.partial(
        gallery.project,
        known.about.net,
        known.params,
        layer=_LAYER.value,
        maps=[number],
    )
    mine = project([one.image], own, batch_size=1)[1][0]
    if best is None:
        return mine
    others = project(data, best)[1][0][np.asarray(best.images[number]) != one.index]
    return np.concatenate([mine, others[: _OTHERS.value]])


def _write(known, one, clean, readings, own, data, best) -> list[pathlib.Path]:
    net, side = known.about.net, _SIDE.value
    clean = {name: np.asarray(leaf[0]) for name, leaf in clean.items()}
    readings = {name: np.asarray(leaf) for name, leaf in readings.items()}
    label = int(clean["top"]) if one.label is None else one.label
    # Not in the paper: whether the strongest map has the largest peak or sum.
    strongest = int(np.asarray(own.values)[:, 0].argmax())
    square, (top, left) = np.array(one.image), ((n - side) // 2 for n in net.input.size)
    square[top : top + side, left : left + side] = _grey(net)
    seen = plates.Occluded(
        picture=raster.photograph(one.image, net.input),
        square=raster.photograph(square, net.input),
        activity=readings["activity"][..., strongest],
        projections=_projections(known, one, strongest, own, data, best),
        probability=readings["probability"][..., label],
        top=readings["top"],
        clean=(clean["activity"][strongest], clean["probability"][label]),
        labels=known.about.labels,
        map_name=f"{_LAYER.value} map {strongest}",
        class_name=known.about.labels[label],
        side=(side, side),
        stride=(_STRIDE.value, _STRIDE.value),
    )
    picture = pathlib.Path(_OUT.value) / f"{one.name}.png"
    plates.occlusion(seen, title=f"{net.name}, {one.name}", path=picture)
    clean = {f"clean_{name}": value for name, value in clean.items()}
    numbers = files.save_arrays(
        picture.with_suffix(".npz"), **readings, **clean, label=label, map=strongest
    )
    return [picture, numbers]


if __name__ == "__main__":
    script.run(main, required=("checkpoint", "out"))
