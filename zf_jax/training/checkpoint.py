"""What training keeps: orbax checkpoints that tell themselves which net they are.

    WORKDIR/checkpoints/STEP/params   the weights
    WORKDIR/checkpoints/STEP/rest     optimizer, step, random bits, sums
    WORKDIR/checkpoints/STEP/about    the spec, the classes' names, the data (JSON)

Arrays are saved as one, not per device, so any number of devices restores them.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from zf_jax import geometry, spec
from zf_jax.errors import BadInput
from zf_jax.training.step import State

LAYOUT = 1
# Columns of the paper's fig. 4.
FIG_4 = (1, 2, 5, 10, 20, 30, 40, 64)
_FOLDER = "checkpoints"


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


class Restored(NamedTuple):
    """A trained net: what it says of itself, its parameters (numpy) and its step."""

    about: RunMetadata
    params: dict
    step: int


class Store:
    """The checkpoints of one training run; use it in a `with` statement."""

    def __init__(
        self, workdir: str | pathlib.Path, about: RunMetadata, keep: Sequence[int] = ()
    ):
        """Opens or makes WORKDIR/checkpoints.

        Args:
          workdir: of the run.
          about: of the run.
          keep: epochs whose checkpoints stay for good, beside the newest two.

        Raises:
          BadInput: the folder holds checkpoints of another run.
        """
        self.about = about
        self.folder = pathlib.Path(workdir).expanduser().resolve() / _FOLDER
        steps = [epoch * about.steps_per_epoch for epoch in keep]
        kept = [policies.LatestN(2), policies.CustomSteps(steps)]
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(kept),
                cleanup_tmp_directories=True,
            ),
        )
        if self.newest is not None:
            _check_same(_about(self.folder, self.newest), about, self.folder)

    @property
    def newest(self) -> int | None:
        """The step of the newest checkpoint; None where there is none."""
        return self._manager.latest_step()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exception) -> None:
        self._manager.close()

    def save(self, state: State) -> None:
        """Saves in the background, once per step; an error shows at the next call."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                rest=ocp.args.StandardSave(state._replace(params=())._asdict()),
                about=ocp.args.JsonSave(_to_json(self.about)),
            ),
        )

    def restore(self, like: State) -> State | None:
        """The newest state, in the shapes of `like`; None where there is none."""
        step = self.newest
        if step is None:
            return None
        rest = like._replace(params=())._asdict()
        try:
            found = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.StandardRestore(_abstract(like.params)),
                    rest=ocp.args.StandardRestore(_abstract(rest)),
                ),
            )
        except (ValueError, KeyError, OSError) as error:
            raise _damaged(self.folder / str(step), error) from error
        return State(**{**found["rest"], "params": found["params"]})


def load(folder: str | pathlib.Path, step: int | None = None) -> Restored:
    """The net that a training run left.

    Args:
      folder: the run's workdir, its checkpoints folder, or a folder of one run.
      step: which checkpoint; the newest by default.

    Raises:
      BadInput: no checkpoint there, one half-written or damaged, of an older layout,
        or whose weights do not fit its spec.
    """
    folder, steps = _finished(folder)
    step = steps[-1] if step is None else step
    if step not in steps:
        raise BadInput(f"step {step}: {folder} has {', '.join(map(str, steps))}")
    about = _about(folder, step)
    params = _restore_params(folder / str(step), about.net)
    return Restored(about, params, step)


def epochs(folder: str | pathlib.Path) -> dict[int, int]:
    """The kept checkpoints that end an epoch: the step of each by its epoch, in order.

    Raises:
      BadInput: as `load`.
    """
    folder, steps = _finished(folder)
    length = _about(folder, steps[-1]).steps_per_epoch
    return {step // length: step for step in steps if step % length == 0}


def locate(folder: str | pathlib.Path) -> pathlib.Path:
    """The workdir of a run: the folder itself, or the only run in it.

    Raises:
      BadInput: no such folder, or several runs in it.
    """
    folder = pathlib.Path(folder).expanduser().resolve()
    if not folder.is_dir():
        raise BadInput(f"checkpoint {folder}: no such folder")
    if (folder / _FOLDER).is_dir():
        return folder
    if folder.name == _FOLDER:
        return folder.parent
    runs = sorted(each.parent for each in folder.glob(f"*/{_FOLDER}"))
    if len(runs) > 1:
        names = ", ".join(run.name for run in runs)
        raise BadInput(f"checkpoint {folder}: holds several runs, give one: {names}")
    return runs[0] if runs else folder


def _finished(folder: str | pathlib.Path) -> tuple[pathlib.Path, list[int]]:
    """Where the checkpoints of a run are, and their steps in order."""
    given = locate(folder)
    folder = given / _FOLDER if (given / _FOLDER).is_dir() else given
    steps = sorted(int(each.name) for each in folder.iterdir() if each.name.isdigit())
    if not steps:
        raise BadInput(
            f"checkpoint {given}: holds no finished checkpoint; give the --workdir "
            "of a training run"
        )
    return folder, steps


def _restore_params(where: pathlib.Path, net: spec.Spec) -> dict:
    """The weights as numpy arrays, in the shapes that the net has."""
    like = {
        name: {
            "kernel": jax.ShapeDtypeStruct(kernel, np.float32),
            "bias": jax.ShapeDtypeStruct(bias, np.float32),
        }
        for name, (kernel, bias) in geometry.parameter_shapes(net).items()
    }
    numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
    restore = ocp.args.PyTreeRestore(item=like, restore_args=numpy)
    damaged = None
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            params = checkpointer.restore(where / "params", args=restore)
    except (ValueError, KeyError, OSError) as error:
        damaged = _damaged(where, error)
    if damaged:
        # Raised here, without its cause: that holds on to an event loop of orbax',
        # which would complain when Python ends.
        raise damaged
    for layer, parts in like.items():
        for part, want in parts.items():
            if (got := params[layer][part].shape) != want.shape:
                raise BadInput(
                    f"{where}: {layer}'s {part} is {got}, {net.name} has {want.shape}"
                )
    return params


def _about(folder: pathlib.Path, step: int) -> RunMetadata:
    where = folder / str(step)
    try:
        data = json.loads((where / "about" / "metadata").read_text())
        layout = data.get("layout")
    except (OSError, ValueError, AttributeError) as error:
        raise _damaged(where, error) from error
    if layout != LAYOUT:
        raise BadInput(
            f"{where}: has layout {layout}, this version reads {LAYOUT}; train again, "
            "or use the version that made it"
        )
    try:
        rest = {name: data[name] for name in RunMetadata._fields[2:-1]}
        # Runs of before it was kept have none.
        rest["data_dir"] = data.get("data_dir")
        return RunMetadata(spec.from_json(data["net"]), tuple(data["labels"]), **rest)
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(where, error) from error


def _damaged(where: pathlib.Path, error: Exception) -> BadInput:
    return BadInput(
        f"{where}: half-written, damaged or none of this package's checkpoints; remove "
        f"that folder to use an earlier one ({_line(error)})"
    )


def _to_json(about: RunMetadata) -> dict:
    return {**about._asdict(), "net": spec.to_json(about.net), "layout": LAYOUT}


# What may differ when a run goes on: how long, and how fast.
_FREE = ("epochs", "learning_rate", "patience", "factor")


def _check_same(found: RunMetadata, about: RunMetadata, folder: pathlib.Path) -> None:
    """Raises BadInput for the first fact in which two runs differ."""
    old, new = _facts(found), _facts(about)
    for name, value in new.items():
        if old.get(name) != value:
            one, other = old.get(name), value
            differ = (
                f"{name} {one}, not {other}" if name != "layers" else f"other {name}"
            )
            raise BadInput(
                f"{folder}: holds a run with {differ}; take another --workdir, or the "
                "same flags to go on with it"
            )


def _facts(about: RunMetadata) -> dict:
    """What must not change when a run goes on; what tells most, first."""
    facts = {"spec": about.net.name, "dataset": about.dataset, "layers": about.net}
    facts |= {name: about.recipe[name] for name in about.recipe if name not in _FREE}
    return facts | {"resize": about.resize, "steps_per_epoch": about.steps_per_epoch}


def _abstract(tree):
    return jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
