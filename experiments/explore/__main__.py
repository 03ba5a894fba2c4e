r"""The explorer: every unit of a net in one folder of HTML.

    python -m experiments.explore --checkpoint=runs/tiny --out=runs/explorer
    python -m experiments.explore --onnx=vgg16.onnx --preset=caffe --images=holiday \
        --upto=block5_conv3 --size=224 --out=runs/explorer
    python -m experiments.explore --model=my_net.py:make --dataset=imagenet2012 \
        --layers=block1/relu,block2/relu --out=runs/explorer

OUT/index.html opens from the disk, or on any static server. For each unit it has the
strongest examples beside their projections by every rule, and the same under controls;
examples at quantiles; a histogram; what classes excite it; where in the image it
fires; an occlusion map; its strongest weights; units alike; and its evolution over the
checkpoints that the run keeps. --single_file packs all of it into OUT.html.

What was computed is kept in OUT.partial until the folder is whole: the same command,
given again after an interruption, goes on from there. An explorer that is in
OUT is replaced at the end, or stays as it was.
"""

import dataclasses
import pathlib
import shutil

from experiments.common import dataset, model, output, topk_pass, unit_choice
from experiments.common.config import ExperimentConfig
from experiments.common.model import LoadedModel
from experiments.common.unit_choice import UnitConfig
from experiments.explore import activation_table, overview
from experiments.explore.gathered import Gathered
from experiments.explore.unit_pictures import UnitPictures
from zf_jax import cli, deconvnet
from zf_jax.errors import BadInput
from zf_jax.figures.explorer import single_file, writer
from zf_jax.figures.explorer.kept_layers import KeptLayers


@dataclasses.dataclass(frozen=True)
class ExploreConfig(ExperimentConfig):
    """Which layers of which net, on which images, and what is computed of them."""

    layers: tuple[str, ...] = cli.field(
        ("all",),
        "layer1,layer2,... or all: every layer of a training run's net; of another "
        "model at most 16 hidden values",
    )
    rules: tuple[str, ...] = cli.field(
        deconvnet.RULES,
        "for the ReLU in the backward pass, to switch between; the page opens with "
        "--rule",
    )
    k: int = cli.field(9, "strongest examples of a unit", minimum=1)
    occlusion: bool | None = cli.field(
        None,
        "occlusion maps of each unit's strongest example, some 50 forward passes an "
        "image; if unset, where all take some ten minutes on two cores at most",
    )
    evolution: bool = cli.field(
        True, "the kept checkpoints of a training run: a pass over the images for each"
    )
    seed: int = cli.field(0, "of the controls")
    single_file: bool = cli.field(
        False, "also OUT.html, all in one file; for small nets"
    )


def main(config: ExploreConfig) -> list[pathlib.Path]:
    """Passes over the images once, then draws layer by layer."""
    _check_rules(config)
    loaded = model.load(config.model)
    out = output.folder(config.output, loaded.run, "explorer")
    writer.refuse_other_files(out)
    layers = unit_choice.layers(UnitConfig(config.layers, ("all",)), loaded)
    rules = _rules(config, loaded, layers)
    data = dataset.open_images(config.data, loaded)
    partial = out.with_name(f"{out.name}.partial")
    # All that the files of OUT.partial depend on.
    given = config.k, config.seed, config.occlusion, config.evolution, config.model.step
    key = topk_pass.fingerprint(loaded, data.key, tuple(layers), rules, *given)
    gathered = _gather(config, loaded, data, layers, partial, key)
    pictures = UnitPictures(
        loaded,
        data,
        gathered.best,
        gathered.quantiles,
        rules=rules,
        seed=config.seed,
    )
    explorer = overview.explorer(gathered, rules=rules, seed=config.seed)
    kept = KeptLayers(partial / "layers", key)
    with writer.replacing(explorer, out, kept) as pages:
        for layer in cli.progress(layers, desc="layers"):
            if not pages.take_kept(layer):
                gathered.add_layer(pages, layer, pictures)
        pages.add_images(gathered.image_views())
    written = [out / "index.html"]
    if config.single_file:
        path = out.with_name(f"{out.name}.html")
        written.append(single_file.write(explorer, out, path))
    shutil.rmtree(partial)
    data.report_skipped()
    return written


def _gather(
    config: ExploreConfig,
    loaded: LoadedModel,
    data,
    layers: list[str],
    partial: pathlib.Path,
    key: str,
) -> Gathered:
    """What the images tell of the units; it is kept in the folder `partial`."""
    last = list(loaded.layers)[-1]
    # The logits give predictions, even where they are no layer of the explorer.
    more = [last] if loaded.class_names(last) and last not in layers else []
    tables = activation_table.gather(loaded, data, [*layers, *more], partial)
    gathered = Gathered(loaded, data, layers, tables, k=config.k)
    if config.evolution:
        gathered.add_evolution(config.model.step, partial)
    if config.occlusion is not False:
        gathered.add_occlusion(config.occlusion, partial / "occlusion.npz", key)
    return gathered


def _check_rules(config: ExploreConfig) -> None:
    """Raises BadInput where there is no such rule."""
    for rule in config.rules:
        if rule not in deconvnet.RULES:
            known = ", ".join(deconvnet.RULES)
            raise BadInput(f"--rules={rule}: there are {known}")


def _rules(
    config: ExploreConfig, loaded: LoadedModel, layers: list[str]
) -> tuple[deconvnet.Rule, ...]:
    """--rule, then those others of --rules that can be applied to the net.

    Raises:
      BadInput: --rule cannot be applied.
    """
    loaded.check_rule(layers)
    found = [loaded.rule]
    for rule in dict.fromkeys(config.rules):
        if rule == loaded.rule:
            continue
        try:
            dataclasses.replace(loaded, rule=rule).check_rule(layers)
            found.append(rule)
        except BadInput as error:
            print(f"no projections by the rule {rule}: {error}")
    return tuple(found)


if __name__ == "__main__":
    cli.run(main)
