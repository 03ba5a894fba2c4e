r"""Which maps say where a class is seen? Scored by the truth, which `creatures` brings.

    python -m experiments.scores --checkpoint=runs/tiny
    python -m experiments.scores --checkpoint=runs/tiny --count=500 --side=12 --stride=3

Maps of the class that the net names: by occlusion (what it takes off the probability),
and of the class's logit projected by each rule (largest magnitude of a colour); the
image's middle and noise beside. Table, mean and standard error over images: the
pointing game (does the maximum lie in the silhouette, or in a box of a part), the share
of energy inside, the areas under RISE's curves of deletion (low is good) and insertion
(high is good). Written as scores.json; curves and some maps are drawn in scores.png.
"""

import pathlib

import jax
import numpy as np
from absl import flags

from experiments import judged
from experiments.common import dataset, model, output
from zf_jax import cli, convnet, io
from zf_jax.errors import BadInput
from zf_jax.figures import raster, saliency_comparison
from zf_jax.probes import saliency

flags.adopt_module_key_flags(model)
flags.adopt_module_key_flags(dataset)
flags.adopt_module_key_flags(output)
_COUNT = flags.DEFINE_integer("count", 100, "images, the first ones", lower_bound=2)
_SIDE = flags.DEFINE_integer(
    "side", None, "of the square, pixels; a fifth of the image if unset", lower_bound=1
)
_STRIDE = flags.DEFINE_integer(
    "stride", None, "of its places, pixels; a quarter of it if unset", lower_bound=1
)
_TOLERANCE = flags.DEFINE_float(
    "tolerance", 0, "of the pointing game, pixels beside the region", lower_bound=0
)
_STEPS = flags.DEFINE_integer("steps", 32, "of deletion and insertion", lower_bound=2)
_SHOWN = flags.DEFINE_integer(
    "shown", 4, "images in the picture", lower_bound=1, upper_bound=judged.GROUP
)


def main() -> list[pathlib.Path]:
    """Makes and scores the maps group by group."""
    known = model.load()
    if not known.labels:
        raise BadInput(f"{known.net.name} has no classes: there is nothing to look for")
    if dataset.files_given():
        raise BadInput("--images: of files there is no truth to score maps by")
    data = dataset.Dataset(known)
    out = output.folder(known.run, "scores")
    if len(data) < _COUNT.value:
        raise BadInput(f"--count={_COUNT.value}: {data.name} has {len(data)} images")
    network = convnet.ConvNet(known.net)

    def read(pixels: jax.Array) -> jax.Array:
        return jax.nn.softmax(network.apply({"params": known.params}, pixels)[0])

    groups, rng = [], np.random.default_rng(0)
    side = _SIDE.value or max(1, min(known.crop) // 5)
    square = {"side": side, "stride": _STRIDE.value or max(1, side // 4)}
    how = {
        "tolerance": _TOLERANCE.value,
        "step": -(-known.crop[0] * known.crop[1] // _STEPS.value),
        "batch_size": flags.FLAGS.batch_size,
    }
    starts = range(0, _COUNT.value, judged.GROUP)
    for start in cli.progress(starts, desc="scores", unit=" groups"):
        # A group that is short is filled up, so that it compiles nothing new.
        indices = np.minimum(np.arange(start, start + judged.GROUP), _COUNT.value - 1)
        pixels = np.stack([data[index] for index in indices])
        labels = saliency.predicted(read, pixels)
        regions = judged.regions(data, indices)
        maps = judged.maps(known, read, pixels, labels, rng, **square)
        scored = {
            name: judged.scores_of(read, pixels, labels, each, regions, **how)
            for name, each in maps.items()
        }
        groups.append(scored)
        if start == 0:
            few = slice(min(_SHOWN.value, _COUNT.value))
            seen = saliency_comparison.SaliencyMaps(
                raster.denormalize(pixels[few], known.net.input),
                {name: each[few] for name, each in regions.items()},
                {name: maps[name][few] for name in judged.LOOKED},
                [known.labels[label] for label in labels[few]],
            )
    found = {name: _joined([each[name] for each in groups]) for name in groups[0]}
    rows = {name: judged.summary(scored) for name, scored in found.items()}
    title = f"{known.net.name}, {_COUNT.value} images of {data.name}"
    print(
        f"{title}: mean +- standard error; pointing within {_TOLERANCE.value:g} pixels"
    )
    print(saliency_comparison.table(rows))
    curves = {
        kind: {name: scored[f"{kind} curve"].mean(0) for name, scored in found.items()}
        for kind in ("deletion", "insertion")
    }
    picture = saliency_comparison.draw(
        seen, curves, title=title, path=out / "scores.png"
    )
    told = {"images": _COUNT.value, "tolerance": _TOLERANCE.value, "scores": rows}
    return [picture, io.save_json(out / "scores.json", told)]


def _joined(groups: list[dict]) -> dict[str, np.ndarray]:
    """The scores of all images; what filled up the last group is left out."""
    return {
        name: np.concatenate([each[name] for each in groups])[: _COUNT.value]
        for name in groups[0]
    }


if __name__ == "__main__":
    cli.run(main)
