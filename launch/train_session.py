"""Trains a run under a progress bar, and keeps what it reports in its workdir."""

import contextlib
import json
import pathlib
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

import jax
from tqdm import tqdm

from zf_jax import cli, io
from zf_jax.figures import curves
from zf_jax.training import checkpoint, loop

METRICS, CURVE = "metrics.jsonl", "curve.png"


@contextlib.contextmanager
def collected_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM, so that training saves before it ends.

    The first signal is put into the list that the context gives. Then the former
    handlers are back: a second signal ends the command without waiting.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    former = {number: signal.getsignal(number) for number in numbers}
    received = []

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    def receive(number: int, _) -> None:
        received.append(number)
        restore()

    for number in numbers:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        restore()


def epochs(
    run: loop.Run,
    store: checkpoint.Store,
    workdir: pathlib.Path,
    *,
    signals: list[int],
    save_minutes: float,
) -> Iterator[dict]:
    """Trains to the recipe's last epoch; keeps a row and a new curve of every epoch.

    Args:
      run: what is trained, on what and how.
      store: of its checkpoints; training resumes from the newest.
      workdir: where metrics and curve are kept.
      signals: of `collected_signals`: when one is there, training saves and ends.
      save_minutes: minutes between two checkpoints within an epoch.

    Yields:
      The fields of `loop.Report`, after every epoch.
    """
    begin = store.newest or 0
    rows, bar = read_rows(workdir, begin), _progress(run, begin)

    def on_step(done: int, loss: float | None) -> None:
        bar.update(done * run.recipe.batch_size - bar.n)
        if loss is not None:
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)

    reports = loop.train_epochs(
        run,
        store,
        on_step=on_step,
        stop=lambda: bool(signals),
        save_minutes=save_minutes,
    )
    with bar:
        for report in reports:
            rows.append(report._asdict())
            _write_rows(workdir, rows)
            curves.draw_training(rows, workdir / CURVE)
            yield rows[-1]


def _progress(run: loop.Run, begin: int) -> tqdm:
    """A bar of all images of the run, from the step that it resumes from on."""
    return cli.progress(
        total=run.steps * run.recipe.batch_size,
        initial=begin * run.recipe.batch_size,
        desc=f"{run.net.name} on {run.train.name}, {jax.device_count()} device(s)",
        unit=" images",
        unit_scale=True,
    )


def exit_after_saving(signals: list[int]) -> NoReturn:
    """Ends a command that a signal asked to end, once its run is saved."""
    print("stopped and saved; the same command goes on from here")
    sys.exit(128 + signals[0])


def read_rows(workdir: pathlib.Path, step: int) -> list[dict]:
    """The rows that earlier starts of a run kept, up to the step of a checkpoint."""
    metrics = workdir / METRICS
    if not metrics.exists():
        return []
    rows = []
    for line in metrics.read_text().splitlines():
        # A crash of the machine may have cut a line.
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return [row for row in rows if row["step"] <= step]


def _write_rows(workdir: pathlib.Path, rows: list[dict]) -> None:
    """Writes all rows anew, so that a line that a crash cut is gone."""
    with io.atomic_write(workdir / METRICS) as fresh:
        fresh.write_text("".join(json.dumps(row) + "\n" for row in rows))
