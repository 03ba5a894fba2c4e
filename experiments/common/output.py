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
    """The folder of the experiment `name` on a training run; None: on a file.

    Raises:
      BadInput: neither a run nor --out says where.
    """
    if config.out:
        return config.out
    if run is None:
        raise BadInput("--out: say where; only a training run has a folder of its own")
    return run / name


def slug(name: str) -> str:
    """A name as a part of a file's: `block0/relu` is `block0-relu`."""
    return "-".join(re.findall(r"[\w.]+", name))


def distinct(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
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


def remove_former(
    out: pathlib.Path, stem: str, written: Sequence[pathlib.Path]
) -> None:
    """Removes what an earlier run with more pages left of the same name.

    Args:
      out: the folder.
      stem: the files are STEM.png, STEM-NUMBER.png for pages, and STEM.npz.
      written: files that stay: those of this run.
    """
    former = re.compile(rf"{re.escape(stem)}(-\d+)?\.png|{re.escape(stem)}\.npz")
    for path in set(out.glob("*")) - set(written):
        if former.fullmatch(path.name):
            path.unlink()
