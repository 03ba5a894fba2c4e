"""Trains a net, data-parallel over the devices of all hosts.

    python -m launch.train --spec=tiny --dataset=creatures/64 --workdir=runs/tiny

Into the workdir go `checkpoints/`, `metrics.jsonl` (a line an epoch) and `curve.png`.
The same command again resumes from the newest checkpoint; Ctrl-C saves one first.
The flags of the recipe default to the net's own: the paper's for all but TINY.
"""

import dataclasses
import pathlib

from tqdm import tqdm

from launch import settings, train_session
from zf_jax import cli, hosts, spec
from zf_jax.training import checkpoint


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A net, what it learns from and how, and where the run is kept."""

    spec: str = cli.field("zfnet", f"the net: {', '.join(spec.NETS)}")
    workdir: pathlib.Path | None = cli.field(
        None, "folder where the run is kept", required=True
    )
    keep_epochs: tuple[int, ...] = cli.field(
        checkpoint.FIG_4,
        "epochs whose checkpoints stay for good (fig. 4's); else the newest two",
        formerly="keep",
    )
    run: settings.RunConfig = settings.RunConfig()
    hosts: cli.HostsConfig = cli.HostsConfig()


def main(config: TrainConfig) -> list[pathlib.Path]:
    """Trains to the recipe's last epoch, from the newest checkpoint if there is one."""
    config.hosts.initialize()
    run = settings.make_run(config.run, spec.by_name(config.spec))
    workdir, trained = config.workdir, False
    if hosts.is_primary():
        workdir.mkdir(parents=True, exist_ok=True)
    with checkpoint.Store(workdir, run.metadata, config.keep_epochs) as store:
        for row in train_session.epochs(
            run, store, workdir, save_minutes=config.run.save_minutes
        ):
            trained = True
            _say(
                "epoch {epoch}: loss {train_loss:.3f}, validation loss {loss:.3f}, "
                "top-1 {top1:.2%}, top-5 {top5:.2%}, rate {learning_rate:.2g}, "
                "{images_per_second:.0f} images/s".format(**row)
            )
    if not trained:
        _say(f"{workdir}: trained for {run.recipe.epochs} epochs or more before")
    files = [
        workdir / train_session.METRICS,
        workdir / train_session.CURVE,
        store.folder,
    ]
    return [path for path in files if path.exists() and hosts.is_primary()]


def _say(text: str) -> None:
    if hosts.is_primary():
        tqdm.write(text)


if __name__ == "__main__":
    cli.run(main, exact=False)
