"""Signed distance shapes: the few outlines every creature is made of.

A shape knows the signed distance of points to its outline (negative inside), a
circle that holds it, and a few points of its outline. Units are those of whoever
uses it (a head's radius, for the heads); y points down, as in images. Distances are
exact at the outline and close to it, which is all that antialiasing needs.
"""

import dataclasses
import functools
import math
from typing import NamedTuple, Protocol

import numpy as np

_OUTLINE_POINTS = 32
_ANGLES = np.linspace(0, 2 * np.pi, _OUTLINE_POINTS, endpoint=False)
_CIRCLE = np.cos(_ANGLES), np.sin(_ANGLES)


class Circle(NamedTuple):
    """A circle that holds a shape: centre and radius."""

    x: float
    y: float
    radius: float


class Shape(Protocol):
    """What the painter asks of a shape."""

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Signed distance of the points (x, y), any equal shapes, to the outline."""

    def reach(self) -> Circle:
        """A circle that holds the shape."""

    def outline(self) -> np.ndarray:
        """[n, 2] float points (x, y) of the outline."""


@dataclasses.dataclass(frozen=True)
class Ellipse:
    """An ellipse, or an egg.

    Attributes:
      x, y: centre.
      rx, ry: half axes before turning.
      turn: rotation in radians, clockwise as seen.
      taper: 0 an ellipse; above 0 an egg wider at the bottom, below 0 at the top.
    """

    x: float
    y: float
    rx: float
    ry: float
    turn: float = 0.0
    taper: float = 0.0

    def distance(self, x, y):
        """Signed distance: value over gradient length of the implicit form."""
        x, y = x - self.x, y - self.y
        if self.turn:
            x, y = _rotate(x, y, -self.turn)
        if self.taper:
            x = x / np.maximum(1.0 + (self.taper / self.ry) * y, 0.2)
        u, v = x * (1.0 / self.rx), y * (1.0 / self.ry)
        u2, v2 = u * u, v * v
        level = np.sqrt(u2 + v2)
        slope = np.sqrt(u2 * self.rx**-2 + (v2 * self.ry**-2 + 1e-6))
        return level * (level - 1.0) / slope

    def reach(self):
        """A circle about the centre."""
        return Circle(self.x, self.y, max(self.rx * (1 + abs(self.taper)), self.ry))

    def outline(self):
        """Points at equal steps of the angle."""
        cos, sin = _CIRCLE
        x, y = self.rx * cos * (1 + self.taper * sin), self.ry * sin
        x, y = _rotate(x, y, self.turn)
        return np.stack([x + self.x, y + self.y], -1)


@dataclasses.dataclass(frozen=True)
class Leaf:
    """Two equal circular arcs that meet in two tips: a leaf, an ear, an almond eye.

    Attributes:
      x0, y0, x1, y1: the two tips.
      width: half the width at the middle; less than half the length.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    width: float

    @functools.cached_property
    def _form(self):
        """Middle (x, y), unit vector along, half length, arc radius."""
        dx, dy = self.x1 - self.x0, self.y1 - self.y0
        half = math.hypot(dx, dy) / 2
        middle = (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2
        radius = (half * half + self.width * self.width) / (2 * self.width)
        return middle, (dx / (2 * half), dy / (2 * half)), half, radius

    def distance(self, x, y):
        """Distance to the arc of the point's own side."""
        (mx, my), (ux, uy), _, radius = self._form
        x, y = x - mx, y - my
        along = x * ux + y * uy
        across = np.abs(y * ux - x * uy) + (radius - self.width)
        return np.sqrt(across * across + along * along) - radius

    def reach(self):
        """A circle about the middle."""
        (mx, my), _, half, _ = self._form
        return Circle(mx, my, max(half, self.width))

    def outline(self):
        """Points of both arcs."""
        (mx, my), (ux, uy), half, radius = self._form
        along = np.linspace(-half, half, _OUTLINE_POINTS // 2)
        across = np.sqrt(radius**2 - along**2) - (radius - self.width)
        along, across = np.r_[along, along], np.r_[across, -across]
        x, y = mx + along * ux - across * uy, my + along * uy + across * ux
        return np.stack([x, y], -1)


@dataclasses.dataclass(frozen=True)
class Blend:
    """The union of shapes, with the seams filled to a smooth skin.

    Attributes:
      shapes: what to join.
      smooth: width of the filled seam.
    """

    shapes: tuple
    smooth: float

    def distance(self, x, y):
        """Polynomial smooth minimum."""
        return functools.reduce(
            self._join, (shape.distance(x, y) for shape in self.shapes)
        )

    def _join(self, a, b):
        seam = np.maximum(1.0 - np.abs(a - b) * (1.0 / self.smooth), 0.0)
        return np.minimum(a, b) - seam * seam * (self.smooth / 4)

    def reach(self):
        """A circle about the mean of the circles."""
        circles = [shape.reach() for shape in self.shapes]
        x = sum(c.x for c in circles) / len(circles)
        y = sum(c.y for c in circles) / len(circles)
        far = max(math.hypot(c.x - x, c.y - y) + c.radius for c in circles)
        return Circle(x, y, far + self.smooth / 4)

    def outline(self):
        """The points of all the shapes."""
        return np.concatenate([shape.outline() for shape in self.shapes])


def _rotate(x, y, angle):
    """The points turned about the origin."""
    cos, sin = math.cos(angle), math.sin(angle)
    return x * cos - y * sin, x * sin + y * cos
