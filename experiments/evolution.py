r"""Fig. 4: how the channels of each layer come about over training.

    python -m experiments.evolution --workdir=runs/tiny
    python -m experiments.evolution --workdir=runs/zfnet --epochs=1,10,64 \
        --layers=layer2,layer5 --split='train[:100000]' --out=runs/evolution

LAYER.png (or several pages): a row a channel, a column for each kept checkpoint; in it
the projection of the channel's strongest activation over the training set, framed where
it is in another image than before. LAYER.npz: the same as arrays. evolution.png: the
first channels of all layers. Each checkpoint takes one pass over the split;
`--split='train[:2000]'` takes fewer images.
"""

import dataclasses
import math
import pathlib

import jax
import numpy as np

from experiments.common import dataset, model, output, topk_pass, unit_choice
from experiments.common.dataset import DataConfig
from experiments.common.model import LoadedModel, RuleConfig
from experiments.common.output import OutputConfig
from experiments.common.unit_choice import UnitConfig
from zf_jax import cli, io
from zf_jax.errors import BadInput
from zf_jax.figures import evolution
from zf_jax.probes.topk import TopK
from zf_jax.training import checkpoint

# Rows of a layer in evolution.png, and of a page of its own.
_ROWS, _PAGE = 3, 24
# Bytes of a layer's pictures that are gathered over all epochs.
_MOST = 4 << 30
# What the command calls its other files.
_FILES = ("evolution",)


@dataclasses.dataclass(frozen=True)
class EvolutionConfig(RuleConfig):
    """Which units over which epochs of a training run."""

    workdir: pathlib.Path | None = cli.field(
        None,
        "workdir of the training run, or a folder that holds just one",
        required=True,
    )
    epochs: tuple[str, ...] = cli.field(
        (),
        "which of those that are kept, as 1,2,5, or all; the paper's and the newest if "
        "unset",
    )
    data: DataConfig = DataConfig(split="train")
    units: UnitConfig = UnitConfig(maps=("6",))
    output: OutputConfig = OutputConfig()


def main(config: EvolutionConfig) -> list[pathlib.Path]:
    """Projects checkpoint by checkpoint, then draws layer by layer."""
    steps = choose_epochs(config.epochs, config.workdir)
    newest = _of_step(config, steps[max(steps)])
    layers = unit_choice.layers(config.units, newest)
    out = output.folder(config.output, newest.run, "evolution")
    data = dataset.open_images(config.data, newest)
    channels, arrays = _gather(config, newest, steps, layers, data, out)
    title = f"{newest.model.name}: strongest of {data.title}, projected ({newest.rule})"
    stems = dict(
        zip(layers, output.distinct(map(output.slug, layers), _FILES), strict=True)
    )
    blocks, written, epochs = [], [], list(steps)
    for layer, stem in stems.items():
        if layer not in arrays:
            print(f"{layer}: none of its maps is ever active, so it has no picture")
            continue
        block = _block(newest, layer, channels[layer], arrays[layer])
        more = {"maps": channels[layer], "epochs": epochs, "cosines": block.cosines}
        written += _pages(block, epochs, title, out, stem)
        path = out / f"{stem}.npz"
        written.append(io.save_arrays(path, **arrays[layer], **more))
        blocks.append(block.rows_from(0, _ROWS))
    if blocks:
        path = out / "evolution.png"
        written.append(evolution.draw(blocks, epochs, title=title, path=path))
    for stem in stems.values():
        output.remove_former(out, stem, written)
    data.report_skipped()
    return written


def choose_epochs(wanted: tuple[str, ...], workdir: pathlib.Path) -> dict[int, int]:
    """The epochs to draw, each with its step, the newest last.

    Raises:
      BadInput: fewer than two, or one that the run does not keep.
    """
    kept = checkpoint.epochs(workdir)
    told = f"{workdir} keeps {', '.join(map(str, kept)) or 'none'}"
    if not wanted:
        chosen = {*checkpoint.FIG_4, *list(kept)[-1:]} & set(kept)
    elif wanted == ("all",):
        chosen = set(kept)
    else:
        given = f"--epochs={','.join(wanted)}"
        if not all(epoch.isdecimal() for epoch in wanted):
            raise BadInput(f"{given}: write epochs, as 1,2,5, or all; {told}")
        chosen = {int(epoch) for epoch in wanted}
        if missing := sorted(chosen - set(kept)):
            raise BadInput(f"{given}: no epoch {missing[0]}; {told}")
    if len(chosen) < 2:
        raise BadInput(
            f"--epochs: an evolution takes two or more; {told}, which --keep_epochs of "
            "launch.train decides"
        )
    return {epoch: kept[epoch] for epoch in sorted(chosen)}


def _of_step(config: EvolutionConfig, step: int) -> LoadedModel:
    """The net after a step of the run."""
    loaded = model.from_run(config.workdir, step)
    return dataclasses.replace(loaded, rule=config.rule, nonlinear=config.nonlinear)


def _gather(
    config: EvolutionConfig,
    newest: LoadedModel,
    steps: dict[int, int],
    layers: list[str],
    data,
    out: pathlib.Path,
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """The chosen channels of each layer, and its arrays, [M, E, ...] each.

    It goes back from the newest checkpoint, which tells what channels to look at.
    """
    last, channels, found = None, {}, {layer: [] for layer in layers}
    for epoch, step in reversed(steps.items()):
        loaded = newest
        if last is not None:
            loaded = _of_step(config, step)
        best = topk_pass.scan(
            loaded,
            data,
            layers,
            k=1,
            path=out / f"pass-{epoch}.npz",
            desc=f"epoch {epoch}",
        )
        if last is None:
            last = best
            channels = _channels(config.units, newest, best, len(steps))
        for layer in cli.progress(layers, desc="projections", leave=False):
            if len(channels[layer]):
                both = best[layer], last[layer]
                arrays = _project(loaded, layer, data, *both, channels[layer])
                found[layer].insert(0, arrays)
    return channels, {
        layer: {name: np.stack([e[name] for e in each], 1) for name in each[0]}
        for layer, each in found.items()
        if each
    }


def _channels(
    config: UnitConfig, loaded: LoadedModel, best: dict[str, TopK], epochs: int
) -> dict[str, np.ndarray]:
    """The chosen channels of each layer, if their pictures fit the memory."""
    found = {}
    for layer, each in best.items():
        found[layer] = unit_choice.channels(config, loaded, layer, each.values[:, 0])
        pixels = math.prod(loaded.layers[layer].field)
        # Patches, projections and those of the last winners, float32.
        most = _MOST // (3 * 4 * loaded.input.channels * pixels * epochs)
        if (count := len(found[layer])) > most:
            raise BadInput(
                f"--maps: {layer}'s {count} maps at {epochs} epochs are too many to "
                f"keep; at most {most}, or fewer --epochs"
            )
    return found


def _project(
    loaded: LoadedModel, layer: str, data, best: TopK, last: TopK, channels: np.ndarray
) -> dict[str, np.ndarray]:
    """Projections of the channels' winners now, and of the last epoch's winners now."""
    both = jax.tree.map(lambda now, end: np.concatenate([now, end], 1), best, last)
    # What the last epoch's winners excite now is not in `last`.
    patches, projections = loaded.project(
        data, both, layer=layer, channels=channels, own_values=True
    )
    return {
        **{name: part[channels, 0] for name, part in best._asdict().items()},
        "patches": patches[:, 0],
        "projections": projections[:, 0],
        "lasting": projections[:, 1],
    }


def _block(
    loaded: LoadedModel, layer: str, channels: np.ndarray, found: dict
) -> evolution.Block:
    names = loaded.class_names(layer)
    return evolution.Block(
        name=layer,
        rows=[names[channel] if names else f"map {channel}" for channel in channels],
        projections=found["projections"],
        # A silent channel's strongest image is no winner.
        images=np.where(found["values"] != 0, found["images"], -1),
        cosines=evolution.cosine_to_last(found["lasting"]),
    )


def _pages(
    block: evolution.Block, epochs: list[int], title: str, out: pathlib.Path, stem: str
) -> list[pathlib.Path]:
    starts, written = range(0, len(block.rows), _PAGE), []
    for number, start in enumerate(starts, start=1):
        page = block.rows_from(start, _PAGE)
        path = out / f"{stem}{f'-{number}' if len(starts) > 1 else ''}.png"
        written.append(evolution.draw([page], epochs, title=title, path=path))
    return written


if __name__ == "__main__":
    cli.run(main)
