"""Trains a net, data-parallel over all local devices.

    python -m launch.train --spec=tiny --dataset=creatures/64 --workdir=runs/tiny

Into the workdir go `checkpoints/`, `metrics.jsonl` (a line an epoch) and `curve.png`.
The same command again resumes from the newest checkpoint; Ctrl-C saves one first.
The flags of the recipe default to the net's own: the paper's for all but TINY.
"""

import pathlib

from absl import flags
from tqdm import tqdm

from launch import settings, training
from zf_jax import cli, spec
from zf_jax.errors import BadInput
from zf_jax.training import checkpoint

flags.adopt_module_key_flags(settings)
_SPEC = flags.DEFINE_string("spec", "zfnet", f"net: {', '.join(spec.NETS)}")
_WORKDIR = flags.DEFINE_string("workdir", None, "where the run is kept")
_KEEP = flags.DEFINE_list(
    "keep",
    [str(epoch) for epoch in checkpoint.FIG_4],
    "epochs whose checkpoints stay for good (fig. 4's); else the newest two",
)


def _keep() -> list[int]:
    try:
        return [int(epoch) for epoch in _KEEP.value]
    except ValueError:
        raise BadInput(
            f"--keep={','.join(_KEEP.value)}: write epochs, as 1,2,5"
        ) from None


def main() -> list[pathlib.Path]:
    """Trains to the recipe's last epoch, from the newest checkpoint if there is one."""
    run = settings.make_run(spec.by_name(_SPEC.value))
    keep, workdir = _keep(), pathlib.Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    came = training.stop_when_asked()
    with checkpoint.Store(workdir, run.about, keep) as store:
        if (store.newest or 0) >= run.steps:
            print(f"{workdir}: trained for {run.recipe.epochs} epochs or more before")
        more = {"came": came, "save_minutes": settings.save_minutes()}
        for rows in training.epochs(run, store, workdir, **more):
            tqdm.write(
                "epoch {epoch}: loss {train_loss:.3f}, validation loss {loss:.3f}, "
                "top-1 {top1:.2%}, top-5 {top5:.2%}, rate {learning_rate:.2g}, "
                "{images_per_second:.0f} images/s".format(**rows[-1])
            )
        if came:
            training.stopped(came)
    files = [workdir / training.METRICS, workdir / training.CURVE, store.folder]
    return [path for path in files if path.exists()]


if __name__ == "__main__":
    cli.run(main, required=("dataset", "workdir"), exact=False)
