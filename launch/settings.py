"""What a run trains on and how: the settings that the commands that train share."""

import dataclasses
import os
import pathlib

from zf_jax import cli, spec
from zf_jax.data import sources
from zf_jax.data.damaged import DamagedImages
from zf_jax.training import loop, recipe


def _recipe_field(field: dataclasses.Field):
    """A flag of the recipe: unset, it is the net's own, which its help shows."""
    tiny, paper = (
        getattr(recipe.default(net), field.name) for net in (spec.TINY, spec.ZFNET)
    )
    default = f"{paper}" if tiny == paper else f"{paper}; {tiny} for tiny"
    help_ = f"{field.metadata['help']} (default: {default})"
    return field.name, field.type | None, cli.field(None, help_)


# The fields of `recipe.Recipe`; None stands for the value of the net's own recipe.
RecipeConfig = dataclasses.make_dataclass(
    "RecipeConfig",
    [_recipe_field(field) for field in dataclasses.fields(recipe.Recipe)],
    frozen=True,
)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The images that a net learns from, how it learns, and how often it is saved."""

    dataset: str | None = cli.field(
        None,
        "any TFDS name, folder:PATH, or the built-in creatures/64 and creatures/224",
        required=True,
    )
    train_split: str = cli.field("train", "split to learn from")
    validation_split: str = cli.field("validation", "split to measure errors on")
    data_dir: pathlib.Path | None = cli.field(None, "where TFDS keeps data sets")
    workers: int = cli.field(
        0,
        "processes that decode images, for large ones; 0: threads of this one",
        minimum=0,
    )
    max_damaged: int = cli.field(
        100, "damaged images that are skipped; one more stops the run", minimum=0
    )
    save_minutes: float = cli.field(30.0, "minutes between two saves within an epoch")
    recipe: RecipeConfig = RecipeConfig()


def make_run(config: RunConfig, net: spec.Spec) -> loop.Run:
    """The run of a net, which gets as many classes as the data set has.

    Raises:
      BadInput: no such data set or split, a value out of range, or what `loop.check`
        refuses.
    """
    given = dataclasses.asdict(config.recipe)
    given = {name: value for name, value in given.items() if value is not None}
    how = dataclasses.replace(recipe.default(net), **given)
    data_dir = os.fspath(config.data_dir) if config.data_dir else None
    train, validation = (
        sources.open_split(config.dataset, split, data_dir=data_dir)
        for split in (config.train_split, config.validation_split)
    )
    net = net.with_classes(len(train.labels))
    damaged = DamagedImages(config.max_damaged)
    run = loop.Run(net, how, train, validation, config.workers, damaged)
    loop.check(run)
    return run
