r"""Fig. 2: what excites the channels of each layer, and what in it does.

    python -m experiments.features --checkpoint=runs/tiny --out=runs/features
    python -m experiments.features --checkpoint=runs/tiny --maps=all --out=runs/all
    python -m experiments.features --onnx=vgg16.onnx --preset=caffe --images=holiday \
        --upto=block5_conv3 --size=512 --order=strength --out=runs/features

LAYER.png (or several pages): for each chosen channel its nine strongest images, as
patches cut to the receptive field, beside their projections through the deconvnet.
LAYER.npz: the same as arrays. contact.png: the first channels of all layers.
filters.png: the filters of the first layer. --control=random_weights,wrong_unit draws
the same units with the net's weights or the unit taken away (LAYER-controls.png), and
tells how similar the pictures are (controls.json).
"""

import dataclasses
import pathlib

import numpy as np

from experiments.common import dataset, model, output, topk_pass, unit_choice
from experiments.common.config import ExperimentConfig
from experiments.common.model import LoadedModel
from experiments.common.unit_choice import UnitConfig
from experiments.features import controls, pages
from experiments.features.controls import ControlConfig
from experiments.features.pages import LayerUnits
from zf_jax import cli, hosts, io
from zf_jax.figures import contact_sheet, filter_sheet, raster
from zf_jax.probes import first_filters
from zf_jax.probes.topk import TopK

# Channels of a layer in contact.png.
_CONTACT = 12
# What the command calls its other files.
_FILES = ("contact", "filters", "controls", "pass")


@dataclasses.dataclass(frozen=True)
class FeaturesConfig(ExperimentConfig):
    """Which units of which net, and the images to look for."""

    units: UnitConfig = UnitConfig()
    controls: ControlConfig = ControlConfig()
    k: int = cli.field(9, "images a map", minimum=1)
    hosts: cli.HostsConfig = cli.HostsConfig()


def main(config: FeaturesConfig) -> list[pathlib.Path]:
    """Finds the top-k in one pass for all layers, then draws layer by layer.

    Several hosts share the pass; the first draws.
    """
    config.hosts.initialize()
    loaded = model.load(config.model)
    layers = unit_choice.layers(config.units, loaded)
    control_names = controls.names(config.controls)
    loaded.check_rule(layers)
    data = dataset.open_images(config.data, loaded)
    out = output.folder(config.output, loaded.run, "features")
    k, path = min(config.k, len(data)), out / "pass.npz"
    best = topk_pass.scan(loaded, data, layers, k=k, path=path)
    if not hosts.is_primary():
        return []
    units = _units(config.units, loaded, layers, best)
    projector = loaded.projector(
        data, best, {layer: each.channels for layer, each in units.items()}
    )
    written, strongest, similarities = _filters(loaded, layers, out), {}, {}
    for layer, each in cli.progress(units.items(), desc="projections"):
        paths, pictures = pages.draw(each, data, projector, out)
        written += paths
        strongest[layer] = pictures[:_CONTACT]
        live = each.live()
        if control_names and len(live.channels):
            paths, similarities[layer] = controls.draw(
                control_names, live, data, seed=config.units.seed, out=out
            )
            written += paths
    written += _contact(loaded, strongest, out)
    if similarities:
        written.append(io.save_json(out / "controls.json", similarities))
    _remove_former(units, out, written, controls_too=bool(control_names))
    data.report_skipped()
    return written


def _units(
    config: UnitConfig, loaded: LoadedModel, layers: list[str], best: dict[str, TopK]
) -> dict[str, LayerUnits]:
    """The chosen channels of each layer, and what the layer's files are called."""
    stems = output.distinct(map(output.slug, layers), _FILES)
    return {
        layer: LayerUnits(
            loaded,
            layer,
            stem,
            best[layer],
            unit_choice.channels(config, loaded, layer, best[layer].values[:, 0]),
        )
        for layer, stem in zip(layers, stems, strict=True)
    }


def _filters(
    loaded: LoadedModel, layers: list[str], out: pathlib.Path
) -> list[pathlib.Path]:
    """Draws the first layer's filters, where that layer is chosen and sees pixels."""
    first = loaded.default_layers[0]
    if first not in layers:
        return []
    found = first_filters.find(loaded.model, loaded.crop_size or loaded.input.size)
    if found is None or found.kernel.shape[2] not in (1, 3):
        # Filters in groups see some of the channels.
        return []
    title = f"{loaded.model.name}, {first}: {found.kernel.shape[-1]} filters"
    return [filter_sheet.draw(found.kernel, title=title, path=out / "filters.png")]


def _contact(
    loaded: LoadedModel, strongest: dict[str, list[np.ndarray]], out: pathlib.Path
) -> list[pathlib.Path]:
    """Draws the strongest projection of the first channels of all layers."""
    rows = {
        layer: raster.stretch(np.stack(pictures))
        for layer, pictures in strongest.items()
        if len(pictures)
    }
    if not rows:
        return []
    title = f"{loaded.model.name}: strongest projection of the first maps"
    return [contact_sheet.draw(rows, title=title, path=out / "contact.png")]


def _remove_former(
    units: dict[str, LayerUnits],
    out: pathlib.Path,
    written: list[pathlib.Path],
    *,
    controls_too: bool,
) -> None:
    """Removes what an earlier run with more pages left of the same layers."""
    for each in units.values():
        # A layer of another name may be called as a page.
        others = (name for name in each.loaded.layers if name not in units)
        kept = [out / f"{output.slug(other)}.png" for other in others]
        output.remove_former(out, each.stem, written + kept)
        if controls_too:
            output.remove_former(out, f"{each.stem}-controls", written)


if __name__ == "__main__":
    cli.run(main)
