"""What lies about the animals: plants, blurred lights, parts of other kinds."""

import functools
import math

import numpy as np

from zf_jax.creatures import heads, palette
from zf_jax.creatures.fast_rng import FastRng
from zf_jax.creatures.painting import Canvas, Frame, Part, Pose, paint
from zf_jax.creatures.shapes import Ellipse, Leaf
from zf_jax.creatures.strokes import Line, Strokes, bow

# The knobs of difficulty: how many of each lie behind the animal (both ends included).
LIGHTS = (1, 3)
PLANTS = (2, 5)
PIECES = (2, 3)
# Loose parts are this large, from the middle to the outline, in head radii.
PIECE_REACH = (0.3, 0.62)
# ... but never enlarged more than this: a huge eye draws all the looks.
PIECE_GROWTH = 1.5
# How often something stands before the animal, and its size in head radii.
COVER_CHANCE = 0.4
COVER_LENGTH = (0.7, 1.1)
COVER_WIDTH = (0.1, 0.24)

# Parts that serve as distractors.
_GROUPS = ("ear", "ear", "ear", "horn", "horn", "beak", "muzzle", "eye")
# Loose parts come in this many makes of each kind, to be built but once.
_VARIANTS = 16


def lights(canvas: Canvas, dice: FastRng, colours) -> None:
    """Paints blurred discs, as far lights are out of focus."""
    for _ in range(dice.count(*LIGHTS)):
        pose = Pose(dice(), dice(), dice(0.05, 0.16), 0.0)
        disc = Part(Ellipse(0, 0, 1, 1), "disc", mirror=False, opacity=dice(0.12, 0.4))
        look = {"disc": palette.tint(dice, dice.pick(colours), 0.2)}
        paint(canvas, Frame(canvas, pose, 1.0), disc, look)


def plants(canvas: Canvas, dice: FastRng) -> None:
    """Paints leaves, twigs and blades of grass anywhere."""
    for _ in range(dice.count(*PLANTS)):
        pose = Pose(dice(), dice(), dice(0.08, 0.2), dice(-math.pi, math.pi))
        _plant(canvas, dice, pose, dice(0.15, 0.4))


def pieces(canvas: Canvas, dice: FastRng, kind: str, pose: Pose) -> None:
    """Paints loose parts of kinds other than `kind` around the animal at `pose`."""
    others = [other for other in heads.KINDS if other != kind]
    first = dice(-math.pi, math.pi)
    count = dice.count(*PIECES)
    for i in range(count):
        parts = _piece(dice.pick(others), dice.count(0, _VARIANTS - 1))
        # Centred on its own largest part, on a ring about the animal.
        x, y, reach = parts[0].shape.reach()
        angle = first + 2 * math.pi * (i + dice(0, 0.6)) / count
        distance = dice(0.36, 0.52)
        radius = pose.radius * min(dice(*PIECE_REACH) / reach, PIECE_GROWTH)
        tilt = dice(-math.pi, math.pi)
        ox, oy = Pose(0, 0, radius, tilt).place(np.array([(-x, -y)]))[0].tolist()
        place = Pose(
            0.5 + distance * math.cos(angle) + ox,
            0.5 + distance * math.sin(angle) + oy,
            radius,
            tilt,
        )
        frame = Frame(canvas, place, math.hypot(x, y) + reach + 0.3)
        look = palette.coat(dice)
        for part in parts:
            paint(canvas, frame, part, look)


def cover(canvas: Canvas, dice: FastRng, pose: Pose) -> None:
    """Now and then paints a plant before the animal at `pose`."""
    if not dice.chance(COVER_CHANCE):
        return
    angle, distance = dice(-math.pi, math.pi), dice(0.3, 1.2) * pose.radius
    place = Pose(
        pose.x + distance * math.cos(angle),
        pose.y + distance * math.sin(angle),
        pose.radius * dice(*COVER_LENGTH),
        dice(-math.pi, math.pi),
    )
    _plant(canvas, dice, place, dice(*COVER_WIDTH))


@functools.cache
def _piece(kind: str, variant: int) -> list[Part]:
    """One ear, horn, beak or eye of `kind`, without its mirror image."""
    dice = FastRng(np.random.default_rng([heads.KINDS.index(kind), variant]))
    group = dice.pick(_GROUPS)
    parts = heads.head(kind, dice)
    chosen = [part for part in parts if part.group == group]
    if not chosen:
        chosen = [part for part in parts if part.group == "ear"]
    return [part._replace(mirror=False, face=False, solid=False) for part in chosen]


def _plant(canvas: Canvas, dice: FastRng, pose: Pose, width: float) -> None:
    """Paints a leaf, a twig or a blade of about the length 2 in local units."""
    look = {"leaf": palette.tint(dice, dice.pick(palette.LEAVES), 0.08)}
    look["vein"] = look["leaf"] * (0.7 if dice.chance(0.5) else 1.25)
    form = dice()
    bend = dice(-0.5, 0.5)
    if form < 0.6:
        shape = Leaf(-1, 0, 1, 0, width)
        vein = Leaf(-1.25, 0, 0.9, 0, 0.04) if dice.chance(0.6) else None
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
        canvas, frame, Part(shape, "leaf", mirror=False, volume=0.7, shadow=0.3), look
    )
    if vein:
        paint(canvas, frame, Part(vein, "vein", mirror=False, opacity=0.7), look)
