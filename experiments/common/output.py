"""Where an experiment writes, and under which names."""

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Sequence

from zf_jax import cli
from zf_jax.errors import BadInput


@dataclasses.dataclass(frozen=True)
class OutputConfig:
    """Where an experiment writes."""

    out: pathlib.Path | None = cli.field(
        None,
        "folder for pictures and arrays; beside the run's checkpoints, by the "
        "experiment's name, if unset",
    )


def folder(config: OutputConfig, run: pathlib.Path | None, name: str) -> pathlib.Path:
    """The folder of the experiment `name` on a training run; None: on an ONNX file.

    Raises:
      BadInput: neither a run nor --out says where.
    """
    if config.out:
        return config.out
    if run is None:
        raise BadInput("--out: say where; nothing is written beside an ONNX file")
    return run / name


def distinct(names: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """The names, each with a number where the name is taken already.

    Capitals are taken for small letters, as some file systems do.
    """
    taken, found = {name.casefold() for name in taken}, []
    for name in names:
        candidate, number = name, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{name}-{number}"
        taken.add(candidate.casefold())
        found.append(candidate)
    return found


def remove_former_pages(
    out: pathlib.Path, stem: str, written: Sequence[pathlib.Path]
) -> None:
    """Removes STEM.png and STEM-NUMBER.png of an earlier run that had more pages."""
    for path in out.glob("*.png"):
        if path not in written and re.fullmatch(
            rf"{re.escape(stem)}(-\d+)?", path.stem
        ):
            path.unlink()
