"""Brush strokes: the shapes that are drawn along a line."""

import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from zf_jax.creatures.shapes import Circle


class Line(NamedTuple):
    """A polyline whose thickness changes evenly from one end to the other.

    Attributes:
      points: at least two (x, y).
      start, end: half thickness at the two ends.
    """

    points: tuple
    start: float
    end: float


@dataclasses.dataclass(frozen=True)
class Strokes:
    """Brush strokes of round tip: whiskers, mouths, horns, twigs."""

    lines: tuple

    @functools.cached_property
    def _segments(self):
        """Rows x0, y0, x1, y1, half thickness there and there."""
        rows = []
        for points, start, end in self.lines:
            step = (end - start) / (len(points) - 1)
            for i, (a, b) in enumerate(itertools.pairwise(points)):
                rows.append((*a, *b, start + step * i, start + step * (i + 1)))
        return rows

    def distance(self, x, y):
        """Distance to the nearest segment, all segments at once."""
        rows = []
        for x0, y0, x1, y1, r0, r1 in self._segments:
            dx, dy = x1 - x0, y1 - y0
            scale = 1 / (dx * dx + dy * dy)
            rows.append((x0, y0, dx, dy, dx * scale, dy * scale, r1 - r0, r0))
        table = np.array(rows, np.float32).T.reshape(8, len(rows), *(1,) * np.ndim(x))
        x0, y0, dx, dy, ux, uy, growth, r0 = table
        px, py = x - x0, y - y0
        along = px * ux
        along += py * uy
        np.minimum(np.maximum(along, 0.0, out=along), 1.0, out=along)
        px -= dx * along
        py -= dy * along
        px *= px
        py *= py
        px += py
        np.sqrt(px, out=px)
        along *= growth
        px -= along
        px -= r0
        return px.min(axis=0)

    def reach(self):
        """A circle about the middle of the bounding box."""
        rows = self._segments
        left = min(min(r[0] - r[4], r[2] - r[5]) for r in rows)
        right = max(max(r[0] + r[4], r[2] + r[5]) for r in rows)
        top = min(min(r[1] - r[4], r[3] - r[5]) for r in rows)
        bottom = max(max(r[1] + r[4], r[3] + r[5]) for r in rows)
        radius = math.hypot(right - left, bottom - top) / 2
        return Circle((left + right) / 2, (top + bottom) / 2, radius)

    def outline(self):
        """Four points about each end of each segment."""
        rows = np.array(self._segments)
        ends = np.concatenate([rows[:, [0, 1, 4]], rows[:, [2, 3, 5]]])
        compass = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])
        return (ends[:, None, :2] + ends[:, None, 2:] * compass).reshape(-1, 2)


def bow(start, pull, end, steps: int = 3) -> tuple:
    """Points of a quadratic Bezier curve from `start` to `end`, bent to `pull`."""
    points = []
    for i in range(steps + 1):
        t = i / steps
        a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
        x = a * start[0] + b * pull[0] + c * end[0]
        y = a * start[1] + b * pull[1] + c * end[1]
        points.append((x, y))
    return tuple(points)
