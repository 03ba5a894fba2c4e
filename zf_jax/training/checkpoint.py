"""What training keeps: orbax checkpoints that tell themselves which net they are.

    WORKDIR/checkpoints/STEP/params   the weights
    WORKDIR/checkpoints/STEP/rest     optimizer, step, random bits, sums
    WORKDIR/checkpoints/STEP/about    the spec, the classes' names, the data (JSON)

Arrays are saved as one, not per device, so any number of devices restores them.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from zf_jax import geometry, spec
from zf_jax.errors import BadInput
from zf_jax.training.step import State

LAYOUT = 1
_FOLDER = "checkpoints"


class About(NamedTuple):
    """What a checkpoint says of itself.

    Attributes:
      net: the net.
      labels: names of the classes.
      dataset: name of the training data.
      resize: smaller side of the images before the crop, pixels.
      batch_size: of training.
      seed: of training.
      steps_per_epoch: of training.
    """

    net: spec.Spec
    labels: tuple[str, ...]
    dataset: str
    resize: int
    batch_size: int
    seed: int
    steps_per_epoch: int


class Restored(NamedTuple):
    """A trained net: what it says of itself, its parameters (numpy) and its step."""

    about: About
    params: dict
    step: int


class Store:
    """The checkpoints of one training run; use it in a `with` statement."""

    def __init__(
        self, workdir: str | pathlib.Path, about: About, keep: Sequence[int] = ()
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
            raise BadInput(
                f"{self.folder / str(step)}: cannot go on from it: {_line(error)}; "
                "take another workdir, or the optimizer it was made with"
            ) from error
        return State(**{**found["rest"], "params": found["params"]})


def load(folder: str | pathlib.Path, step: int | None = None) -> Restored:
    """The net that a training run left.

    Args:
      folder: the run's workdir, or its checkpoints folder.
      step: which checkpoint; the newest by default.

    Raises:
      BadInput: no checkpoint there, one half-written or damaged, of an older layout,
        or whose weights do not fit its spec.
    """
    given = pathlib.Path(folder).expanduser().resolve()
    folder = given / _FOLDER if (given / _FOLDER).is_dir() else given
    if not folder.is_dir():
        raise BadInput(f"checkpoint {given}: no such folder")
    steps = sorted(int(each.name) for each in folder.iterdir() if each.name.isdigit())
    if not steps:
        raise BadInput(
            f"checkpoint {given}: holds no finished checkpoint; give the --workdir "
            "of a training run"
        )
    step = steps[-1] if step is None else step
    if step not in steps:
        raise BadInput(f"step {step}: {folder} has {', '.join(map(str, steps))}")
    about = _about(folder, step)
    like = {
        name: {
            "kernel": jax.ShapeDtypeStruct(kernel, np.float32),
            "bias": jax.ShapeDtypeStruct(bias, np.float32),
        }
        for name, (kernel, bias) in geometry.parameter_shapes(about.net).items()
    }
    restore = ocp.args.PyTreeRestore(
        item=like,
        restore_args=jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like
        ),
    )
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            params = checkpointer.restore(folder / str(step) / "params", args=restore)
    except (ValueError, KeyError, OSError) as error:
        raise BadInput(f"{folder / str(step)}: damaged: {_line(error)}") from error
    for layer, parts in like.items():
        for part, want in parts.items():
            if (got := params[layer][part].shape) != want.shape:
                raise BadInput(
                    f"{folder / str(step)}: {layer}'s {part} is {got}, "
                    f"{about.net.name} has {want.shape}"
                )
    return Restored(about, params, step)


def _about(folder: pathlib.Path, step: int) -> About:
    where = folder / str(step)
    try:
        text = (where / "about" / "metadata").read_text()
        data = json.loads(text)
        if data.get("layout") != LAYOUT:
            raise BadInput(
                f"{where}: has layout {data.get('layout')}, this version reads "
                f"{LAYOUT}; train again, or use the version that made it"
            )
        fields = {name: data[name] for name in About._fields}
    except (OSError, json.JSONDecodeError, KeyError, AttributeError) as error:
        raise BadInput(
            f"{where}: not a checkpoint of this package, or half-written "
            f"({_line(error)})"
        ) from error
    net = spec.from_json(fields.pop("net"))
    return About(net, tuple(fields.pop("labels")), **fields)


def _to_json(about: About) -> dict:
    return {**about._asdict(), "net": spec.to_json(about.net), "layout": LAYOUT}


def _check_same(found: About, about: About, folder: pathlib.Path) -> None:
    for name in ("dataset", "batch_size", "seed", "resize", "steps_per_epoch", "net"):
        old, new = getattr(found, name), getattr(about, name)
        if old != new:
            old, new = (getattr(x, "name", x) for x in (old, new))
            differ = (
                f"{name} {old}, not {new}" if old != new else f"other layers in {old}"
            )
            raise BadInput(
                f"{folder}: holds a run with {differ}; take another --workdir, "
                "or the same flags to resume"
            )


def _abstract(tree):
    return jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
