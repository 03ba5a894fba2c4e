r"""Table 1 and fig. 8: does the net know that images of a class share a part?

    python -m experiments.correspondence --checkpoint=runs/tiny
    python -m experiments.correspondence --checkpoint=runs/tiny --class_name=cat \
        --count=50
    python -m experiments.correspondence --checkpoint=runs/zfnet --images=dogs \
        --boxes=dogs.csv --out=runs/correspondence

The same part is covered in several images of one class, and so are boxes of the parts'
sizes at random positions. The table has the share of features whose sign of change
differs between two images, mean and standard deviation over all pairs; it is low where
features change alike. The paper's numbers stand beside it where the data is ImageNet.
Written as correspondence.json, and with the images as correspondence.png.
"""

import dataclasses
import pathlib

import jax
import numpy as np

from experiments.common import model, output, paper
from experiments.common.config import ExperimentConfig
from experiments.common.model import LoadedModel
from experiments.correspondence import part_boxes
from experiments.correspondence.part_boxes import PartConfig
from zf_jax import cli, io
from zf_jax.figures import correspondence as figure
from zf_jax.figures import raster
from zf_jax.probes import correspondence

# Images, and boxes at random positions, in the picture.
_IMAGES_SHOWN, _RANDOM_SHOWN = 5, 3


@dataclasses.dataclass(frozen=True)
class CorrespondenceConfig(ExperimentConfig):
    """A net, its layers, images, and what is covered in them."""

    parts: PartConfig = PartConfig()
    layers: tuple[str, ...] = cli.field(
        (), "their outputs; the last filtering and the last hidden one if unset"
    )
    random_boxes: int = cli.field(
        15, "boxes at random positions in each image", minimum=1, formerly="places"
    )
    seed: int = cli.field(0, "of the random positions", minimum=0)


def main(config: CorrespondenceConfig) -> list[pathlib.Path]:
    """Covers every part of every image, then compares the changes pair by pair."""
    loaded = model.load(config.model)
    layers = _layers(config.layers, loaded)
    out = output.folder(config.output, loaded.run, "correspondence")
    chosen = part_boxes.choose(config.parts, config.data, loaded)
    boxes = _add_random(chosen, config.random_boxes, config.seed)
    signs = _signs(loaded, layers, chosen.images, boxes, config.data.batch_size)
    rows = _scores(signs, chosen.parts)
    title = f"{loaded.model.name}, {chosen.title}"
    of_paper = paper.part_scores(config.data.dataset or loaded.dataset or "")
    table = figure.table(rows, paper=of_paper)
    print(f"{title}\n{table}")
    shown = [*chosen.parts, *["random"] * min(_RANDOM_SHOWN, config.random_boxes)]
    images = np.stack(chosen.images[:_IMAGES_SHOWN])
    picture = figure.draw(
        raster.denormalize(images, loaded.input),
        boxes[:_IMAGES_SHOWN, : len(shown)],
        [name.replace("_", " ") for name in shown],
        fill=np.array(loaded.input.mean) / 255,
        table=table,
        title=title,
        path=out / "correspondence.png",
    )
    found = {"images": chosen.names, "random_boxes": config.random_boxes}
    found["scores"] = rows
    return [picture, io.save_json(out / "correspondence.json", found)]


def _layers(names: tuple[str, ...], loaded: LoadedModel) -> list[str]:
    """The named layers, or the last with maps and the last hidden one without."""
    if names:
        loaded.check_layers("layers", names)
        return list(names)
    hidden = [name for name in loaded.default_layers if not loaded.class_names(name)]
    with_maps = [name for name in hidden if loaded.layers[name].has_maps]
    dense = [name for name in hidden if name not in with_maps]
    return with_maps[-1:] + dense[-1:]


def _add_random(chosen: part_boxes.PartBoxes, count: int, seed: int) -> np.ndarray:
    """[N, B + count, 4] int: the boxes of the parts, then those at random positions."""
    rng, shape = np.random.default_rng(seed), chosen.images[0].shape[:2]
    drawn = [
        correspondence.random_boxes(own, shape, count, rng) for own in chosen.boxes
    ]
    return np.concatenate([chosen.boxes, drawn], axis=1)


def _signs(
    loaded: LoadedModel,
    layers: list[str],
    images: list[np.ndarray],
    boxes: np.ndarray,
    batch_size: int,
) -> dict[str, np.ndarray]:
    """Signs of change under each box, [N, B, D] of -1, 0 and 1, by layer."""
    apply = loaded.with_outputs(layers)

    def model_fn(pixels: jax.Array) -> dict[str, jax.Array]:
        return apply(pixels)[1]

    changes = correspondence.changes(model_fn, images, boxes, batch_size=batch_size)
    bar = cli.progress(changes, total=len(boxes), desc="occlusions", unit=" images")
    by_image = list(bar)
    return {layer: np.stack([signs[layer] for signs in by_image]) for layer in layers}


def _scores(signs: dict[str, np.ndarray], parts: list[str]) -> dict[str, dict]:
    """Mean and standard deviation by part and layer; all random boxes are one row."""
    boxes = next(iter(signs.values())).shape[1]
    columns = {part: [index] for index, part in enumerate(parts)}
    columns["random"] = range(len(parts), boxes)
    return {
        part: {
            layer: correspondence.scores(of_layer[:, own]).summary()
            for layer, of_layer in signs.items()
        }
        for part, own in columns.items()
    }


if __name__ == "__main__":
    cli.run(main)
