"""Data sets are prepared once, though several processes may ask for them at a time."""

import contextlib
import fcntl
import pathlib
import shutil
from collections.abc import Iterator

import tensorflow_datasets as tfds

from zf_jax.errors import BadInput

_LOCK = ".preparing"


def prepare(builder: tfds.core.DatasetBuilder, what: str) -> None:
    """Writes a data set as array_record, unless another process has done so meanwhile.

    What a killed process left half-written is removed first.

    Args:
      builder: of the data set.
      what: names the data set in an error.

    Raises:
      BadInput: it cannot be written.
    """
    home = pathlib.Path(builder.data_path).parent
    try:
        with _locked(home) as alone:
            # TFDS writes into such a folder and renames it when all went well.
            for each in home.glob("incomplete.*") if alone else ():
                shutil.rmtree(each, ignore_errors=True)
            builder.download_and_prepare(file_format="array_record")
    except (OSError, RuntimeError) as error:
        # Without locks, another process may have been faster.
        if not builder.is_prepared():
            raise BadInput(f"{what}: not written to {home}: {error}") from error


@contextlib.contextmanager
def _locked(home: pathlib.Path) -> Iterator[bool]:
    """Waits until no other process prepares in a folder.

    Yields:
      Whether that is certain: not every network file system knows locks.
    """
    home.mkdir(parents=True, exist_ok=True)
    # The system releases the lock when the process ends, however it ends.
    with open(home / _LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
