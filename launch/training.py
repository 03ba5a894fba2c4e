"""Trains a run under a progress bar, and keeps what it reports in its workdir."""

import contextlib
import json
import pathlib
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

import jax

from zf_jax import cli
from zf_jax.figures import curves
from zf_jax.training import checkpoint, loop

METRICS, CURVE = "metrics.jsonl", "curve.png"


def stop_when_asked() -> list[int]:
    """The signals that came: the first asks to save and end, the second ends."""
    came = []

    def ask(number: int, _) -> None:
        came.append(number)
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    return came


def epochs(
    run: loop.Run,
    store: checkpoint.Store,
    workdir: pathlib.Path,
    *,
    came: list[int],
    save_minutes: float,
) -> Iterator[list[dict]]:
    """Trains to the recipe's last epoch; a row and a new curve after every epoch.

    Args:
      run: what, on what, how.
      store: of its checkpoints; it goes on from the newest.
      workdir: where metrics and curve are kept.
      came: signals that came, as `stop_when_asked` collects them: one saves and ends.
      save_minutes: between checkpoints within an epoch.

    Yields:
      The rows of all epochs so far, an earlier start's too, after every epoch.
    """
    batch, begin = run.recipe.batch_size, store.newest or 0
    rows = past(workdir, begin)
    bar = cli.progress(
        total=run.steps * batch,
        initial=begin * batch,
        desc=f"{run.net.name} on {run.train.name}, {jax.device_count()} device(s)",
        unit=" images",
        unit_scale=True,
    )

    def on_step(done: int, loss: float | None) -> None:
        bar.update(done * batch - bar.n)
        if loss is not None:
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)

    reports = loop.epochs(
        run,
        store,
        on_step=on_step,
        stop=lambda: bool(came),
        save_minutes=save_minutes,
    )
    with bar:
        for report in reports:
            rows.append(report._asdict())
            _record(workdir / METRICS, rows)
            curves.training(rows, workdir / CURVE)
            yield rows


def stopped(came: list[int]) -> NoReturn:
    """Ends a command that was asked to, after it saved."""
    print("stopped and saved; the same command goes on from here")
    sys.exit(128 + came[0])


def _record(metrics: pathlib.Path, rows: list[dict]) -> None:
    """Writes all rows anew: what a crash left half-written is gone."""
    fresh = metrics.with_suffix(".new")
    fresh.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fresh.replace(metrics)


def past(workdir: pathlib.Path, step: int) -> list[dict]:
    """The rows of an earlier start, up to the checkpoint it resumes from."""
    metrics = workdir / METRICS
    if not metrics.exists():
        return []
    rows = []
    for line in metrics.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):  # a line that a crash cut
            rows.append(json.loads(line))
    return [row for row in rows if row["step"] <= step]
