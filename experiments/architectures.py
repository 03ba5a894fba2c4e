"""The rows of Table 3: a net's parameters, and its errors over several runs."""

import numpy as np

from experiments import paper
from zf_jax import geometry
from zf_jax.training import loop

ERRORS = {"train_top1": "train top-1", "top1": "val top-1", "top5": "val top-5"}


def row(run: loop.Run, results: list[dict]) -> dict:
    """A row: the net, every run's errors, their mean and standard deviation.

    Args:
      run: one of the net's.
      results: of each run its errors in percent, by the names in `ERRORS`, and the
        seconds of its training.

    Returns:
      For JSON; the deviation is None of one run, and the paper's numbers stand beside
      those of its own validation split alone.
    """
    found = {
        "variant": run.net.name,
        "parameters": sum(geometry.parameters(run.net).values()),
        "seconds": float(np.mean([each["seconds"] for each in results])),
    }
    for name in ERRORS:
        errors = [each[name] for each in results]
        deviation = float(np.std(errors, ddof=1)) if len(errors) > 1 else None
        found[name] = {"mean": float(np.mean(errors)), "deviation": deviation}
        found[name]["runs"] = errors
    judged = run.validation.name, run.validation.split
    if of_paper := paper.variant(*judged, run.net.name):
        found["paper"] = of_paper
    return found


def text(rows: list[dict]) -> str:
    """The table as lines."""
    lines = [f"{'errors in %':<22}{'parameters':>13}{'seconds':>9}"]
    lines[0] += "".join(f"{name:>15}" for name in ERRORS.values())
    if any(row.get("paper") for row in rows):
        lines[0] += "   the paper's"
    for row in rows:
        line = f"{row['variant']:<22}{row['parameters']:>13,}{row['seconds']:>9.0f}"
        for name in ERRORS:
            mean, deviation = row[name]["mean"], row[name]["deviation"]
            more = f" ± {deviation:.1f}" if deviation is not None else ""
            line += f"{f'{mean:.1f}{more}':>15}"
        paper = "".join(f"{each:>6}" for each in row.get("paper") or ())
        lines.append(f"{line}   {paper}".rstrip())
    return "\n".join(lines)
