"""Why a function of an image is swept fast, or is not: a table of its operations."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from zf_jax.transforms import costs
from zf_jax.transforms.incremental import Plan
from zf_jax.transforms.jaxpr import TracedFunction

# Operations with less of the work than this are summed up in one row.
_SHARE = 0.004


class Row(NamedTuple):
    """One operation.

    Attributes:
      name: its own, as JAX calls it.
      shape: of its result on one image.
      window: rows and columns of the largest window; () where it is whole everywhere.
      share: of the result, recomputed at a place, on average; 0 where it never changes.
      work: multiply-adds, and what touches values, on one image.
      done: the same at a place, on average.
    """

    name: str
    shape: tuple[int, ...]
    window: tuple[int, ...]
    share: float
    work: float
    done: float


class CostReport(NamedTuple):
    """What an incremental sweep recomputes; prints as a table.

    Attributes:
      rows: one an operation, in order.
      places: of the square.
      groups: of places that are planned together.
      speed_up: how many times less there is to compute than from the pixels up: a
        prediction, in multiply-adds and values touched.
    """

    rows: list[Row]
    places: int
    groups: int
    speed_up: float

    def __str__(self) -> str:
        total = sum(row.work for row in self.rows)
        shown = [row for row in self.rows if row.work >= _SHARE * total]
        rest = [row for row in self.rows if row.work < _SHARE * total]
        lines = [
            f"{'operation':22} {'result':>18} {'window':>9} {'share':>6} "
            f"{'work':>9} {'at a place':>10}"
        ]
        lines += [_line(row) for row in shown]
        if rest:
            work, done = (sum(row[i] for row in rest) for i in (4, 5))
            name = f"{len(rest)} smaller ones"
            share = done / work if work else 0.0
            lines.append(_line(Row(name, (), (), share, work, done)))
        lines.append(
            f"{self.places} places in {self.groups} group{'s' * (self.groups > 1)}: "
            f"{self.speed_up:.2f} times less to compute than from the pixels up"
        )
        return "\n".join(lines)


def _line(row: Row) -> str:
    by = "x".join(map(str, row.shape[1:])) or "-"
    window = "x".join(map(str, row.window)) or ("-" if row.share in (0, 1) else "")
    if row.share == 1:
        window = "whole"
    return (
        f"{row.name:22} {by:>18} {window:>9} {row.share:6.1%} {row.work / 1e6:8.1f}M "
        f"{row.done / 1e6:9.1f}M"
    )


def cost_report(
    traced: TracedFunction, groups: Sequence[np.ndarray], plans: Sequence[Plan]
) -> CostReport:
    """Sums up the plans of all groups of places."""
    places = sum(map(len, groups))
    found = {}
    for group, plan in zip(groups, plans, strict=True):
        for step in plan.steps:
            found.setdefault(id(step.equation), []).append((len(group), step))
    rows = [
        _row(equation, found.get(id(equation), []), places)
        for equation in traced.equations
    ]
    work, done = (sum(row[i] for row in rows) for i in (4, 5))
    return CostReport(rows, places, len(groups), work / (done or 1))


def _row(equation, steps: list[tuple], places: int) -> Row:
    share = sum(count * costs.share(step) for count, step in steps) / places
    done = sum(count * costs.of_step(step) for count, step in steps) / places
    windows = [costs.window_sizes(step) for _, step in steps if step.window]
    shape = equation.outvars[0].aval.shape
    work = costs.of_equation(equation)
    name = equation.primitive.name
    return Row(name, shape, max(windows, default=()), share, work, done)
