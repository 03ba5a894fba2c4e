r"""Table 3: the errors of a net without some layers, with narrower and wider ones.

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
import pathlib

from experiments.table3 import result, rows
from launch import settings
from zf_jax import cli, io, spec
from zf_jax.errors import BadInput
from zf_jax.training import loop


@dataclasses.dataclass(frozen=True)
class Table3Config:
    """Variants of a net, what they learn from and how, and how often."""

    run: settings.RunConfig = settings.RunConfig()
    table: str = cli.field(
        "tiny",
        "the variants of TINY, or the paper's own rows",
        choices=("tiny", "paper"),
    )
    variants: tuple[str, ...] = cli.field(
        (), "or: these nets alone, by the names that launch.train's --spec has"
    )
    seeds: int = cli.field(3, "runs of each variant, from --seed on", minimum=1)
    out: pathlib.Path | None = cli.field(
        None, "folder for the runs and table3.json", required=True
    )


def main(config: Table3Config) -> list[pathlib.Path]:
    """Trains all variants with one seed, then with the next."""
    # What is wrong with one shows before the first is trained.
    runs = [settings.make_run(config.run, net) for net in _nets(config)]
    results = [[] for _ in runs]
    for nth in range(config.seeds):
        for run, found in zip(runs, results, strict=True):
            run = _with_seed(run, run.recipe.seed + nth)
            found.append(
                result.measure(
                    run,
                    config.out / run.net.name / f"seed-{run.recipe.seed}",
                    save_minutes=config.run.save_minutes,
                )
            )
            table = [
                rows.row(*each) for each in zip(runs, results, strict=True) if each[1]
            ]
            path = io.save_json(config.out / "table3.json", {"rows": table})
        print(f"{nth + 1} of {config.seeds} seeds\n{rows.text(table)}")
    return [path]


def _nets(config: Table3Config) -> list[spec.Spec]:
    if len(set(config.variants)) < len(config.variants):
        raise BadInput(f"--variants={','.join(config.variants)}: several are the same")
    nets = spec.TABLE3 if config.table == "paper" else spec.TABLE3_TINY
    return [spec.by_name(name) for name in config.variants] or list(nets)


def _with_seed(run: loop.Run, seed: int) -> loop.Run:
    return run._replace(recipe=dataclasses.replace(run.recipe, seed=seed))


if __name__ == "__main__":
    cli.run(main)
