"""Trains a net, data-parallel over all local devices.

    python -m launch.train --spec=tiny --dataset=creatures/64 --workdir=runs/tiny

Into the workdir go `checkpoints/`, `metrics.jsonl` (a line an epoch) and `curve.png`.
The same command again resumes from the newest checkpoint; Ctrl-C saves one first.
The flags of the recipe default to the net's own: the paper's for all but TINY.
"""

import contextlib
import dataclasses
import json
import pathlib
import signal
import sys

import jax
from absl import flags

from launch import script
from zf_jax import spec
from zf_jax.data import sources
from zf_jax.errors import BadInput
from zf_jax.figures import curves
from zf_jax.training import checkpoint, loop, recipe

_SPEC = flags.DEFINE_string("spec", "zfnet", f"net: {', '.join(spec.NETS)}")
_DATASET = flags.DEFINE_string(
    "dataset", None, "any TFDS name, or the built-in creatures/64 and creatures/224"
)
_TRAIN = flags.DEFINE_string("train_split", "train", "split to learn from")
_VALIDATION = flags.DEFINE_string("validation_split", "validation", "split to judge by")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "where TFDS keeps data sets")
_WORKDIR = flags.DEFINE_string("workdir", None, "where the run is kept")
_KEEP = flags.DEFINE_list(
    "keep",
    [str(epoch) for epoch in checkpoint.FIG_4],
    "epochs whose checkpoints stay for good (fig. 4's); else the newest two",
)
_SAVE_MINUTES = flags.DEFINE_float("save_minutes", 30, "between saves in an epoch")
_WORKERS = flags.DEFINE_integer(
    "workers", 0, "processes that decode images, for large ones; 0: threads of this one"
)

_METRICS, _CURVE = "metrics.jsonl", "curve.png"

_KINDS = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


def _defaults(name: str) -> str:
    """The recipe's value by net."""
    tiny, paper = (getattr(recipe.default(n), name) for n in (spec.TINY, spec.ZFNET))
    return f"{paper}" if tiny == paper else f"{paper}; {tiny} for tiny"


_RECIPE = {
    field.name: _KINDS[field.type](
        field.name,
        None,
        f"{field.metadata['help']} (default: {_defaults(field.name)})",
    )
    for field in dataclasses.fields(recipe.Recipe)
}


def _run() -> loop.Run:
    net = spec.by_name(_SPEC.value)
    given = {name: f.value for name, f in _RECIPE.items() if f.value is not None}
    how = dataclasses.replace(recipe.default(net), **given)
    train, validation = (
        sources.open_split(_DATASET.value, split, data_dir=_DATA_DIR.value)
        for split in (_TRAIN.value, _VALIDATION.value)
    )
    net = net.with_classes(len(train.labels))
    return loop.Run(net, how, train, validation, _WORKERS.value)


def _keep() -> list[int]:
    try:
        return [int(epoch) for epoch in _KEEP.value]
    except ValueError:
        raise BadInput(
            f"--keep={','.join(_KEEP.value)}: write epochs, as 1,2,5"
        ) from None


def _record(metrics: pathlib.Path, rows: list[dict]) -> None:
    """Writes all rows anew: what a crash left half-written is gone."""
    fresh = metrics.with_suffix(".new")
    fresh.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fresh.replace(metrics)


def _past(metrics: pathlib.Path, step: int) -> list[dict]:
    """The rows of an earlier start, up to the checkpoint it resumes from."""
    if not metrics.exists():
        return []
    rows = []
    for line in metrics.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):  # a line that a crash cut
            rows.append(json.loads(line))
    return [row for row in rows if row["step"] <= step]


def _stop_when_asked() -> list[int]:
    """The signals that came: the first asks to save and end, the second ends."""
    came = []

    def ask(number: int, _) -> None:
        came.append(number)
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    return came


def _train(run: loop.Run, store: checkpoint.Store, workdir: pathlib.Path) -> None:
    """Trains under a progress bar; a line, a row and a new curve after every epoch."""
    came, batch = _stop_when_asked(), run.recipe.batch_size
    rows = _past(workdir / _METRICS, store.newest or 0)
    bar = script.progress(
        total=run.steps * batch,
        initial=(store.newest or 0) * batch,
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
        save_minutes=_SAVE_MINUTES.value,
    )
    with bar:
        for report in reports:
            rows.append(report._asdict())
            _record(workdir / _METRICS, rows)
            curves.training(rows, workdir / _CURVE)
            bar.write(
                f"epoch {report.epoch}: loss {report.train_loss:.3f}, validation loss "
                f"{report.loss:.3f}, top-1 {report.top1:.2%}, top-5 {report.top5:.2%}, "
                f"rate {report.learning_rate:.2g}, {report.images_per_second:.0f} "
                "images/s"
            )
    if came:
        print("stopped and saved; the same command goes on from here")
        sys.exit(128 + came[0])


def main() -> list[pathlib.Path]:
    """Trains to the recipe's last epoch, from the newest checkpoint if there is one."""
    run = _run()
    loop.check(run)
    workdir = pathlib.Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    with checkpoint.Store(workdir, run.about, _keep()) as store:
        if (store.newest or 0) >= run.steps:
            print(f"{workdir}: trained for {run.recipe.epochs} epochs or more before")
        _train(run, store, workdir)
    files = [workdir / _METRICS, workdir / _CURVE, store.folder]
    return [path for path in files if path.exists()]


if __name__ == "__main__":
    script.run(main, required=("dataset", "workdir"))
