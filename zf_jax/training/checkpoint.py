"""The checkpoints of a training run: orbax writes and reads them.

    WORKDIR/checkpoints/STEP/params   the weights
    WORKDIR/checkpoints/STEP/rest     optimizer, step, random bits, sums
    WORKDIR/checkpoints/STEP/about    the run's metadata (JSON)

Arrays are saved whole, not per device, so that any number of devices restores them.
"""

import pathlib
import shutil
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from zf_jax import geometry, spec
from zf_jax.errors import BadInput
from zf_jax.training import run_metadata
from zf_jax.training.run_metadata import RunMetadata
from zf_jax.training.step import State

# The epochs of the columns of the paper's fig. 4.
FIG_4 = (1, 2, 5, 10, 20, 30, 40, 64)
_FOLDER = "checkpoints"


class Restored(NamedTuple):
    """A trained net: its metadata, its parameters (numpy) and its step."""

    metadata: RunMetadata
    params: dict
    step: int


class Store:
    """The checkpoints of one training run; use it in a `with` statement."""

    def __init__(
        self,
        workdir: str | pathlib.Path,
        metadata: RunMetadata,
        keep_epochs: Sequence[int] = (),
    ):
        """Opens or makes WORKDIR/checkpoints.

        Args:
          workdir: of the run; a leading ~ is the home folder.
          metadata: of the run.
          keep_epochs: epochs whose checkpoints stay for good, beside the newest two.

        Raises:
          BadInput: the folder holds checkpoints of another run, or cannot be made.
        """
        self.metadata = metadata
        self.folder = pathlib.Path(workdir).expanduser().resolve() / _FOLDER
        steps = [epoch * metadata.steps_per_epoch for epoch in keep_epochs]
        preserved = [policies.LatestN(2), policies.CustomSteps(steps)]
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(preserved),
                cleanup_tmp_directories=True,
                # An error in the background, as of a full disk, would come late.
                enable_async_checkpointing=False,
            ),
        )
        if self.newest is not None:
            found = run_metadata.read(self.folder / str(self.newest))
            run_metadata.check_same_run(found, metadata, self.folder)

    @property
    def newest(self) -> int | None:
        """The step of the newest checkpoint; None where there is none."""
        return self._manager.latest_step()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exception) -> None:
        self._manager.close()

    def save(self, state: State) -> None:
        """Writes a checkpoint, once per step; returns when it is whole.

        Raises:
          BadInput: it could not be written. The checkpoints before it are untouched.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        self._check_space(state)
        items = ocp.args.Composite(
            params=ocp.args.StandardSave(state.params),
            rest=ocp.args.StandardSave(state._replace(params=())._asdict()),
            about=ocp.args.JsonSave(run_metadata.to_json(self.metadata)),
        )
        try:
            self._manager.save(step, args=items)
        except (ValueError, OSError) as error:
            # Tensorstore's ValueError has the reason at its message's end.
            reason = getattr(error, "strerror", None) or str(error).split(": ")[-1]
            raise _not_written(self.folder / str(step), reason.strip()) from None

    def _check_space(self, state: State) -> None:
        """Refuses what a full disk would cut: Tensorstore prints pages about it."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            reason = f"no space left: {needed:,} bytes are needed, {free:,} are free"
            raise _not_written(self.folder / str(int(state.step)), reason)

    def restore(self, template: State) -> State | None:
        """The newest state, in the shapes of `template`; None where there is none.

        Raises:
          BadInput: the newest checkpoint is damaged.
        """
        step = self.newest
        if step is None:
            return None
        rest = template._replace(params=())._asdict()
        try:
            found = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.StandardRestore(_abstract(template.params)),
                    rest=ocp.args.StandardRestore(_abstract(rest)),
                ),
            )
        except (ValueError, KeyError, OSError) as error:
            raise run_metadata.damaged(self.folder / str(step), error) from error
        return State(**{**found["rest"], "params": found["params"]})


def _not_written(where: pathlib.Path, reason: str) -> BadInput:
    return BadInput(
        f"{where}: not written: {reason}; the checkpoints before it are whole, and the "
        "same command goes on from them"
    )


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
    metadata = run_metadata.read(folder / str(step))
    params = _restore_params(folder / str(step), metadata.net)
    return Restored(metadata, params, step)


def epochs(folder: str | pathlib.Path) -> dict[int, int]:
    """The kept checkpoints that end an epoch: the step of each by its epoch, in order.

    Raises:
      BadInput: as `load`.
    """
    folder, steps = _finished(folder)
    length = run_metadata.read(folder / str(steps[-1])).steps_per_epoch
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
    template = {
        name: {
            "kernel": jax.ShapeDtypeStruct(kernel, np.float32),
            "bias": jax.ShapeDtypeStruct(bias, np.float32),
        }
        for name, (kernel, bias) in geometry.parameter_shapes(net).items()
    }
    as_numpy = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray), template
    )
    restore = ocp.args.PyTreeRestore(item=template, restore_args=as_numpy)
    refusal = None
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            params = checkpointer.restore(where / "params", args=restore)
    except (ValueError, KeyError, OSError) as error:
        refusal = run_metadata.damaged(where, error)
    if refusal:
        # Raised outside of the handler, without its cause: the cause holds on to an
        # event loop of orbax, which would complain when Python ends.
        raise refusal
    for layer, parts in template.items():
        for part, expected in parts.items():
            if (found := params[layer][part].shape) != expected.shape:
                raise BadInput(
                    f"{where}: {layer}'s {part} is {found}, {net.name} has "
                    f"{expected.shape}"
                )
    return params


def _abstract(tree):
    return jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)
