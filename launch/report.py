"""Sums up the demo in report.json: errors, seconds of its stages, pictures.

python -m launch.report --folder=runs/demo --stages=data=3,train=200
"""

import dataclasses
import json
import pathlib

from launch import train_session
from zf_jax import cli, io


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """The demo's folder and the seconds that its stages took."""

    folder: pathlib.Path = cli.field(pathlib.Path("runs/demo"), "folder of the demo")
    stages: tuple[str, ...] = cli.field(
        (), "seconds of each stage, as data=3,train=200"
    )


def main(config: ReportConfig) -> list[pathlib.Path]:
    """Writes and prints the report."""
    metrics = (config.folder / "tiny" / train_session.METRICS).read_text()
    last = json.loads(metrics.splitlines()[-1])
    seconds = dict(stage.split("=") for stage in config.stages)
    figures = sorted(str(path) for path in config.folder.rglob("*.png"))
    print(f"\ntop-1 {last['top1']:.2%}, top-5 {last['top5']:.2%}")
    print("seconds:", ", ".join(f"{k} {v}" for k, v in seconds.items()))
    print("pictures:", *figures, sep="\n  ")
    report = {
        "top1": last["top1"],
        "top5": last["top5"],
        "seconds": {name: int(value) for name, value in seconds.items()},
        "figures": figures,
    }
    return [io.save_json(config.folder / "report.json", report)]


if __name__ == "__main__":
    cli.run(main)
