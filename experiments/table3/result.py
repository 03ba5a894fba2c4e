"""One run of a variant: trained, or gone on with, or read from its result.json."""

import dataclasses
import json
import pathlib

from experiments.table3 import rows
from launch import train_session
from zf_jax import io
from zf_jax.errors import BadInput
from zf_jax.training import checkpoint, loop, step


def measure(run: loop.Run, workdir: pathlib.Path, *, save_minutes: float) -> dict:
    """Errors in percent and seconds of training: read, or trained and measured.

    Args:
      run: what is trained, on what and how.
      workdir: of the run.
      save_minutes: minutes between two checkpoints within an epoch.

    Raises:
      BadInput: the folder has the result of another run, or a damaged one.
    """
    path = workdir / "result.json"
    found = _read(path, run)
    if "top1" in found:
        return found
    io.save_json(path, found)
    with checkpoint.Store(workdir, run.metadata) as store:
        for _ in train_session.epochs(run, store, workdir, save_minutes=save_minutes):
            pass
    found |= _errors(run, step.replicate(checkpoint.load(workdir).params))
    images = run.steps_per_epoch * run.recipe.batch_size
    rates = [
        epoch["images_per_second"]
        for epoch in train_session.read_rows(workdir, run.steps)
    ]
    # An epoch whose evaluation alone was done again has a rate of 0.
    known = [rate for rate in rates if rate]
    seconds = sum(images / rate for rate in known)
    found["seconds"] = seconds * len(rates) / max(1, len(known))
    io.save_json(path, found)
    return found


def _read(path: pathlib.Path, run: loop.Run) -> dict:
    """What the file knows of the run; without errors where it has not ended."""
    now = {"dataset": run.train.name, **dataclasses.asdict(run.recipe)}
    now["splits"] = [run.train.split, run.validation.split]
    if not path.exists():
        return {"run": now}
    try:
        found = json.loads(path.read_text())
        then = found["run"]
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{path}: damaged; remove it to measure it anew") from None
    for name, value in now.items():
        if then.get(name) != value:
            raise BadInput(
                f"{path}: is of a run with {name} {then.get(name)}, not {value}; take "
                "another --out, or the same flags to go on with it"
            )
    return found


def _errors(run: loop.Run, params) -> dict[str, float]:
    """In percent, by the names in `rows.ERRORS`, of centre crops."""
    eval_step = step.make_eval_step(loop.make_model(run.net, run.recipe))
    train, validation = (
        loop.evaluate(run._replace(validation=source), eval_step, params)
        for source in (run.train, run.validation)
    )
    accuracies = {"train_top1": train["top1"], **validation}
    return {name: 100 * (1 - accuracies[name]) for name in rows.ERRORS}
