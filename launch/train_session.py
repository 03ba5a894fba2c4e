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

from zf_jax import cli, hosts, interrupts, io
from zf_jax.figures import curves
from zf_jax.training import checkpoint, keeper, loop

METRICS, CURVE = "metrics.jsonl", "curve.png"


def epochs(
    run: loop.Run,
    store: checkpoint.Store,
    workdir: pathlib.Path,
    *,
    save_minutes: float,
) -> Iterator[dict]:
    """Trains to the recipe's last epoch; keeps a row and a new curve of every epoch.

    From the first step on, SIGINT and SIGTERM save the run and end the command. Before
    that there is nothing to save, and they end it at once.

    Args:
      run: what is trained, on what and how.
      store: of its checkpoints; training resumes from the newest.
      workdir: where metrics and curve are kept.
      save_minutes: minutes between two checkpoints within an epoch.

    Yields:
      The fields of `loop.Report`, after every epoch.
    """
    state = loop.restore(run, store)
    begin, signals, stopped = int(state.step), [], False
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(_progress(run, begin))

        def on_step(done: int, loss: float | None) -> None:
            nonlocal signals
            if done == begin + 1:
                signals = stack.enter_context(interrupts.kept())
            bar.update(done * run.recipe.batch_size - bar.n)
            if loss is not None:
                bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)

        reports = loop.train_epochs(
            run,
            store,
            state,
            on_step=on_step,
            stop=lambda: bool(signals),
            save_minutes=save_minutes,
        )
        try:
            for report in reports:
                yield _keep(report, workdir)
        except keeper.Stopped:
            stopped = True
    if stopped or signals:
        _exit_when_saved(signals)


def _keep(report: loop.Report, workdir: pathlib.Path) -> dict:
    """Writes the row of an epoch and the curve of all; returns the row."""
    row = report._asdict()
    if hosts.is_primary():
        # An epoch that is done again, since its checkpoint was lost, has a row already.
        rows = [*read_rows(workdir, report.step - 1), row]
        with io.atomic_write(workdir / METRICS) as fresh:
            fresh.write_text("".join(json.dumps(each) + "\n" for each in rows))
        curves.draw_training(rows, workdir / CURVE)
    return row


def _progress(run: loop.Run, begin: int) -> tqdm:
    """A bar of all images of the run, from the step that it resumes from on."""
    return cli.progress(
        total=run.steps * run.recipe.batch_size,
        initial=begin * run.recipe.batch_size,
        desc=f"{run.net.name} on {run.train.name}, {jax.device_count()} device(s)",
        unit=" images",
        unit_scale=True,
    )


def _exit_when_saved(signals: list[int]) -> NoReturn:
    """Ends a command that was asked to end; another host may have got the signal."""
    if hosts.is_primary():
        print("stopped and saved; the same command goes on from here")
    sys.exit(128 + (signals or [signal.SIGTERM])[0])


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
