"""The checkpoints of a training run: orbax writes and reads them.

    WORKDIR/checkpoints/STEP/params   the weights
    WORKDIR/checkpoints/STEP/rest     optimizer, step, random bits, sums
    WORKDIR/checkpoints/STEP/about    the run's metadata and digests of all (JSON)

Arrays are saved whole, not per device, so that any number of devices restores them.
A checkpoint that is damaged is never trained on: the one before it is used.
"""

import pathlib
import shutil
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from zf_jax import hosts
from zf_jax.errors import BadInput
from zf_jax.training import checkpoint_files, run_metadata
from zf_jax.training.run_metadata import Damaged, RunMetadata
from zf_jax.training.step import State

# The epochs of the columns of the paper's fig. 4.
FIG_4 = (1, 2, 5, 10, 20, 30, 40, 64)
_FOLDER = "checkpoints"
_Read = TypeVar("_Read")


class Restored(NamedTuple):
    """A trained net: its metadata, its parameters (numpy) and its step."""

    metadata: RunMetadata
    params: dict
    step: int


class Store:
    """The checkpoints of one training run; use it in a `with` statement.

    Of several processes, process 0 alone touches the disk.
    """

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
        self._preserved = policies.AnyPreservationPolicy(preserved)
        self._manager = None
        hosts.on_primary(self._open)

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                create=False,
                preservation_policy=self._preserved,
                cleanup_tmp_directories=True,
                # An error in the background, as of a full disk, would come late.
                enable_async_checkpointing=False,
                multiprocessing_options=checkpoint_files.this_process_alone(),
            ),
        )
        if self.newest is not None:
            _, found, _ = _newest_whole(self._folders, run_metadata.read)
            run_metadata.check_same_run(found, self.metadata, self.folder)

    @property
    def newest(self) -> int | None:
        """The step of the newest checkpoint, on process 0; None where there is none."""
        return self._manager.latest_step()

    @property
    def _folders(self) -> list[pathlib.Path]:
        """Those of all checkpoints, the newest last."""
        steps = sorted(self._manager.all_steps())
        return [self.folder / str(step) for step in steps]

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exception) -> None:
        if self._manager is not None:
            self._manager.close()

    def save(self, state: State) -> None:
        """Writes a checkpoint, once per step; returns when it is whole.

        To be called on process 0 alone, through `hosts.on_primary`.

        Raises:
          BadInput: it could not be written. The checkpoints before it are untouched.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        self._check_space(state)
        items = checkpoint_files.items(jax.device_get(state), self.metadata)
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
        """The newest whole state, on every process; None where there is no checkpoint.

        Newer checkpoints that are damaged are renamed, and a warning names them.

        Args:
          template: has the structure and the shapes of the state.

        Returns:
          The state, of numpy arrays.

        Raises:
          BadInput: there are checkpoints, and all are damaged. None is renamed.
        """
        return hosts.on_primary(lambda: self._restore(template), like=template)

    def _restore(self, template: State) -> State | None:
        if self.newest is None:
            return None
        where, state, damaged = _newest_whole(
            self._folders, lambda each: checkpoint_files.read_state(each, template)
        )
        for each, error in damaged.items():
            aside = checkpoint_files.set_aside(each)
            warnings.warn(
                f"{error}; renamed to {aside.name}, the run goes on from step "
                f"{where.name}",
                stacklevel=4,
            )
        self._manager.reload()
        return state


def _not_written(where: pathlib.Path, reason: str) -> BadInput:
    return BadInput(
        f"{where}: not written: {reason}; the checkpoints before it are whole, and the "
        "same command goes on from them"
    )


def load(folder: str | pathlib.Path, step: int | None = None) -> Restored:
    """The net that a training run left.

    Args:
      folder: the run's workdir, its checkpoints folder, or a folder of one run.
      step: which checkpoint; by default the newest that is whole. A warning names
        those that are damaged.

    Raises:
      BadInput: no checkpoint there, none that is whole, the one asked for is damaged,
        of an older layout, or its weights do not fit its spec.
    """
    folder, steps = _finished(folder)
    if step not in (None, *steps):
        raise BadInput(f"step {step}: {folder} has {', '.join(map(str, steps))}")
    if step is not None:
        return _restored(folder / str(step))
    folders = [folder / str(each) for each in steps]
    where, restored, damaged = _newest_whole(folders, _restored)
    for error in damaged.values():
        warnings.warn(f"{error}; step {where.name} is taken", stacklevel=2)
    return restored


def _restored(where: pathlib.Path) -> Restored:
    metadata = run_metadata.read(where)
    params = checkpoint_files.read_params(where, metadata)
    return Restored(metadata, params, int(where.name))


def _newest_whole(
    folders: Sequence[pathlib.Path], read: Callable[[pathlib.Path], _Read]
) -> tuple[pathlib.Path, _Read, dict[pathlib.Path, Damaged]]:
    """The last folder that can be read, what is read of it, and the damaged after it.

    Raises:
      Damaged: none can be read; of the last.
    """
    damaged = {}
    for folder in reversed(folders):
        try:
            return folder, read(folder), damaged
        except Damaged as error:
            damaged[folder] = error
    newest, *others = damaged.values()
    also = f", as are the {len(others)} before it" if others else ""
    raise Damaged(f"{newest}{also}; train anew in another --workdir")


def epochs(folder: str | pathlib.Path) -> dict[int, int]:
    """The kept checkpoints that end an epoch: the step of each by its epoch, in order.

    Raises:
      BadInput: as `load`.
    """
    folder, steps = _finished(folder)
    folders = [folder / str(step) for step in steps]
    length = _newest_whole(folders, run_metadata.read)[1].steps_per_epoch
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
