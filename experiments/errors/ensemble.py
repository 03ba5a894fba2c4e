"""The nets whose probabilities are averaged, and the images that they classify.

Nets of different specs that know the same classes are averaged too, as in Table 2.
"""

import dataclasses
import pathlib
from typing import NamedTuple

from experiments.common import dataset, model
from experiments.common.dataset import DataConfig
from experiments.common.model import LoadedModel, ModelConfig
from zf_jax import cli
from zf_jax.data import sources
from zf_jax.errors import BadInput


@dataclasses.dataclass(frozen=True)
class EnsembleConfig:
    """One net, or several training runs."""

    model: ModelConfig = ModelConfig()
    checkpoints: tuple[str, ...] = cli.field(
        (), "several training runs, in place of --checkpoint: an ensemble"
    )


class Member(NamedTuple):
    """One net of an ensemble.

    Attributes:
      name: for tables.
      loaded: the net.
      data: the images as it takes them; nets that cut them alike share one.
    """

    name: str
    loaded: LoadedModel
    data: dataset.Dataset


def load(config: EnsembleConfig, source: DataConfig) -> list[Member]:
    """The nets of a configuration, all of the classes of one data set.

    Raises:
      BadInput: one has no classes, or others than the images or the other nets.
    """
    found, data = [], {}
    for name, loaded in _named(config):
        if loaded.crop_size is None or not loaded.labels:
            raise BadInput(f"{name}: {loaded.model.name} ends without classes")
        if found and loaded.labels != found[0].loaded.labels:
            difference = sources.first_difference(loaded.labels, found[0].loaded.labels)
            raise BadInput(
                f"--checkpoints: the classes of {name} are not those of "
                f"{found[0].name}: {difference}"
            )
        cut = loaded.crop_size, loaded.resize, loaded.dataset
        if cut not in data:
            data[cut] = dataset.Dataset(source, loaded)
        found.append(Member(name, loaded, data[cut]))
        _check_data(found[-1], found[0])
    return found


def _named(config: EnsembleConfig) -> list[tuple[str, LoadedModel]]:
    if not config.checkpoints:
        loaded = model.load(config.model)
        return [(loaded.name, loaded)]
    for flag in ("checkpoint", "onnx", "model", "step"):
        if getattr(config.model, flag) is not None:
            raise BadInput(f"--checkpoints: leave out --{flag}, which is of one net")
    found = []
    for name in config.checkpoints:
        workdir = pathlib.Path(name).expanduser()
        of_run = dataclasses.replace(config.model, checkpoint=workdir)
        found.append((name, model.load(of_run)))
    return found


def _check_data(one: Member, first: Member) -> None:
    if one.data.labels != one.loaded.labels:
        difference = sources.first_difference(one.data.labels, one.loaded.labels)
        raise BadInput(
            f"--dataset: the classes of {one.data.name} are not those of {one.name}: "
            f"{difference}; give the data it learned (or name the net's classes with "
            "--labels)"
        )
    if one.data.name != first.data.name:
        raise BadInput(
            f"--checkpoints: {one.name} learned {one.data.name}, {first.name} "
            f"{first.data.name}; give one --dataset for all"
        )
