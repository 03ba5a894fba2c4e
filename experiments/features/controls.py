"""Projections beside their controls: `--control` of `experiments.features`."""

import dataclasses
import pathlib
from collections.abc import Iterator

import jax
import numpy as np

from experiments.features.pages import LayerUnits
from zf_jax import cli
from zf_jax.errors import BadInput
from zf_jax.figures import control_sheet, raster
from zf_jax.probes import controls, random_weights, similarity
from zf_jax.probes.topk import TopK
from zf_jax.transforms import rectify

_NAMES = ("random_weights", "wrong_unit", "centre_switches", "random_switches")
# The most steps of the cascade that are drawn.
_STEPS = 5
# Units on one sheet.
_ROWS = 16


@dataclasses.dataclass(frozen=True)
class ControlConfig:
    """Which controls are drawn."""

    control: tuple[str, ...] = cli.field(
        (),
        "what is taken away from projections drawn beside the true ones: "
        f"{', '.join(_NAMES)}; or all",
    )


def names(config: ControlConfig) -> tuple[str, ...]:
    """The chosen controls, in the order of the sheet.

    Raises:
      BadInput: there is no such control.
    """
    if config.control == ("all",):
        return _NAMES
    for name in config.control:
        if name not in _NAMES:
            raise BadInput(f"--control={name}: there are {', '.join(_NAMES)}, or all")
    return tuple(name for name in _NAMES if name in config.control)


def draw(
    chosen: tuple[str, ...], units: LayerUnits, data, *, seed: int, out: pathlib.Path
) -> tuple[list[pathlib.Path], dict]:
    """Draws each channel's strongest image with its controls; prints how similar.

    Args:
      chosen: names of the controls.
      units: of one layer, all live.
      data: the images.
      seed: of what the controls draw at random.
      out: folder of the sheets.

    Returns:
      The sheets, and the similarities by control, and by step of the cascade.
    """
    loaded, layer = units.loaded, units.layer

    def project(loaded=loaded, **options):
        return loaded.project(
            data,
            TopK(*(part[:, :1] for part in units.best)),
            layer=layer,
            channels=units.channels,
            **options,
        )

    patches, true = (part[:, 0] for part in project())
    columns, similarities = {f"projection\n({loaded.rule})": true}, {}
    for name, heading, changed in _changes(chosen, units, data, seed):
        other = project(**changed)[1][:, 0]
        similarities[name] = _means(similarity.compare(true, other))
        columns[f"{heading}\n{_in_short(similarities[name])}"] = other
    _print(layer, len(units.channels), similarities)
    return _sheets(units, patches, columns, out), similarities


def _sheets(
    units: LayerUnits,
    patches: np.ndarray,
    columns: dict[str, np.ndarray],
    out: pathlib.Path,
) -> list[pathlib.Path]:
    loaded, count = units.loaded, len(units.channels)
    pictures = raster.denormalize(patches, loaded.input)
    captions = [caption.replace(", ", "\n") for caption in units.captions()]
    written = []
    for start in range(0, count, _ROWS):
        part = slice(start, start + _ROWS)
        page = f"-{start // _ROWS + 1}" if count > _ROWS else ""
        path = control_sheet.draw(
            pictures[part],
            {name: column[part] for name, column in columns.items()},
            captions[part],
            title=f"{loaded.model.name}, {units.layer}: strongest projections beside "
            "their controls; SSIM, rank correlation\nsigned and of magnitudes, means "
            f"of {count} maps",
            path=out / f"{units.stem}-controls{page}.png",
        )
        written.append(path)
    return written


def _changes(
    chosen: tuple[str, ...], units: LayerUnits, data, seed: int
) -> Iterator[tuple[str, str, dict]]:
    """Name and heading of each column, and what its projections are called with.

    There are those that make sense in the layer.
    """
    keys = jax.random.split(jax.random.key(seed), len(_NAMES))
    keys = dict(zip(_NAMES, keys, strict=True))
    if "random_weights" in chosen:
        yield from _random_weights(units, data, keys["random_weights"])
    # A layer of one channel has no other unit.
    if "wrong_unit" in chosen and len(units.best.values) > 1:
        control = controls.wrong_unit(keys["wrong_unit"])
        yield "wrong_unit", "wrong unit", {"control": control}
    # Without a pool below there are no switches.
    has_switches = rectify.has_switches(
        units.loaded.maps([units.layer]), _image(units, data)
    )
    if "centre_switches" in chosen and has_switches:
        control = controls.centre_switches()
        yield "centre_switches", "centre switches", {"control": control}
    if "random_switches" in chosen and has_switches:
        control = controls.random_switches(keys["random_switches"])
        yield "random_switches", "random switches", {"control": control}


def _image(units: LayerUnits, data) -> jax.ShapeDtypeStruct:
    number = int(units.best.images[units.channels[0], 0])
    return jax.ShapeDtypeStruct((1, *np.shape(data[number])), np.float32)


def _random_weights(
    units: LayerUnits, data, key: jax.Array
) -> Iterator[tuple[str, str, dict]]:
    """Steps of the cascade, from the unit's layer down."""
    loaded, layer = units.loaded, units.layer

    def apply(params, images):
        return loaded.with_params(params).maps([layer])(images)

    given = loaded.model.params, _image(units, data), key
    steps = random_weights.cascade(apply, *given)
    shown = np.linspace(0, len(steps) - 1, min(_STEPS, len(steps))).round().astype(int)
    for index in shown:
        name, params = steps[index]
        # Of params/block0/Conv_0/kernel what tells it from the others.
        parts = name.removeprefix("params/").split("/")
        path = parts[:-1] or parts
        heading = "random weights\ndown to\n" + "/\n".join(path[-2:])
        changed = loaded.with_params(params)
        yield f"random_weights, down to {name}", heading, {"loaded": changed}


def _means(found: similarity.Similarity) -> dict:
    """Means over the units where neither picture is zero; None where all are."""
    units = int(np.isfinite(found.spearman).sum())
    means = {}
    for name, part in found._asdict().items():
        part = part[np.isfinite(part)]
        means[name] = round(float(part.mean()), 4) if len(part) else None
    return {**means, "units": units}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _in_short(means: dict) -> str:
    ranks = f"{_number(means['spearman'])}, {_number(means['spearman_abs'])}"
    return f"SSIM {_number(means['ssim'])}\nrank {ranks}"


def _print(layer: str, units: int, similarities: dict[str, dict]) -> None:
    """Prints the layer's similarities as a table."""
    width = max([len(name) for name in similarities] + [10])
    print(f"{layer}, strongest image of {units} maps, beside the true projection:")
    print(f"  {'':{width}}   SSIM  Spearman  of magnitudes  units")
    for name, row in similarities.items():
        ssim, signed, magnitudes = (
            _number(row[key]) for key in ("ssim", "spearman", "spearman_abs")
        )
        print(
            f"  {name:{width}}  {ssim:>5}  {signed:>8}  {magnitudes:>13}  "
            f"{row['units']:>5}"
        )
