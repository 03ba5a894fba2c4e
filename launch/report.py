"""Sums up a demo in report.json: `python -m launch.report DIR STAGE=SECONDS ...`."""

import json
import pathlib
import sys


def report(folder: pathlib.Path, stages: list[str]) -> dict:
    """What the demo reached, how long each stage took, and its pictures."""
    lines = (folder / "tiny" / "metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    seconds = dict(stage.split("=") for stage in stages)
    return {
        "top1": last["top1"],
        "top5": last["top5"],
        "seconds": {name: int(value) for name, value in seconds.items()},
        "figures": sorted(str(path) for path in folder.rglob("*.png")),
    }


def main(folder: str, *stages: str) -> None:
    """Writes and prints the report."""
    summary = report(pathlib.Path(folder), list(stages))
    path = pathlib.Path(folder) / "report.json"
    path.write_text(json.dumps(summary, indent=2) + "\n")
    print(f"\ntop-1 {summary['top1']:.2%}, top-5 {summary['top5']:.2%}")
    print("seconds:", ", ".join(f"{k} {v}" for k, v in summary["seconds"].items()))
    print("pictures:", *summary["figures"], sep="\n  ")
    print("report:", path)


if __name__ == "__main__":
    main(*sys.argv[1:])
