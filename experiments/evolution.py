r"""Fig. 4: how the maps of each layer come about over training.

    python -m experiments.evolution --workdir=runs/tiny
    python -m experiments.evolution --workdir=runs/zfnet --epochs=1,10,64 \
        --layers=layer2,layer5 --split='train[:100000]' --out=runs/evolution

A row a map, a column for each kept checkpoint: the projection of the map's strongest
activation over the training set, framed where it is in another image than before. PNG
and arrays (.npz) of each layer, and evolution.png with the first maps of all. One pass
over the split for each checkpoint; `--split='train[:2000]'` takes fewer images.
"""

import math
import pathlib

import jax
import numpy as np
from absl import flags

from experiments.common import dataset, model, output, topk_pass, unit_choice
from zf_jax import cli, geometry, io
from zf_jax.errors import BadInput
from zf_jax.figures import evolution
from zf_jax.probes import projection
from zf_jax.training import checkpoint

flags.adopt_module_key_flags(dataset)
flags.adopt_module_key_flags(unit_choice)
flags.declare_key_flag("rule")
flags.FLAGS.set_default("split", "train")
flags.FLAGS.set_default("maps", ["6"])
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "of the training run, or a folder that holds just one"
)
_EPOCHS = flags.DEFINE_list(
    "epochs",
    [],
    "which of those that are kept, as 1,2,5, or all; the paper's and the newest if "
    "unset",
)
flags.adopt_module_key_flags(output)
# Rows of a layer in evolution.png, and of a page of its own.
_ROWS, _PAGE = 3, 24
# Bytes of a layer's pictures that are gathered over all epochs.
_MOST = 4 << 30


def _columns(kept: dict[int, int]) -> dict[int, int]:
    """The epochs to draw, each with its step, the newest last."""
    told = f"{_WORKDIR.value} keeps {', '.join(map(str, kept)) or 'none'}"
    if not _EPOCHS.value:
        chosen = {*checkpoint.FIG_4, *list(kept)[-1:]} & set(kept)
    elif _EPOCHS.value == ["all"]:
        chosen = set(kept)
    else:
        given = f"--epochs={','.join(_EPOCHS.value)}"
        if not all(epoch.isdecimal() for epoch in _EPOCHS.value):
            raise BadInput(f"{given}: write epochs, as 1,2,5, or all; {told}")
        chosen = {int(epoch) for epoch in _EPOCHS.value}
        if missing := sorted(chosen - set(kept)):
            raise BadInput(f"{given}: no epoch {missing[0]}; {told}")
    if len(chosen) < 2:
        raise BadInput(
            f"--epochs: an evolution takes two or more; {told}, which --keep of "
            "launch.train decides"
        )
    return {epoch: kept[epoch] for epoch in sorted(chosen)}


def _look(known: model.LoadedModel, layer: str, data, best, last, maps) -> dict:
    """What excites the maps now, and what now becomes of the last epoch's winners."""
    both = jax.tree.map(lambda now, end: np.concatenate([now, end], 1), best, last)
    # What the last epoch's winners excite now is not in `last`.
    patches, projections = projection.project(
        known.net,
        known.params,
        data,
        both,
        layer=layer,
        channels=maps,
        rule=known.rule,
        own_values=True,
    )
    return {
        **{name: part[maps, 0] for name, part in best._asdict().items()},
        "patches": patches[:, 0],
        "projections": projections[:, 0],
        "lasting": projections[:, 1],
    }


def _gather(
    newest: model.LoadedModel, steps: dict[int, int], layers: list[str], data, out
):
    """The chosen maps of each layer, and its arrays, [M, E, ...] each.

    It goes back from the newest checkpoint, which tells what maps to look at.
    """
    known, last, maps, looks = newest, None, {}, {layer: [] for layer in layers}
    for epoch, step in reversed(steps.items()):
        known = known if last is None else model.of_run(_WORKDIR.value, step)
        best = topk_pass.strongest(
            known.net,
            known.params,
            data,
            layers,
            k=1,
            path=out / f"pass-{epoch}.npz",
            desc=f"epoch {epoch}",
        )
        last = last or best
        for layer in cli.progress(layers, desc="projections", leave=False):
            if layer not in maps:
                maps[layer] = unit_choice.maps(newest, layer, best[layer].values[:, 0])
                _check_fit(newest, layer, len(maps[layer]), len(steps))
            if len(maps[layer]):
                now = best[layer], last[layer], maps[layer]
                looks[layer].insert(0, _look(known, layer, data, *now))
    return maps, {
        layer: {name: np.stack([e[name] for e in each], 1) for name in each[0]}
        for layer, each in looks.items()
        if each
    }


def _check_fit(known: model.LoadedModel, layer: str, maps: int, epochs: int) -> None:
    field = geometry.fields(known.net)[layer].size
    sides = map(min, field, known.net.input.size)
    # Patches, projections and those of the last winners, float32 in three colours.
    most = _MOST // (3 * 4 * 3 * math.prod(sides) * epochs)
    if maps > most:
        raise BadInput(
            f"--maps: {layer}'s {maps} maps at {epochs} epochs are too many to keep; "
            f"at most {most}, or fewer --epochs"
        )


def _block(known: model.LoadedModel, layer: str, maps, found: dict) -> evolution.Block:
    names = known.names(layer)
    return evolution.Block(
        name=layer,
        rows=[names[m] if names else f"map {m}" for m in maps],
        projections=found["projections"],
        # A silent map's strongest image is no winner.
        images=np.where(found["values"] != 0, found["images"], -1),
        cosines=evolution.cosine_to_last(found["lasting"]),
    )


def main() -> list[pathlib.Path]:
    """Gathers checkpoint by checkpoint, then draws layer by layer."""
    steps = _columns(checkpoint.epochs(_WORKDIR.value))
    epochs = list(steps)
    newest = model.of_run(_WORKDIR.value, steps[epochs[-1]])
    layers = unit_choice.layers(newest.net)
    out = output.folder(newest.run, "evolution")
    data = (dataset.ImageFiles if dataset.files_given() else dataset.Dataset)(newest)
    maps, arrays = _gather(newest, steps, layers, data, out)
    title = f"{newest.net.name}: strongest of {data.title}, projected ({newest.rule})"
    blocks, written = [], []
    for layer in layers:
        if layer not in arrays:
            print(f"{layer}: none of its maps is ever active, so it has no picture")
            continue
        block = _block(newest, layer, maps[layer], arrays[layer])
        more = {"maps": maps[layer], "epochs": epochs, "cosines": block.cosines}
        pages = range(0, len(block.rows), _PAGE)
        for number, start in enumerate(pages, start=1):
            page = block.rows_from(start, _PAGE)
            path = out / f"{layer}{f'-{number}' if len(pages) > 1 else ''}.png"
            written.append(evolution.draw([page], epochs, title=title, path=path))
        path = out / f"{layer}.npz"
        written.append(io.save_arrays(path, **arrays[layer], **more))
        blocks.append(block.rows_from(0, _ROWS))
    if blocks:
        path = out / "evolution.png"
        written.append(evolution.draw(blocks, epochs, title=title, path=path))
    data.tell_skipped()
    return written


if __name__ == "__main__":
    cli.run(main, required=("workdir",))
