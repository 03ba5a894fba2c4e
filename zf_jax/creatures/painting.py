"""Painting of shapes on a planar image: antialiased, with volume and soft shadow."""

import functools
import math
from typing import NamedTuple

import numpy as np

from zf_jax.creatures.shapes import Shape

# How far a shape's shadow reaches beyond its outline, in local units.
_SHADOW_REACH = 0.22
# From the outline to this depth a shape's surface turns towards the viewer.
_ROUNDING = 0.3


class Pose(NamedTuple):
    """Where something is in the picture; lengths in sides of the picture.

    Attributes:
      x, y: centre, from the top left corner.
      radius: length of the local unit.
      tilt: rotation in radians, clockwise as seen.
    """

    x: float
    y: float
    radius: float
    tilt: float

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """[n, 2] local points (x, y) in the units of the picture."""
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        x, y = points[:, 0], points[:, 1]
        turned = np.stack([cos * x - sin * y, sin * x + cos * y], -1)
        return turned * self.radius + (self.x, self.y)


class Part(NamedTuple):
    """One shape of an animal or a plant, and how to paint it.

    Attributes:
      shape: the outline, in local units; of the right one, if mirrored.
      role: name of the colour.
      group: what the shape belongs to, such as "ear"; "" for nothing in particular.
      mirror: whether a mirror image goes with it on the other side.
      face: whether it moves with the face when the head turns.
      solid: whether it counts to the silhouette.
      volume: 0 flat to 1 strongly rounded.
      shadow: darkness, 0 to 1, of the shadow it throws on what is beneath.
      fuzz: how far hair breaks up the outline.
      axis: where the mirror stands; off 0 for highlights, which are not symmetric.
      opacity: 1 to cover what is beneath.
    """

    shape: Shape
    role: str
    group: str = ""
    mirror: bool = True
    face: bool = False
    solid: bool = False
    volume: float = 0.0
    shadow: float = 0.0
    fuzz: float = 0.0
    axis: float = 0.0
    opacity: float = 1.0


class Canvas(NamedTuple):
    """An image being painted.

    Attributes:
      image: [3, S, S] float32, 0 to 1.
      mask: [S, S] float32, 0 to 1: the silhouette of the solid parts.
      light: (x, y) unit vector towards the light, in the picture.
      shade: how dark heads and plants stand out from what is behind: 1 by a full
        shadow, 0 not at all, below 0 by a glow, as of light from behind.
    """

    image: np.ndarray
    mask: np.ndarray
    light: tuple[float, float]
    shade: float

    @property
    def size(self) -> int:
        """Side in pixels."""
        return self.image.shape[-1]


class Frame:
    """A window of the canvas with the local coordinates of its pixels.

    Attributes:
      rows, columns: first and last + 1 pixel of the window.
      x, y: [H, W] float32 local coordinates of the pixel centres.
      unit: pixels in one local unit.
      light: (x, y) towards the light, in local directions.
    """

    def __init__(self, canvas: Canvas, pose: Pose, reach: float):
        """Opens the window that holds a local circle of radius `reach`."""
        size = canvas.size
        self.unit = pose.radius * size
        extent = reach * self.unit + 1
        self.rows = _span(pose.y * size, extent, 0, size)
        self.columns = _span(pose.x * size, extent, 0, size)
        cos, sin = math.cos(pose.tilt), math.sin(pose.tilt)
        # Of local to canvas, for window().
        self._turn = cos * self.unit, sin * self.unit
        self._origin = pose.x * size, pose.y * size
        scale = 1 / self.unit
        centres = _centres(size)
        across = centres[slice(*self.columns)] * scale - pose.x / pose.radius
        down = centres[slice(*self.rows), None] * scale - pose.y / pose.radius
        self.x = across * cos + down * sin
        self.y = down * cos - across * sin
        lx, ly = canvas.light
        self.light = lx * cos + ly * sin, ly * cos - lx * sin

    def window(self, part: Part, turn: tuple[float, float]):
        """First and last + 1 row and column that hold the part, in the canvas."""
        x, y, radius = part.shape.reach()
        margin = part.fuzz + (_SHADOW_REACH if part.shadow else 0)
        extent = (radius + margin) * self.unit
        # A mirrored pair is a segment between the two middles, swept by the circle.
        middle, half = (part.axis, abs(x - part.axis)) if part.mirror else (x, 0.0)
        if part.face:
            middle, y = middle + turn[0], y + turn[1]
        cos, sin = self._turn
        px = self._origin[0] + cos * middle - sin * y
        py = self._origin[1] + sin * middle + cos * y
        columns = _span(px, extent + 1 + abs(cos) * half, *self.columns)
        rows = _span(py, extent + 1 + abs(sin) * half, *self.rows)
        return rows, columns


@functools.lru_cache
def _centres(size: int) -> np.ndarray:
    """[S] float32 pixel centres along one side."""
    return np.arange(size, dtype=np.float32) + np.float32(0.5)


def _span(middle: float, extent: float, low: int, high: int) -> tuple[int, int]:
    """Pixels within `extent` of `middle` and within low to high."""
    first = min(max(math.floor(middle - extent), low), high)
    return first, max(min(math.ceil(middle + extent), high), first)


def paint(canvas, frame, part, colours, turn=(0.0, 0.0), hair=None):
    """Paints one part.

    Args:
      canvas: changed in place.
      frame: the local coordinates.
      part: what to paint.
      colours: by role [3, 1, 1], or [3, H, W] for all the frame.
      turn: shift of the face, in local units.
      hair: [H, W] the frame's fur strands, for a fuzzy outline.
    """
    (top, bottom), (left, right) = frame.window(part, turn)
    if top >= bottom or left >= right:
        return
    within = (
        slice(top - frame.rows[0], bottom - frame.rows[0]),
        slice(left - frame.columns[0], right - frame.columns[0]),
    )
    local_x, local_y = frame.x[within], frame.y[within]
    x, y = local_x, local_y
    if part.face:
        x, y = x - turn[0], y - turn[1]
    if part.mirror:
        x = np.abs(x - part.axis) + part.axis if part.axis else np.abs(x)
    distance = part.shape.distance(x, y)
    if part.fuzz and hair is not None:
        distance = distance + part.fuzz * hair[within]
    region = canvas.image[:, top:bottom, left:right]
    if part.shadow:
        depth = 1.0 - distance * (1 / _SHADOW_REACH)
        np.minimum(np.maximum(depth, 0.0, out=depth), 1.0, out=depth)
        depth *= depth
        depth *= part.shadow if part.face else part.shadow * canvas.shade
        region *= 1.0 - depth
    alpha = 0.5 - distance * frame.unit
    np.minimum(np.maximum(alpha, 0.0, out=alpha), part.opacity, out=alpha)
    colour = colours[part.role]
    if colour.shape[-1] > 1:
        colour = colour[(slice(None), *within)]
    if part.volume:
        colour = colour * _tone(distance, local_x, local_y, part, frame.light)
    region += alpha * (colour - region)
    if part.solid:
        mask = canvas.mask[top:bottom, left:right]
        np.maximum(mask, alpha, out=mask)


def _tone(distance, x, y, part, light):
    """[H, W] brightness of a rounded surface: dark at the rim, lit from one side."""
    depth = distance * (-1 / _ROUNDING)
    np.minimum(np.maximum(depth, 0.0, out=depth), 1.0, out=depth)
    tone = depth * (2.0 - depth)
    tone *= 0.38 * part.volume
    tone += 1.0 - 0.28 * part.volume
    slope = 0.2 * part.volume
    tone += x * (slope * light[0]) + y * (slope * light[1])
    return tone
