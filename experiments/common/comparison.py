"""Two nets side by side."""

import dataclasses
import itertools
import pathlib

from experiments.common import model
from zf_jax import cli
from zf_jax.errors import BadInput
from zf_jax.training import checkpoint


@dataclasses.dataclass(frozen=True)
class ComparisonConfig:
    """Which net to compare with."""

    compare_with: pathlib.Path | None = cli.field(
        None,
        "the second net: workdir of another run; if unset, the first net after the "
        "first epoch that its run keeps",
        formerly="beside",
    )


def load(
    config: ComparisonConfig, first: model.ModelConfig
) -> dict[str, model.LoadedModel]:
    """The two nets by what tells them apart.

    Args:
      config: names the second net.
      first: names the first net, and how both see images.

    Raises:
      BadInput: there is no second net, or it is the first; and as `model.load`.
    """
    one, note = model.load(first), ""
    if config.compare_with:
        of_file = {"onnx": None, "model": None, "preset": None, "mean": (), "scale": ()}
        second = dataclasses.replace(
            first, checkpoint=config.compare_with, step=None, **of_file
        )
    else:
        second, note = _first_epoch(first, one)
    other = model.load(second)
    newest = config.compare_with and one.run == other.run
    if newest and first.step in (None, checkpoint.load(one.run).step):
        raise BadInput(
            f"--compare_with={config.compare_with}: is --checkpoint itself; give "
            "another run, or --step"
        )
    notes = "" if first.step is None else f", step {first.step}", note
    paths = [each.run or pathlib.Path(each.name) for each in (one, other)]
    # Runs of one name are told apart by their folders.
    for parts in itertools.count(1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        names = [name + note for name, note in zip(names, notes, strict=True)]
        if len(set(names)) == 2:
            return dict(zip(names, (one, other), strict=True))


def _first_epoch(
    config: model.ModelConfig, loaded: model.LoadedModel
) -> tuple[model.ModelConfig, str]:
    """The same run after its first kept epoch, and a note that says so."""
    if loaded.run is None:
        raise BadInput("--compare_with: give the training run to compare the net with")
    kept = checkpoint.epochs(loaded.run)
    epoch = min(kept, default=None)
    if len(kept) < 2 or config.step == kept[epoch]:
        raise BadInput(
            f"--compare_with: give another run; {loaded.run.name} keeps no earlier "
            "epoch"
        )
    return dataclasses.replace(config, step=kept[epoch]), f", epoch {epoch}"
