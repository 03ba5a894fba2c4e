"""Kills a run at random moments, many of them while it saves; nothing may be lost.

    python -m tests.faults.kills 30

Each start is killed by SIGKILL after a random time; every second one at the next
moment that a checkpoint is half-written. Each kill may cost the steps since the last
checkpoint, never a checkpoint. In the end the parameters must be those of a run that
nothing disturbed, bit for bit.
"""

import pathlib
import random
import sys
import tempfile
import time
from typing import NamedTuple

from tests import small_creatures
from tests.faults import training


class Counts(NamedTuple):
    """What happened.

    Attributes:
      kills: in all.
      while_saving: of them, with a checkpoint half-written.
      runs: that came to their end.
      same: of them, with the parameters of the undisturbed run.
      damaged: checkpoints that a later start set aside.
    """

    kills: int
    while_saving: int
    runs: int
    same: int
    damaged: int


def kill(data_dir: pathlib.Path, folder: pathlib.Path, kills: int, seed: int) -> Counts:
    """Kills runs `kills` times in all.

    Args:
      data_dir: with creatures/64.
      folder: for the runs.
      kills: how often.
      seed: of the moments.
    """
    rng, epochs = random.Random(seed), "--epochs=12"
    undisturbed, began = folder / "undisturbed", time.monotonic()
    assert training.run(data_dir, undisturbed, epochs) == 0
    whole = time.monotonic() - began
    done = while_saving = runs = same = damaged = 0
    while done < kills:
        workdir, ended = folder / f"killed-{runs}", False
        while not ended:
            # A checkpoint after every step.
            with training.start(
                data_dir, workdir, epochs, "--save_minutes=0"
            ) as process:
                if done < kills:
                    _wait(workdir, process, rng.uniform(0, whole), done % 2)
                    process.kill()
                code = process.wait()
            ended = code == 0
            assert ended or code == -9, training.output(workdir)[-2000:]
            done += not ended
            while_saving += not ended and _is_saving(workdir)
        runs += 1
        same += training.same_bits(workdir, undisturbed)
        damaged += training.output(workdir).count("damaged")
    return Counts(done, while_saving, runs, same, damaged)


def _wait(workdir: pathlib.Path, process, seconds: float, until_saving: bool) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.001)
    while until_saving and process.poll() is None and not _is_saving(workdir):
        time.sleep(0.001)


def _is_saving(workdir: pathlib.Path) -> bool:
    """Whether a checkpoint is half-written: orbax renames it in the end."""
    return any((workdir / "checkpoints").glob("*orbax-checkpoint-tmp*"))


def main() -> None:
    """Prints the counts; fails where a run did not come to the same parameters."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        data_dir = pathlib.Path(folder) / "data"
        small_creatures.prepare(data_dir)
        counts = kill(data_dir, pathlib.Path(folder), kills, seed)
    print(counts)
    sys.exit(counts.same != counts.runs or bool(counts.damaged))


if __name__ == "__main__":
    main()
