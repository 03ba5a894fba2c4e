r"""Fig. 2: what excites the maps of each layer, and what in it does.

    python -m experiments.features --checkpoint=runs/tiny --out=runs/features
    python -m experiments.features --checkpoint=runs/tiny --maps=all --out=runs/all
    python -m experiments.features --onnx=vgg16.onnx --preset=caffe --images=holiday \
        --last=block5_conv3 --size=512 --order=strength --out=runs/features

One PNG a layer (or several pages): for each chosen map its nine strongest images, as
patches cut to what the unit sees, beside their projections through the deconvnet; and
all of it as arrays (.npz). contact.png has the first maps of all layers, filters.png
the filters of the first. --control=random_weights,wrong_unit draws the same units with
the net's weights or the unit taken away, and says how alike the pictures are.
"""

import pathlib

import numpy as np
from absl import flags

from experiments import controlled
from experiments.common import dataset, model, output, topk_pass, unit_choice
from zf_jax import cli, geometry, io
from zf_jax.figures import (
    contact_sheet,
    feature_pages,
    filter_sheet,
    raster,
    text,
)
from zf_jax.layers import Conv
from zf_jax.probes import projection

flags.adopt_module_key_flags(model)
flags.adopt_module_key_flags(dataset)
flags.adopt_module_key_flags(unit_choice)
flags.adopt_module_key_flags(controlled)
flags.adopt_module_key_flags(output)
_K = flags.DEFINE_integer("k", 9, "images a map", lower_bound=1)
# Bytes of patches and projections that are worth a file, and fit the memory.
_ARRAYS = 2 << 30
# Maps of a layer in contact.png.
_FIRST = 12


def main() -> list[pathlib.Path]:
    """Gathers in one pass for all layers, then projects and draws layer by layer."""
    known = model.load()
    layers, kinds = unit_choice.layers(known.net), controlled.kinds()
    data = (
        dataset.ImageFiles(known) if dataset.files_given() else dataset.Dataset(known)
    )
    out = output.folder(known.run, "features")
    k = min(_K.value, len(data))
    found = topk_pass.strongest(
        known.net, known.params, data, layers, k=k, path=out / "pass.npz"
    )
    written, rows, figures = _filters(known, layers, out), {}, {}
    maps_of = {
        layer: unit_choice.maps(known, layer, found[layer].values[:, 0])
        for layer in layers
    }
    projector = projection.Projector(
        known.net, known.params, data, found, maps_of, rule=known.rule
    )
    for layer in cli.progress(layers, desc="projections"):
        best, maps = found[layer], maps_of[layer]
        fires = _fires(best.values)
        if dead := int((~fires[:, 0]).sum()):
            print(f"{layer}: {dead} of {len(fires)} maps never fire")
        if not len(maps):
            print(f"{layer}: none of its maps is ever active, so it has no picture")
            continue
        captions = _captions(best.values[:, 0], known.names(layer))
        look = known, data, layer, best, maps
        files_of_layer, rows[layer] = _layer(*look, captions, projector, out)
        written += files_of_layer
        live = maps[fires[maps, 0]]
        if kinds and len(live):
            look = known, data, layer, best, live
            paths, figures[layer] = controlled.draw(kinds, *look, captions, out)
            written += paths
    rows = {layer: raster.stretch(np.stack(row)) for layer, row in rows.items() if row}
    if rows:
        title = f"{known.net.name}: strongest projection of the first maps"
        written.append(contact_sheet.draw(rows, title=title, path=out / "contact.png"))
    if figures:
        written.append(io.save_json(out / "controls.json", figures))
    data.tell_skipped()
    return written


def _fires(values: np.ndarray) -> np.ndarray:
    """Which activations are any: rectified ones are 0 where a map is silent."""
    return np.isfinite(values) & (values != 0)


def _captions(strongest: np.ndarray, names) -> list[str]:
    """Of every map: its class, where it stands for one, or its number; its maximum."""
    return [
        f"{names[m] if names else f'map {m}'}"
        + (f", max {text.number(value)}" if _fires(value) else "")
        for m, value in enumerate(strongest)
    ]


def _layer(known, data, layer, best, maps, captions, projector, out):
    """The layer's pages and arrays, and its pictures for the contact sheet."""
    field = geometry.fields(known.net)[layer]
    size = tuple(map(min, field.size, known.net.input.size))
    k = best.values.shape[1]
    a_page = feature_pages.maps_per_page(size, k)
    pages = [maps[i : i + a_page] for i in range(0, len(maps), a_page)]
    bytes_ = 2 * 4 * 3 * len(maps) * k * size[0] * size[1]
    written, kept, first = [], [], []
    for number, page in enumerate(pages, start=1):
        patches, projections = _project(projector, layer, best, page)
        fires = _fires(best.values[page])
        title = (
            f"{known.net.name}, {layer}: projections ({known.rule}) and patches of the "
            f"{k} strongest of {data.title}"
        )
        if len(pages) > 1:
            title += f" ({number} of {len(pages)})"
        path = feature_pages.draw(
            raster.denormalize(patches, known.net.input),
            projections,
            [captions[m] for m in page],
            title=title,
            path=out / f"{layer}{f'-{number}' if len(pages) > 1 else ''}.png",
            # A map may be silent in some of few images.
            shown=fires,
        )
        written.append(path)
        live = projections[fires[:, 0], 0]
        first += list(live[: _FIRST - len(first)])
        if bytes_ <= _ARRAYS:
            kept.append((patches, projections))
    if bytes_ > _ARRAYS:
        print(f"{layer}: no .npz, which would take {bytes_ / 2**30:.1f} GiB")
        return written, first
    patches, projections = (np.concatenate(part) for part in zip(*kept, strict=True))
    arrays = io.save_arrays(
        out / f"{layer}.npz",
        maps=maps,
        indices=best.images[maps],
        positions=best.positions[maps],
        values=best.values[maps],
        patches=patches,
        projections=projections,
    )
    return [*written, arrays], first


def _project(projector: projection.Projector, layer, best, maps):
    """Patches and projections, but for maps that never fire: these are zero."""
    live = _fires(best.values[maps, 0])
    # One image of one map where none fires: its shape is that of all.
    chosen = maps[live] if live.any() else maps[:1]
    found = projector.project(layer, chosen)
    whole = []
    for part in found:
        whole.append(np.zeros((len(maps), *part.shape[1:]), part.dtype))
        if live.any():
            whole[-1][live] = part
    return whole


def _filters(known: model.LoadedModel, layers: list[str], out) -> list[pathlib.Path]:
    """The first layer's filters, where that layer is drawn and looks at colours."""
    first = known.net.layers[0]
    kernel = np.asarray(known.params[first.name]["kernel"])
    if first.name not in layers or not isinstance(first.filter, Conv):
        return []
    if kernel.shape[2] != 3:
        return []
    title = f"{known.net.name}, {first.name}: {kernel.shape[-1]} filters"
    return [filter_sheet.draw(kernel, title=title, path=out / "filters.png")]


if __name__ == "__main__":
    cli.run(main)
