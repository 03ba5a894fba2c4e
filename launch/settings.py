"""What a run trains on and how, as flags.

Flags shared by the commands that train: the data set, and those of the recipe, which
default to the net's own: the paper's for all but TINY and its variants.
"""

import dataclasses

from absl import flags

from zf_jax import spec
from zf_jax.data import sources
from zf_jax.training import loop, recipe

_DATASET = flags.DEFINE_string(
    "dataset", None, "any TFDS name, or the built-in creatures/64 and creatures/224"
)
_TRAIN = flags.DEFINE_string("train_split", "train", "split to learn from")
_VALIDATION = flags.DEFINE_string("validation_split", "validation", "split to judge by")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "where TFDS keeps data sets")
_WORKERS = flags.DEFINE_integer(
    "workers", 0, "processes that decode images, for large ones; 0: threads of this one"
)
_SAVE_MINUTES = flags.DEFINE_float("save_minutes", 30, "between saves in an epoch")

_KINDS = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


def _defaults(name: str) -> str:
    """The recipe's value by net."""
    tiny, paper = (getattr(recipe.default(n), name) for n in (spec.TINY, spec.ZFNET))
    return f"{paper}" if tiny == paper else f"{paper}; {tiny} for tiny"


_RECIPE = {
    field.name: _KINDS[field.type](
        field.name,
        None,
        f"{field.metadata['help']} (default: {_defaults(field.name)})",
    )
    for field in dataclasses.fields(recipe.Recipe)
}


def make_run(net: spec.Spec) -> loop.Run:
    """The run that the flags describe, of a net with the data set's classes.

    Raises:
      BadInput: no such data set or split, a value out of range, or what `loop.check`
        refuses.
    """
    given = {name: f.value for name, f in _RECIPE.items() if f.value is not None}
    how = dataclasses.replace(recipe.default(net), **given)
    train, validation = (
        sources.open_split(_DATASET.value, split, data_dir=_DATA_DIR.value)
        for split in (_TRAIN.value, _VALIDATION.value)
    )
    net = net.with_classes(len(train.labels))
    run = loop.Run(net, how, train, validation, _WORKERS.value)
    loop.check(run)
    return run


def save_minutes() -> float:
    """Between two checkpoints within an epoch."""
    return _SAVE_MINUTES.value
