r"""Table 2: the errors of nets, with one crop and with ten, alone and averaged.

    python -m experiments.errors --checkpoint=runs/tiny
    python -m experiments.errors --checkpoints=runs/zfnet-1,runs/zfnet-2,runs/wide \
        --dataset=imagenet2012

Prints the table, with the paper's own numbers where the data is ImageNet's validation,
and writes errors.json. Ten crops are the corners and the centre of the resized image,
and the same mirrored; probabilities are averaged over crops, and over nets. A tie is an
error.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator

import jax
import numpy as np

from experiments.common import dataset, output, paper
from experiments.common.dataset import DataConfig
from experiments.common.model import LoadedModel
from experiments.common.output import OutputConfig
from experiments.errors import ensemble
from experiments.errors.ensemble import EnsembleConfig
from zf_jax import cli, io
from zf_jax.data import batches, crops
from zf_jax.probes import batched, topk_error

# Where `crops.ten` has the centre crop.
_CENTRE = 4


@dataclasses.dataclass(frozen=True)
class ErrorsConfig:
    """Nets and the images that they classify."""

    ensemble: EnsembleConfig = EnsembleConfig()
    data: DataConfig = DataConfig()
    output: OutputConfig = OutputConfig()


def main(config: ErrorsConfig) -> list[pathlib.Path]:
    """Ranks the labels, all nets batch by batch; then counts the errors."""
    nets = ensemble.load(config.ensemble, config.data)
    _tell_narrow(nets)
    ranks = _ranks(nets)
    rows = [_row(nets, *of_net) for of_net in zip(_averages(nets), ranks, strict=True)]
    data, count = nets[0].data.name, ranks.shape[-1]
    _print(f"{data}: errors of {count:,} images, %", rows)
    out = output.folder(config.output, nets[0].loaded.run, "errors")
    found = {"data": data, "images": count, "errors": rows}
    return [io.save_json(out / "errors.json", found)]


def _tell_narrow(nets: list[ensemble.Member]) -> None:
    """Says where resized images leave no room for ten different crops."""
    for resize in {
        net.loaded.resize
        for net in nets
        if net.loaded.resize <= min(net.loaded.crop_size)
    }:
        print(
            f"resized to {resize} pixels, the net's own size, a square image has two "
            "crops, itself and its mirror image, for the ten; "
            f"--size={round(resize * 256 / 224)} makes room as the paper did"
        )


def _averages(nets: list[ensemble.Member]) -> list[tuple[str, tuple[str, ...]]]:
    """For each net, then for the average of several: its name, and names of specs."""
    found = [(net.name, (net.loaded.model.name,)) for net in nets]
    if len(nets) > 1:
        specs = sorted(net.loaded.model.name for net in nets)
        found.append((f"average of {len(nets)}", tuple(specs)))
    return found


def _row(
    nets: list[ensemble.Member], average: tuple[str, tuple[str, ...]], ranks: np.ndarray
) -> dict:
    """Errors in percent, for JSON.

    Args:
      nets: all of them.
      average: name and specs, as `_averages` gives them.
      ranks: [2, images], of the labels by one crop and by ten.
    """
    name, specs = average
    single, ten = (
        [round(100 * float(topk_error.error(of_crops, k)), 4) for k in (1, 5)]
        for of_crops in ranks
    )
    row = {"net": name, "one crop": single, "ten crops": ten}
    source = nets[0].data.source
    if of_paper := paper.ensemble_errors(source.name, source.split, specs):
        row["paper"] = of_paper
    return row


def _ranks(nets: list[ensemble.Member]) -> np.ndarray:
    """[nets, 2, images]: by one crop and by ten; the average of several nets last."""
    labels, *streams = _streams([net.data for net in nets])
    probabilities = [
        batched.map_batches(
            topk_error.make_probabilities(
                _make_logits(net.loaded), activation=net.loaded.model.probabilities
            ),
            (batch.images for batch in stream),
        )
        for net, stream in zip(nets, streams, strict=True)
    ]
    found = []
    with cli.progress(total=len(nets[0].data), desc="errors", unit=" images") as bar:
        for batch, *by_net in zip(labels, *probabilities, strict=True):
            # [nets, images, crops, classes]
            by_net = np.stack(by_net)
            by_crops = np.stack([by_net[:, :, _CENTRE], by_net.mean(axis=2)], axis=1)
            if len(nets) > 1:
                average = by_crops.mean(axis=0, keepdims=True)
                by_crops = np.concatenate([by_crops, average])
            ranks = topk_error.ranks(by_crops, batch.labels)
            found.append(ranks[..., batch.mask])
            bar.update(found[-1].shape[-1])
    return np.concatenate(found, axis=-1)


def _streams(images: list[dataset.Dataset]) -> list[Iterator[batches.Batch]]:
    """The batches of the first, for their labels, then those of each, of ten crops.

    Nets that cut the images alike read them once.
    """
    wanted = [images[0], *images]
    copies = {}
    for data in wanted:
        if id(data) not in copies:
            stream = data.labelled(cut=crops.ten)
            copies[id(data)] = list(itertools.tee(stream, wanted.count(data)))
    return [copies[id(data)].pop() for data in wanted]


def _make_logits(loaded: LoadedModel):
    def logits(pixels: jax.Array) -> jax.Array:
        return loaded.model.logits(loaded.model.prepare(pixels))

    return logits


def _print(title: str, rows: list[dict]) -> None:
    width = max(len(row["net"]) for row in rows)
    columns = ["one crop", "ten crops"] + ["paper"] * any("paper" in r for r in rows)
    print(title)
    print(" " * width + "".join(f"{name:>16}" for name in columns))
    print(" " * width + f"{'top-1':>8}{'top-5':>8}" * len(columns))
    for row in rows:
        cells = [x for name in columns for x in row.get(name, ("", ""))]
        cells = (f"{x:>8.2f}" if isinstance(x, float) else f"{x:>8}" for x in cells)
        print(f"{row['net']:<{width}}" + "".join(cells))


if __name__ == "__main__":
    cli.run(main)
