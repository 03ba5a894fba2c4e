"""The folder of one checkpoint: its arrays, their digests, and what is damaged.

Orbax's files have a checksum of their index only, so a flipped byte of an array would
be read as another number. The metadata therefore holds a SHA-256 digest of the bytes
of every array, which is compared whenever the arrays are read.
"""

import hashlib
import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from zf_jax import geometry
from zf_jax.errors import BadInput
from zf_jax.training import run_metadata
from zf_jax.training.run_metadata import RunMetadata
from zf_jax.training.step import State


def items(state: State, metadata: RunMetadata) -> ocp.args.Composite:
    """What orbax writes into the folder.

    Args:
      state: of numpy arrays.
      metadata: of the run.
    """
    rest = state._replace(params=())._asdict()
    digests = _digests("params", state.params) | _digests("rest", rest)
    return ocp.args.Composite(
        params=ocp.args.StandardSave(state.params),
        rest=ocp.args.StandardSave(rest),
        about=ocp.args.JsonSave(run_metadata.to_json(metadata, digests)),
    )


def this_process_alone() -> ocp.options.MultiprocessingOptions:
    """Makes orbax read and write without waiting for other processes."""
    index = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}
    )


def read_state(where: pathlib.Path, template: State) -> State:
    """The state, of numpy arrays, in the structure and shapes of `template`.

    Raises:
      run_metadata.Damaged: the checkpoint is not what was saved.
    """
    rest = template._replace(params=())._asdict()
    params, rest = _read(where, params=template.params, rest=rest)
    return State(**{**rest, "params": params})


def read_params(where: pathlib.Path, metadata: RunMetadata) -> dict:
    """The weights as numpy arrays, in the shapes that the net has.

    Raises:
      run_metadata.Damaged: the checkpoint is not what was saved.
      BadInput: the weights are another net's.
    """
    net = metadata.net
    template = {
        name: {
            "kernel": jax.ShapeDtypeStruct(kernel, np.float32),
            "bias": jax.ShapeDtypeStruct(bias, np.float32),
        }
        for name, (kernel, bias) in geometry.parameter_shapes(net).items()
    }
    (params,) = _read(where, params=template)
    for layer, parts in template.items():
        for part, expected in parts.items():
            if (found := params[layer][part].shape) != expected.shape:
                raise BadInput(
                    f"{where}: {layer}'s {part} is {found}, {net.name} has "
                    f"{expected.shape}"
                )
    return params


def set_aside(where: pathlib.Path) -> pathlib.Path:
    """Renames a damaged checkpoint, so that no step is called by its name any more."""
    number, aside = 1, where.with_name(f"{where.name}.damaged")
    while aside.exists():
        number += 1
        aside = where.with_name(f"{where.name}.damaged-{number}")
    return where.rename(aside)


def _read(where: pathlib.Path, **templates: Any) -> list:
    """The trees of arrays that the folder has by these names."""
    digests, found = run_metadata.read_digests(where), []
    for item, template in templates.items():
        tree = _restore(where, item, template)
        # Checkpoints from before there were digests have none.
        for name, digest in _digests(item, tree).items() if digests else ():
            if digests.get(name) != digest:
                raise run_metadata.damaged(where, f"{name} is not what was saved")
        found.append(tree)
    return found


def _restore(where: pathlib.Path, item: str, template):
    as_numpy = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray), template
    )
    restore = ocp.args.PyTreeRestore(item=template, restore_args=as_numpy)
    try:
        alone = this_process_alone()
        handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            return checkpointer.restore(where / item, args=restore)
    except (MemoryError, PermissionError):
        # The checkpoint may be whole.
        raise
    except Exception as error:
        # A flipped byte of a file's structure can make orbax raise anything.
        refusal = run_metadata.damaged(where, error)
    # Raised outside of the handler, without its cause: the cause holds on to an event
    # loop of orbax, which would complain when Python ends.
    raise refusal


def _digests(item: str, tree) -> dict[str, str]:
    """SHA-256 of the bytes of every array, by names such as params/layer1/kernel."""
    return {
        f"{item}/{jax.tree_util.keystr(path, simple=True, separator='/')}": _digest(x)
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def _digest(array: np.ndarray) -> str:
    as_bytes = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return hashlib.sha256(as_bytes).hexdigest()
