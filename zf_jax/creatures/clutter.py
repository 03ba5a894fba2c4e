"""What lies about the animals: plants, blurred lights, parts of other classes."""

import functools
import math

import numpy as np

from zf_jax.creatures import heads, palette
from zf_jax.creatures.fast_rng import FastRng
from zf_jax.creatures.painting import Canvas, Frame, Part, Pose, paint
from zf_jax.creatures.shapes import Ellipse, Leaf
from zf_jax.creatures.strokes import Line, Strokes, bow

# How difficult the pictures are: so many of each lie behind the animal, at least and
# at most.
LIGHTS = (1, 3)
PLANTS = (2, 5)
PIECES = (2, 3)
# Loose parts are this large, from the middle to the outline, in head radii.
PIECE_REACH = (0.3, 0.62)
# ... but never enlarged more than this: a huge eye would draw all attention.
PIECE_GROWTH = 1.5
# How often something stands before the animal, and its size in head radii.
COVER_CHANCE = 0.4
COVER_LENGTH = (0.7, 1.1)
COVER_WIDTH = (0.1, 0.24)

# Parts that serve as distractors.
_GROUPS = ("ear", "ear", "ear", "horn", "horn", "beak", "muzzle", "eye")
# Loose parts come in this many variants of each class, to be built but once.
_VARIANTS = 16


def lights(canvas: Canvas, rng: FastRng, tones) -> None:
    """Paints blurred discs, as far lights are out of focus."""
    for _ in range(rng.count(*LIGHTS)):
        pose = Pose(rng(), rng(), rng(0.05, 0.16), 0.0)
        disc = Part(Ellipse(0, 0, 1, 1), "disc", mirror=False, opacity=rng(0.12, 0.4))
        colours = {"disc": palette.tint(rng, rng.pick(tones), 0.2)}
        paint(canvas, Frame(canvas, pose, 1.0), disc, colours)


def plants(canvas: Canvas, rng: FastRng) -> None:
    """Paints leaves, twigs and blades of grass anywhere."""
    for _ in range(rng.count(*PLANTS)):
        pose = Pose(rng(), rng(), rng(0.08, 0.2), rng(-math.pi, math.pi))
        _plant(canvas, rng, pose, rng(0.15, 0.4))


def pieces(canvas: Canvas, rng: FastRng, class_name: str, pose: Pose) -> None:
    """Paints loose parts of other classes around the animal at `pose`."""
    others = [other for other in heads.CLASSES if other != class_name]
    first = rng(-math.pi, math.pi)
    count = rng.count(*PIECES)
    for i in range(count):
        parts = _piece(rng.pick(others), rng.count(0, _VARIANTS - 1))
        # Centred on its own largest part, on a ring about the animal.
        x, y, reach = parts[0].shape.reach()
        angle = first + 2 * math.pi * (i + rng(0, 0.6)) / count
        distance = rng(0.36, 0.52)
        radius = pose.radius * min(rng(*PIECE_REACH) / reach, PIECE_GROWTH)
        tilt = rng(-math.pi, math.pi)
        ox, oy = Pose(0, 0, radius, tilt).to_picture(np.array([(-x, -y)]))[0].tolist()
        piece_pose = Pose(
            0.5 + distance * math.cos(angle) + ox,
            0.5 + distance * math.sin(angle) + oy,
            radius,
            tilt,
        )
        frame = Frame(canvas, piece_pose, math.hypot(x, y) + reach + 0.3)
        colours = palette.coat(rng)
        for part in parts:
            paint(canvas, frame, part, colours)


def cover(canvas: Canvas, rng: FastRng, pose: Pose) -> None:
    """Now and then paints a plant before the animal at `pose`."""
    if not rng.chance(COVER_CHANCE):
        return
    angle, distance = rng(-math.pi, math.pi), rng(0.3, 1.2) * pose.radius
    plant_pose = Pose(
        pose.x + distance * math.cos(angle),
        pose.y + distance * math.sin(angle),
        pose.radius * rng(*COVER_LENGTH),
        rng(-math.pi, math.pi),
    )
    _plant(canvas, rng, plant_pose, rng(*COVER_WIDTH))


@functools.cache
def _piece(class_name: str, variant: int) -> list[Part]:
    """One ear, horn, beak or eye of `class_name`, without its mirror image."""
    rng = FastRng(np.random.default_rng([heads.CLASSES.index(class_name), variant]))
    group = rng.pick(_GROUPS)
    parts = heads.head(class_name, rng)
    chosen = [part for part in parts if part.group == group]
    if not chosen:
        chosen = [part for part in parts if part.group == "ear"]
    return [part._replace(mirror=False, face=False, solid=False) for part in chosen]


def _plant(canvas: Canvas, rng: FastRng, pose: Pose, width: float) -> None:
    """Paints a leaf, a twig or a blade of about the length 2 in local units."""
    colours = {"leaf": palette.tint(rng, rng.pick(palette.LEAVES), 0.08)}
    colours["vein"] = colours["leaf"] * (0.7 if rng.chance(0.5) else 1.25)
    form = rng()
    bend = rng(-0.5, 0.5)
    if form < 0.6:
        shape = Leaf(-1, 0, 1, 0, width)
        vein = Leaf(-1.25, 0, 0.9, 0, 0.04) if rng.chance(0.6) else None
    elif form < 0.8:
        points = bow((-1.1, 0), (0, bend), (1.1, bend), 4)
        shape = Strokes((Line(points, width * 0.4, 0.02),))
        vein = None
    else:
        points = bow((-1.1, 0), (0, bend), (1.1, 0), 3)
        bud = Line(((0.3, bend * 0.4), (0.7, bend * 0.4 - 0.4)), 0.06, 0.03)
        shape = Strokes((Line(points, 0.09, 0.05), bud))
        vein = None
    frame = Frame(canvas, pose, 1.5)
    paint(
        canvas,
        frame,
        Part(shape, "leaf", mirror=False, volume=0.7, shadow=0.3),
        colours,
    )
    if vein:
        paint(canvas, frame, Part(vein, "vein", mirror=False, opacity=0.7), colours)
