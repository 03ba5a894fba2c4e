"""Projections beside their controls: `--control` of `experiments.features`."""

import dataclasses
import pathlib
from collections.abc import Iterator

import jax
import numpy as np

from experiments.common.model import LoadedModel
from experiments.features.pages import LayerUnits
from zf_jax import cli
from zf_jax.errors import BadInput
from zf_jax.figures import control_sheet, raster
from zf_jax.layers import Pool
from zf_jax.probes import controls, random_weights, similarity
from zf_jax.probes.topk import TopK

_NAMES = ("random_weights", "wrong_unit", "centre_switches", "random_switches")
# Those of a model that is a function, and the most steps of its cascade.
_OF_FUNCTIONS = ("random_weights",)
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


def names(config: ControlConfig, loaded: LoadedModel) -> tuple[str, ...]:
    """The chosen controls, in the order of the sheet.

    Raises:
      BadInput: there is no such control, or none for a model that is no Spec.
    """
    known = _NAMES if loaded.model.spec else _OF_FUNCTIONS
    if config.control == ("all",):
        return known
    for name in config.control:
        if name not in _NAMES:
            raise BadInput(f"--control={name}: there are {', '.join(_NAMES)}, or all")
        if name not in known:
            raise BadInput(
                f"--control={name}: needs a Spec; of {loaded.model.name}, a function, "
                f"there is {', '.join(known)}"
            )
    return tuple(name for name in known if name in config.control)


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
    for name, heading, changed in _changes(chosen, units, seed):
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
    chosen: tuple[str, ...], units: LayerUnits, seed: int
) -> Iterator[tuple[str, str, dict]]:
    """Name and heading of each column, and what its projections are called with."""
    if units.loaded.model.spec is None:
        yield from _random_functions(units, jax.random.key(seed))
        return
    for name, heading, control in _controls(chosen, units, seed):
        yield name, heading, {"control": control}


def _random_functions(
    units: LayerUnits, key: jax.Array
) -> Iterator[tuple[str, str, dict]]:
    """Steps of the cascade of a model that is a function, from the layer down."""
    loaded, layer, size = units.loaded, units.layer, units.loaded.crop_size

    def apply(params, images):
        changed = dataclasses.replace(loaded, model=loaded.model.with_params(params))
        return changed.maps([layer])(images)

    image = jax.ShapeDtypeStruct((1, *size, loaded.input.channels), np.float32)
    steps = random_weights.cascade(apply, loaded.model.params, image, key)
    shown = np.linspace(0, len(steps) - 1, min(_STEPS, len(steps))).round().astype(int)
    for index in shown:
        name, params = steps[index]
        changed = dataclasses.replace(loaded, model=loaded.model.with_params(params))
        heading = "random weights\ndown to\n" + "/\n".join(name.rsplit("/", 1))
        yield f"random_weights, down to {name}", heading, {"loaded": changed}


def _controls(
    chosen: tuple[str, ...], units: LayerUnits, seed: int
) -> Iterator[tuple[str, str, controls.Control]]:
    """Name, heading and control of each column that makes sense in the layer."""
    net, layer = units.loaded.model.spec, units.layer
    keys = jax.random.split(jax.random.key(seed), len(_NAMES))
    keys = dict(zip(_NAMES, keys, strict=True))
    if "random_weights" in chosen:
        for lowest in controls.cascade(net, layer):
            yield _random_weights(units, keys["random_weights"], lowest)
    # A layer of one channel has no other unit.
    if "wrong_unit" in chosen and len(units.best.values) > 1:
        yield "wrong_unit", "wrong unit", controls.wrong_unit(keys["wrong_unit"])
    # Without a pool below there are no switches.
    below = (op for each in net.layers[: net.index(layer)] for op in each.ops)
    if not any(isinstance(op, Pool) for op in below):
        return
    if "centre_switches" in chosen:
        yield "centre_switches", "centre switches", controls.centre_switches()
    if "random_switches" in chosen:
        control = controls.random_switches(keys["random_switches"])
        yield "random_switches", "random switches", control


def _random_weights(
    units: LayerUnits, key: jax.Array, lowest: str
) -> tuple[str, str, controls.Control]:
    """A step of the cascade: random weights from the layer down to `lowest`."""
    layer = units.layer
    span = layer if lowest == layer else f"{layer} to {lowest}"
    # Long names do not fit one line above a picture.
    lines = span if len(span) < 18 else span.replace(" to ", "\nto ")
    control = controls.random_weights(
        units.loaded.model.spec,
        units.loaded.model.params,
        key,
        layer=layer,
        lowest=lowest,
    )
    return f"random_weights, {span}", f"random weights\n{lines}", control


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
