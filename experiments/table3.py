"""Table 3: the errors of a net without some layers, with narrower and wider ones.

    python -m experiments.table3 --dataset=creatures/64 --out=runs/table3
    python -m experiments.table3 --table=paper --dataset=imagenet2012 --seeds=1 \
        --dtype=bfloat16 --workers=8 --out=runs/table3

Trains every variant from scratch by one recipe, first all with one seed, then with the
next. Each run has its own folder, OUT/VARIANT/seed-N: one that ended is read, one that
did not goes on; Ctrl-C saves. The table is printed after every round, and table3.json
written after every run. The training error is that of the trained net on the centre
crops of the whole training split, as the validation error is.
"""

import dataclasses
import json
import pathlib

from absl import flags

from experiments import architectures
from launch import settings, training
from zf_jax import cli, io, spec
from zf_jax.errors import BadInput
from zf_jax.training import checkpoint, loop, step

flags.adopt_module_key_flags(settings)
_TABLE = flags.DEFINE_enum(
    "table", "tiny", ["tiny", "paper"], "the variants of TINY, or the paper's own rows"
)
_VARIANTS = flags.DEFINE_list(
    "variants", [], "or: these nets alone, by the names that launch.train's --spec has"
)
_SEEDS = flags.DEFINE_integer(
    "seeds", 3, "runs of each variant, from --seed on", lower_bound=1
)
_OUT = flags.DEFINE_string("out", None, "folder for the runs and table3.json")


def _nets() -> list[spec.Spec]:
    if len(set(_VARIANTS.value)) < len(_VARIANTS.value):
        raise BadInput(f"--variants={','.join(_VARIANTS.value)}: several are the same")
    rows = spec.TABLE3 if _TABLE.value == "paper" else spec.TABLE3_TINY
    return [spec.by_name(name) for name in _VARIANTS.value] or list(rows)


def _kept(path: pathlib.Path, run: loop.Run) -> dict:
    """What is known of a run; begun anew where nothing is."""
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
    """In percent, by the names in `architectures.ERRORS`."""
    eval_step = step.make_eval_step(loop.make_model(run.net, run.recipe))
    train, validation = (
        loop.evaluate(run._replace(validation=source), eval_step, params)
        for source in (run.train, run.validation)
    )
    right = {"train_top1": train["top1"], **validation}
    return {name: 100 * (1 - right[name]) for name in architectures.ERRORS}


def _result(run: loop.Run, workdir: pathlib.Path, came: list[int]) -> dict:
    """Errors and seconds of training: read, or trained and measured."""
    path = workdir / "result.json"
    found = _kept(path, run)
    if "top1" in found:
        return found
    io.save_json(path, found)
    with checkpoint.Store(workdir, run.metadata) as store:
        more = {"came": came, "save_minutes": settings.save_minutes()}
        for _ in training.epochs(run, store, workdir, **more):
            pass
        if (store.newest or 0) < run.steps:
            training.stopped(came)
    found |= _errors(run, step.replicate(checkpoint.load(workdir).params))
    images = run.steps_per_epoch * run.recipe.batch_size
    speeds = [e["images_per_second"] for e in training.past(workdir, run.steps)]
    found["seconds"] = sum(images / speed for speed in speeds)
    io.save_json(path, found)
    return found


def main() -> list[pathlib.Path]:
    """All variants with one seed, then with the next."""
    # What is wrong with one shows before the first is trained.
    runs = [settings.make_run(net) for net in _nets()]
    out = pathlib.Path(_OUT.value).expanduser()
    came, results = training.stop_when_asked(), [[] for _ in runs]
    for nth in range(_SEEDS.value):
        for run, found in zip(runs, results, strict=True):
            how = dataclasses.replace(run.recipe, seed=run.recipe.seed + nth)
            workdir = out / run.net.name / f"seed-{how.seed}"
            found.append(_result(run._replace(recipe=how), workdir, came))
            done = [each for each in zip(runs, results, strict=True) if each[1]]
            rows = [architectures.row(*each) for each in done]
            path = io.save_json(out / "table3.json", {"rows": rows})
            if came:
                training.stopped(came)
        print(f"{nth + 1} of {_SEEDS.value} seeds\n{architectures.text(rows)}")
    return [path]


if __name__ == "__main__":
    cli.run(main, required=("dataset", "out"))
