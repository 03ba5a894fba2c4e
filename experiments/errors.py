r"""Table 2: the errors of nets, with one crop and with ten, alone and averaged.

    python -m experiments.errors --checkpoint=runs/tiny
    python -m experiments.errors --checkpoints=runs/zfnet-1,runs/zfnet-2,runs/wide \
        --dataset=imagenet2012

Prints the table, with the paper's own numbers where the data is ImageNet's validation,
and writes errors.json. Ten crops are the corners and the centre of the resized image,
and the same mirrored; probabilities are averaged over crops, and over nets. A tie is an
error.
"""

import itertools
import pathlib

import jax
import numpy as np
from absl import flags

from experiments import ensemble, paper
from experiments.common import model, output
from zf_jax import cli, convnet, io
from zf_jax.data import crops
from zf_jax.probes import batched, topk_error

flags.adopt_module_key_flags(ensemble)
flags.adopt_module_key_flags(output)
# Where `crops.ten` has the centre crop.
_CENTRE = 4


def main() -> list[pathlib.Path]:
    """The ranks of the labels, all nets batch by batch; then the errors."""
    nets = ensemble.load()
    for resize in {one.known.resize for one in nets if not _room(one.known)}:
        print(
            f"resized to {resize} pixels, the net's own size, a square image has two "
            "crops, itself and its mirror image, for the ten; "
            f"--size={round(resize * 256 / 224)} makes room as the paper did"
        )
    ranks = _ranks(nets)
    names = [one.name for one in nets]
    specs = [(one.known.net.name,) for one in nets]
    if len(nets) > 1:
        names.append(f"average of {len(nets)}")
        specs.append(tuple(sorted(name for (name,) in specs)))
    data, rows = nets[0].data.name, []
    source = nets[0].data.source
    for of_net, name, spec in zip(ranks, names, specs, strict=True):
        single, ten = (
            [round(100 * float(topk_error.error(each, k)), 4) for k in (1, 5)]
            for each in of_net
        )
        of_paper = paper.errors(source.name, source.split, spec)
        rows.append({"net": name, "one crop": single, "ten crops": ten})
        rows[-1] |= {"paper": of_paper} if of_paper else {}
    _print(f"{data}: errors of {ranks.shape[-1]:,} images, %", rows)
    found = {"data": data, "images": ranks.shape[-1], "errors": rows}
    out = output.folder(nets[0].known.run, "errors")
    return [io.save_json(out / "errors.json", found)]


def _room(known: model.LoadedModel) -> bool:
    return known.resize > min(known.crop)


def _ranks(nets: list[ensemble.Member]) -> np.ndarray:
    """[nets, 2, images]: by one crop and by ten; the average of several nets last."""
    images = [one.data for one in nets]
    # Nets that cut the images alike read them once; the labels are the first one's.
    streams = {
        id(data): list(itertools.tee(data.labelled(cut=crops.ten), count))
        for data in images
        if (count := images.count(data) + (data is images[0]))
    }
    labels = streams[id(images[0])].pop()
    readings = [
        batched.over(
            topk_error.make_probabilities(_make_logits(one.known)),
            (batch.images for batch in streams[id(one.data)].pop()),
        )
        for one in nets
    ]
    found = []
    with cli.progress(total=len(images[0]), desc="errors", unit=" images") as bar:
        for batch, *each in zip(labels, *readings, strict=True):
            each = np.stack(each)
            each = np.stack([each[:, :, _CENTRE], each.mean(axis=2)], axis=1)
            if len(nets) > 1:
                each = np.concatenate([each, each.mean(axis=0, keepdims=True)])
            found.append(topk_error.ranks(each, batch.labels)[..., batch.mask])
            bar.update(found[-1].shape[-1])
    return np.concatenate(found, axis=-1)


def _make_logits(known: model.LoadedModel):
    network = convnet.ConvNet(known.net)

    def logits(pixels: jax.Array) -> jax.Array:
        prepared = convnet.prepare(pixels, known.net.input)
        return network.apply({"params": known.params}, prepared)[0]

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
