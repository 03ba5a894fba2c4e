"""Why occluding an image is fast for a function, or is not: a table of operations."""

from typing import NamedTuple

from zf_jax.transforms import costs
from zf_jax.transforms.incremental import Plan
from zf_jax.transforms.jaxpr import TracedFunction

# Operations with less of the work than this share one row of the table.
_SHARE = 0.004


class Row(NamedTuple):
    """One operation.

    Attributes:
      name: its own, as JAX calls it.
      shape: of its result on one image.
      window: rows and columns of what is recomputed; () where that is all or nothing.
      share: of the result, recomputed at each position; 0 where it never changes.
      work: on one image, multiply-adds and values touched (`costs`).
      position_work: the same at each position.
    """

    name: str
    shape: tuple[int, ...]
    window: tuple[int, ...]
    share: float
    work: float
    position_work: float


class CostReport(NamedTuple):
    """What an incremental sweep recomputes; prints as a table.

    Attributes:
      rows: one an operation, in order.
      positions: how many the occluder has.
      speed_up: how many times less there is to compute than from the pixels up: a
        prediction, in multiply-adds and values touched.
    """

    rows: list[Row]
    positions: int
    speed_up: float

    def __str__(self) -> str:
        total = sum(row.work for row in self.rows)
        shown = [row for row in self.rows if row.work >= _SHARE * total]
        rest = [row for row in self.rows if row.work < _SHARE * total]
        lines = [
            f"{'operation':22} {'result':>18} {'window':>9} {'share':>6} "
            f"{'work':>9} {'a position':>10}"
        ]
        lines += [_line(row) for row in shown]
        if rest:
            work = sum(row.work for row in rest)
            position_work = sum(row.position_work for row in rest)
            share = position_work / work if work else 0.0
            name = f"{len(rest)} smaller ones"
            lines.append(_line(Row(name, (), (), share, work, position_work)))
        lines.append(
            f"{self.positions} positions: {self.speed_up:.2f} times less to compute "
            "than from the pixels up"
        )
        return "\n".join(lines)


def _line(row: Row) -> str:
    shape = "x".join(map(str, row.shape[1:])) or "-"
    window = "x".join(map(str, row.window)) or ("-" if row.share in (0, 1) else "")
    if row.share == 1:
        window = "whole"
    return (
        f"{row.name:22} {shape:>18} {window:>9} {row.share:6.1%} "
        f"{row.work / 1e6:8.1f}M {row.position_work / 1e6:9.1f}M"
    )


def cost_report(traced: TracedFunction, plan: Plan) -> CostReport:
    """Sums up a plan, operation by operation."""
    steps = {id(step.equation): step for step in plan.steps}
    rows = [_row(e, steps.get(id(e))) for e in traced.equations]
    work = sum(row.work for row in rows)
    position_work = sum(row.position_work for row in rows)
    return CostReport(rows, plan.positions, work / (position_work or 1))


def _row(equation, step) -> Row:
    name, shape = equation.primitive.name, equation.outvars[0].aval.shape
    work = costs.of_equation(equation)
    if step is None:
        return Row(name, shape, (), 0.0, work, 0.0)
    window = tuple(i.size for i in step.window.intervals) if step.window else ()
    return Row(name, shape, window, costs.share(step), work, costs.of_step(step))
