"""The nets whose answers are averaged, and the images they judge. Flag: --checkpoints.

Nets of different specs that know the same classes are averaged too, as in Table 2.
Flags shared with the other experiments name a single one, and the images.
"""

from typing import NamedTuple

from absl import flags

from experiments.common import dataset, model
from zf_jax.errors import BadInput

flags.adopt_module_key_flags(model)
flags.adopt_module_key_flags(dataset)
_CHECKPOINTS = flags.DEFINE_list(
    "checkpoints", [], "several training runs, in place of --checkpoint: an ensemble"
)


class Member(NamedTuple):
    """One net.

    Attributes:
      name: for tables.
      known: the net.
      data: the images as it takes them; nets that cut them alike share one.
    """

    name: str
    known: model.LoadedModel
    data: dataset.Dataset


def load() -> list[Member]:
    """The nets that the flags name, all of the classes of one data set.

    Raises:
      BadInput: one has no classes, or others than the images or the other nets.
    """
    found, data = [], {}
    for name, known in _named():
        if known.crop is None or not known.labels:
            raise BadInput(f"{name}: {known.net.name} ends without classes")
        if found and known.labels != found[0].known.labels:
            raise BadInput(
                f"--checkpoints: the {len(known.labels)} classes of {name} are not the "
                f"{len(found[0].known.labels)} of {found[0].name}"
            )
        cut = known.crop, known.resize, known.dataset
        if cut not in data:
            data[cut] = dataset.Dataset(known)
        found.append(Member(name, known, data[cut]))
        _check(found[-1], found[0])
    return found


def _named() -> list[tuple[str, model.LoadedModel]]:
    if not _CHECKPOINTS.value:
        known = model.load()
        return [(known.run.name if known.run else known.net.name, known)]
    for flag in ("checkpoint", "onnx", "step"):
        if flags.FLAGS[flag].value is not None:
            raise BadInput(f"--checkpoints: leave out --{flag}, which is of one net")
    return [(name, model.of_run(name)) for name in _CHECKPOINTS.value]


def _check(one: Member, first: Member) -> None:
    if one.data.labels != one.known.labels:
        raise BadInput(
            f"--dataset: the {len(one.data.labels)} classes of {one.data.name} are not "
            f"the {len(one.known.labels)} of {one.name}; give the data it learned "
            "(for an ONNX file, name its classes with --labels)"
        )
    if one.data.name != first.data.name:
        raise BadInput(
            f"--checkpoints: {one.name} learned {one.data.name}, {first.name} "
            f"{first.data.name}; give one --dataset for all"
        )
