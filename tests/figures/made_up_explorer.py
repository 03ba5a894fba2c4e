"""An explorer of a net that does not exist: random pictures, awkward names.

A net of 20,000 units:

    python -m tests.figures.made_up_explorer --layers=20 --units=1000 --out=DIR
"""

import argparse
import pathlib
from collections.abc import Iterator

import numpy as np

from zf_jax.figures.explorer import content, writer

CLASSES = ("<script>alert(1)</script>", 'a "cat" & a dog', "Käfer")
# A file's name with a space, quotes and other letters; another that would be HTML.
NAMES = ('it\'s a "blå" bird.png', "<img src=x onerror=alert(2)>.png")
CONTROLS = ("", "random_weights", "wrong_unit")
K, SIDE, IMAGE = 9, 24, 64


def write(
    out: pathlib.Path, *, layers: int = 3, units: int = 40, images: int = 40
) -> None:
    """Writes an explorer that has everything.

    The first unit of each layer is dead. Layers 1 and 2 both follow layer 0; from layer
    4 on a layer sees the one before and the one two before.
    """
    rng = np.random.default_rng(0)
    names = [f"block{n}/relu" for n in range(layers)]
    summaries = tuple(
        content.LayerSummary(
            name,
            size=(8, 8),
            units=units,
            dead=1,
            receptive_field=(SIDE, SIDE),
            inputs=_inputs(names, n),
        )
        for n, name in enumerate(names)
    )
    about = content.About(
        "python -m experiments.explore --out='a b'", (("Data", "<b>random</b>"),)
    )
    explorer = content.Explorer("A net <i>of</i> noise", about, summaries, CLASSES)
    with writer.replacing(explorer, out) as pages:
        for n, name in enumerate(names):
            layer = layer_units(rng, name, units, images, names[n - 1 : n])
            pages.add_layer(layer, pictures(rng, units))
        pages.add_images(image_views(rng, images, names[0]))


def _inputs(names: list[str], layer: int) -> tuple[str, ...]:
    before = {0: [], 2: [0], 3: [1, 2]}.get(layer, [layer - 2, layer - 1])
    return tuple(names[each] for each in before if each >= 0)


def layer_units(
    rng: np.random.Generator, name: str, units: int, images: int, below: list[str]
) -> content.LayerUnits:
    """Numbers of a layer whose strength falls with the unit's number."""
    dead = np.arange(units) == 0
    strength = np.where(dead, 0, np.linspace(9, 1, units))
    box = rng.integers(-4, IMAGE - SIDE + 4, (units, K, 2))
    return content.LayerUnits(
        name,
        strength=strength,
        dead=dead,
        examples=content.Examples(
            np.where(dead[:, None], -1, rng.integers(0, images, (units, K))),
            strength[:, None] * np.linspace(1, 0.5, K),
            rng.integers(0, 8, (units, K, 2)),
            np.concatenate([box, box + SIDE], -1),
        ),
        firing_rate=rng.random(units),
        selectivity=rng.random(units),
        best_class=np.where(dead, -1, np.arange(units) % len(CLASSES)),
        control_similarity=np.where(dead, np.nan, rng.random(units)),
        histogram=content.Histogram(
            np.linspace(0, 9, 21),
            rng.integers(0, 1000, (units, 20)) // np.arange(1, 21),
            "strongest activation of each image",
        ),
        class_means=rng.random((units, len(CLASSES))),
        where=rng.random((units, 8, 8)),
        quantiles=content.Examples(
            rng.integers(0, images, (units, 5)), np.sort(rng.random((units, 5)))
        ),
        quantile=np.linspace(0, 1, 5),
        weights_below=tuple(
            tuple(content.Weight(layer, 3, 0.5) for layer in below)
            for _ in range(units)
        ),
        alike=tuple(((1, 0.9), (2, -0.1)) for _ in range(units)),
        epochs=(1, 5, 10),
    )


def pictures(rng: np.random.Generator, units: int) -> Iterator[content.Pictures]:
    """Noise for every block of a layer."""
    for start in range(0, units, content.BLOCK):
        count = min(content.BLOCK, units - start)
        projections = {
            rule: {control: noise(rng, count, K) for control in CONTROLS}
            for rule in ("deconvnet", "guided")
        }
        yield content.Pictures(
            patches=noise(rng, count, K),
            projections=projections,
            quantile_patches=noise(rng, count, 5),
            occlusion=rng.integers(0, 256, (count, 8, 8)).astype(np.uint8),
            evolution=noise(rng, count, 3),
        )


def noise(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Pictures in one random colour each, with a random stripe."""
    color = rng.integers(0, 256, (rows, columns, 1, 1, 3))
    stripe = rng.integers(0, 256, (rows, columns, 1, SIDE, 3))
    return np.broadcast_to(
        (color + stripe) // 2, (rows, columns, SIDE, SIDE, 3)
    ).astype(np.uint8)


def image_views(
    rng: np.random.Generator, images: int, layer: str
) -> Iterator[content.ImageView]:
    """Noise, some of it upright, with names that must be escaped."""
    for index in range(images):
        width = IMAGE if index % 2 else IMAGE // 2
        thumbnail = rng.integers(0, 256, (IMAGE, width, 3)).astype(np.uint8)
        yield content.ImageView(
            index,
            thumbnail,
            size=(IMAGE, width),
            name=NAMES[index % 2],
            label=CLASSES[index % 3],
            predictions=((CLASSES[0], 0.75), (CLASSES[1], 0.25)),
            occlusion=(("probability", thumbnail), ("most probable", thumbnail)),
            most_active=((layer, 1, 4.5),),
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, required=True)
    for name, default in (("layers", 3), ("units", 40), ("images", 40)):
        parser.add_argument(f"--{name}", type=int, default=default)
    write(**vars(parser.parse_args()))
