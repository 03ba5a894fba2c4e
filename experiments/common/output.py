"""Where an experiment writes. Flag shared by the experiments: --out."""

import pathlib

from absl import flags

from zf_jax.errors import BadInput

_OUT = flags.DEFINE_string(
    "out",
    None,
    "folder for pictures and arrays; beside the run's checkpoints, by the experiment's "
    "name, if unset",
)


def folder(run: pathlib.Path | None, name: str) -> pathlib.Path:
    """The folder of the experiment `name` on a training run; None: on an ONNX file.

    Raises:
      BadInput: neither a run nor --out says where.
    """
    if _OUT.value:
        return pathlib.Path(_OUT.value).expanduser()
    if run is None:
        raise BadInput("--out: say where; beside an ONNX file nothing is written")
    return run / name
