"""The rows of Table 3: a net's parameters, and its errors over several runs."""

import numpy as np

from experiments.common import paper
from zf_jax import geometry
from zf_jax.training import loop

# The errors' names in files, and in the table.
ERRORS = {"train_top1": "train top-1", "top1": "val top-1", "top5": "val top-5"}


def row(run: loop.Run, results: list[dict]) -> dict:
    """The net, every run's errors, their mean and standard deviation.

    Args:
      run: one of the net's.
      results: of each run its errors in percent, by the names in `ERRORS`, and the
        seconds of its training.

    Returns:
      For JSON; the deviation is None of one run, and the paper's numbers are there
      for its own validation split alone.
    """
    found = {
        "variant": run.net.name,
        "parameters": sum(geometry.parameters(run.net).values()),
        "seconds": float(np.mean([result["seconds"] for result in results])),
    }
    for name in ERRORS:
        errors = [result[name] for result in results]
        deviation = float(np.std(errors, ddof=1)) if len(errors) > 1 else None
        found[name] = {
            "mean": float(np.mean(errors)),
            "deviation": deviation,
            "runs": errors,
        }
    split = run.validation.name, run.validation.split
    if of_paper := paper.variant_errors(*split, run.net.name):
        found["paper"] = of_paper
    return found


def text(rows: list[dict]) -> str:
    """The table as lines."""
    head = f"{'errors in %':<22}{'parameters':>13}{'seconds':>9}"
    head += "".join(f"{name:>15}" for name in ERRORS.values())
    if any(row.get("paper") for row in rows):
        head += "   the paper's"
    return "\n".join([head, *map(_line, rows)])


def _line(row: dict) -> str:
    line = f"{row['variant']:<22}{row['parameters']:>13,}{row['seconds']:>9.0f}"
    for name in ERRORS:
        mean, deviation = row[name]["mean"], row[name]["deviation"]
        spread = f" ± {deviation:.1f}" if deviation is not None else ""
        line += f"{f'{mean:.1f}{spread}':>15}"
    of_paper = "".join(f"{error:>6}" for error in row.get("paper") or ())
    return f"{line}   {of_paper}".rstrip()
