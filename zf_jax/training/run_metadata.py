"""What a checkpoint says of its run: the net, the classes, the data, the recipe."""

import hashlib
import json
import pathlib
from typing import Any, NamedTuple

from zf_jax import spec
from zf_jax.data import sources
from zf_jax.errors import BadInput

# Of the files; raised when an older version could not read them.
LAYOUT = 1


class RunMetadata(NamedTuple):
    """What a checkpoint says of itself.

    Attributes:
      net: the net.
      labels: names of the classes.
      dataset: name of the training data.
      resize: smaller side of the images before the crop, pixels.
      steps_per_epoch: of training.
      recipe: of training, the fields of `recipe.Recipe`.
      data_dir: where TFDS kept the data, absolute; None for its own place.
    """

    net: spec.Spec
    labels: tuple[str, ...]
    dataset: str
    resize: int
    steps_per_epoch: int
    recipe: dict[str, Any]
    data_dir: str | None = None


class Damaged(BadInput):
    """A checkpoint is not what was saved."""


def read(where: pathlib.Path) -> RunMetadata:
    """What the checkpoint in the folder CHECKPOINTS/STEP says.

    Raises:
      Damaged: it is not what was saved.
      BadInput: it is of another layout.
    """
    data = _load(where)
    try:
        rest = {name: data[name] for name in RunMetadata._fields[2:-1]}
        # Runs of before it was kept have none.
        rest["data_dir"] = data.get("data_dir")
        return RunMetadata(spec.from_json(data["net"]), tuple(data["labels"]), **rest)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(where, error) from error


def read_digests(where: pathlib.Path) -> dict[str, str] | None:
    """The digests of the checkpoint's arrays; None where it was saved without.

    Raises:
      As `read`.
    """
    return _load(where).get("digests")


def to_json(metadata: RunMetadata, digests: dict[str, str]) -> dict:
    """The metadata and the arrays' digests as JSON values, which `read` reads."""
    data = {
        **metadata._asdict(),
        "net": spec.to_json(metadata.net),
        "layout": LAYOUT,
        "digests": digests,
    }
    return {**data, "digest": _digest(data)}


def _load(where: pathlib.Path) -> dict:
    """The JSON values of a checkpoint, when they are those that were written."""
    try:
        data = json.loads((where / "about" / "metadata").read_text())
        layout, digest = data.get("layout"), data.pop("digest", None)
    except (OSError, ValueError, AttributeError) as error:
        raise damaged(where, error) from error
    if digest not in (None, _digest(data)):
        raise damaged(where, "about is not what was saved")
    if layout != LAYOUT:
        raise BadInput(
            f"{where}: has layout {layout}, this version reads {LAYOUT}; train again, "
            "or use the version that made it"
        )
    return data


def _digest(data: dict) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def damaged(where: pathlib.Path, reason: Exception | str) -> Damaged:
    """The refusal of a checkpoint that cannot be read, in one line."""
    return Damaged(
        f"{where}: half-written, damaged or none of this package's checkpoints "
        f"({one_line(reason)})"
    )


def one_line(error: Exception | str) -> str:
    """The start of an error's message, without its line breaks."""
    return " ".join(str(error).split())[:200]


# The fields of a recipe that may change when a run is resumed: how long it trains, how
# fast, and how much memory it takes.
_MAY_CHANGE = ("epochs", "learning_rate", "patience", "factor", "accumulate")


def check_same_run(
    found: RunMetadata, given: RunMetadata, folder: pathlib.Path
) -> None:
    """Raises BadInput where the run that a folder holds is not the one that goes on."""
    old, new = _facts(found), _facts(given)
    for name, value in new.items():
        if old.get(name) != value:
            if name in _OF_THE_DATA:
                raise _data_changed(found, given, folder)
            differ = f"{name} {old.get(name)}, not {value}"
            if name == "layers":
                differ = "other layers"
            raise BadInput(
                f"{folder}: holds a run with {differ}; take another --workdir, or the "
                "same flags to go on with it"
            )


# What the data set says of itself: it differs where files came, went or moved.
_OF_THE_DATA = ("classes", "steps_per_epoch")


def _data_changed(
    found: RunMetadata, given: RunMetadata, folder: pathlib.Path
) -> BadInput:
    differ = sources.first_difference(given.labels, found.labels)
    what = (
        f"of its classes, {differ}"
        if differ
        else (
            f"an epoch has {given.steps_per_epoch} steps, not {found.steps_per_epoch}"
        )
    )
    return BadInput(
        f"{folder}: {given.dataset} is no longer what the run began with: {what}; "
        "restore the data or the split, or train anew in another --workdir"
    )


def _facts(metadata: RunMetadata) -> dict:
    """What must not change when a run is resumed; the most telling fact first."""
    recipe = {
        name: value
        for name, value in metadata.recipe.items()
        if name not in _MAY_CHANGE
    }
    return {
        "spec": metadata.net.name,
        "dataset": metadata.dataset,
        "classes": tuple(metadata.labels),
        "layers": metadata.net,
        **recipe,
        "resize": metadata.resize,
        "steps_per_epoch": metadata.steps_per_epoch,
    }
