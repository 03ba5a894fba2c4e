"""Projections beside their controls: `--control` of `experiments.features`."""

import functools
import pathlib

import jax
import numpy as np
from absl import flags

from experiments.common import unit_choice
from zf_jax.errors import BadInput
from zf_jax.figures import control_sheet, raster
from zf_jax.layers import Pool
from zf_jax.probes import controls, projection, similarity, topk

_KINDS = ("random_weights", "wrong_unit", "centre_switches", "random_switches")
_CONTROL = flags.DEFINE_list(
    "control",
    [],
    f"what is taken away from projections drawn beside the true ones: "
    f"{', '.join(_KINDS)}; or all",
)
# Units on one sheet.
_ROWS = 16


def kinds() -> tuple[str, ...]:
    """The chosen controls, in the order of the sheet."""
    given = _CONTROL.value
    if given == ["all"]:
        return _KINDS
    for kind in given:
        if kind not in _KINDS:
            raise BadInput(f"--control={kind}: there are {', '.join(_KINDS)}, or all")
    return tuple(kind for kind in _KINDS if kind in given)


def draw(
    chosen: tuple[str, ...],
    known,
    data,
    layer: str,
    best: topk.TopK,
    maps: np.ndarray,
    captions: list[str],
    out: pathlib.Path,
) -> tuple[list[pathlib.Path], dict]:
    """Draws each map's strongest image with its controls; prints how alike they are.

    Returns:
      The sheets, and the figures: by control, and by step of the cascade.
    """
    project = functools.partial(
        projection.project,
        known.net,
        known.params,
        data,
        topk.TopK(*(part[:, :1] for part in best)),
        layer=layer,
        channels=maps,
        rule=known.rule,
    )
    patches, true = (part[:, 0] for part in project())
    patches = raster.denormalize(patches, known.net.input)
    columns, figures = {f"projection\n({known.rule})": true}, {}
    for name, head, control in _made(chosen, known, layer, len(best.values)):
        other = project(control=control)[1][:, 0]
        figures[name] = _figures(similarity.compare(true, other))
        columns[f"{head}\n{_short(figures[name])}"] = other
    _tell(layer, len(maps), figures)
    written = []
    for start in range(0, len(maps), _ROWS):
        part = slice(start, start + _ROWS)
        page = f"-{start // _ROWS + 1}" if len(maps) > _ROWS else ""
        path = control_sheet.draw(
            patches[part],
            {name: column[part] for name, column in columns.items()},
            [captions[m].replace(", ", "\n") for m in maps[part]],
            title=f"{known.net.name}, {layer}: strongest projections beside their "
            "controls; SSIM, rank correlation\nsigned and of magnitudes, means of "
            f"{len(maps)} maps",
            path=out / f"{layer}-controls{page}.png",
        )
        written.append(path)
    return written, figures


def _made(chosen, known, layer: str, channels: int):
    """Name, heading and control of each column that makes sense in the layer."""
    net = known.net
    keys = jax.random.split(jax.random.key(unit_choice.seed()), len(_KINDS))
    keys = dict(zip(_KINDS, keys, strict=True))
    if "random_weights" in chosen:
        for lowest in controls.cascade(net, layer):
            span = layer if lowest == layer else f"{layer} to {lowest}"
            # Long names do not fit one line above a picture.
            lines = span if len(span) < 18 else span.replace(" to ", "\nto ")
            yield (
                f"random_weights, {span}",
                f"random weights\n{lines}",
                controls.random_weights(
                    net,
                    known.params,
                    keys["random_weights"],
                    layer=layer,
                    lowest=lowest,
                ),
            )
    # A layer of one map has no other unit.
    if "wrong_unit" in chosen and channels > 1:
        made = controls.wrong_unit(keys["wrong_unit"])
        yield "wrong_unit", "wrong unit", made
    # Without a pool below there are no switches.
    below = (op for each in net.layers[: net.index(layer)] for op in each.ops)
    if not any(isinstance(op, Pool) for op in below):
        return
    if "centre_switches" in chosen:
        yield "centre_switches", "centre switches", controls.centre_switches()
    if "random_switches" in chosen:
        made = controls.random_switches(keys["random_switches"])
        yield "random_switches", "random switches", made


def _figures(found: similarity.Similarity) -> dict:
    """Means over the units where neither picture is silent; None where all are."""
    units = int(np.isfinite(found.spearman).sum())
    means = {}
    for name, part in found._asdict().items():
        part = part[np.isfinite(part)]
        means[name] = round(float(part.mean()), 4) if len(part) else None
    return {**means, "units": units}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _short(figures: dict) -> str:
    ranks = f"{_number(figures['spearman'])}, {_number(figures['spearman_abs'])}"
    return f"SSIM {_number(figures['ssim'])}\nrank {ranks}"


def _tell(layer: str, units: int, figures: dict[str, dict]) -> None:
    """The layer's figures as a table."""
    width = max([len(name) for name in figures] + [10])
    print(f"{layer}, strongest image of {units} maps, beside the true projection:")
    print(f"  {'':{width}}   SSIM  Spearman  of magnitudes  units")
    for name, row in figures.items():
        ssim, signed, magnitudes = (
            _number(row[key]) for key in ("ssim", "spearman", "spearman_abs")
        )
        print(
            f"  {name:{width}}  {ssim:>5}  {signed:>8}  {magnitudes:>13}  "
            f"{row['units']:>5}"
        )
