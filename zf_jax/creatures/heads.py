"""The anatomy of the ten classes: what tells them apart is the shape of their parts.

Lengths are in head radii, the origin is the middle of the head, y points down and x
to the right. A mirrored part is given for the right side. Parts are listed from back
to front. Every class has the groups "ear", "eye", "nose" and "mouth". The first part
of an ear, an eye or a nose holds the others; a mouth is all its parts together.
"""

import math
from collections.abc import Callable

from zf_jax.creatures import faces, skulls
from zf_jax.creatures.fast_rng import FastRng
from zf_jax.creatures.painting import Part
from zf_jax.creatures.shapes import Blend, Ellipse, Leaf
from zf_jax.creatures.strokes import Line, bow

# Each measure of each animal differs from its class's by up to this fraction.
VARIETY = 0.07


def head(class_name: str, rng: FastRng) -> list[Part]:
    """The parts of one animal of `class_name`, from back to front."""

    def near(value: float) -> float:
        return value * rng(1 - VARIETY, 1 + VARIETY)

    return _CLASSES[class_name](near)


def _bear(n) -> list[Part]:
    x, y, r = n(0.72), -n(0.72), n(0.34)
    return [
        *skulls.ear(Ellipse(x, y, r, r), Ellipse(x, y + 0.04, r * 0.58, r * 0.58)),
        skulls.skull(Ellipse(0, 0, 1.0, n(0.9), 0, 0.12)),
        *faces.muzzle(Ellipse(0, 0.4, n(0.46), n(0.38))),
        *faces.smile(0.42, 0.6, n(0.2), 0.1),
        *faces.nose(Ellipse(0, 0.24, n(0.19), n(0.13), 0, -0.3)),
        *faces.bead_eye(n(0.36), -0.14, n(0.095)),
    ]


def _cat(n) -> list[Part]:
    return [
        *skulls.ear(*skulls.pointed(0.3, 0.1, n(0.84), -n(1.2), n(0.42))),
        skulls.skull(
            Blend((Ellipse(0, 0, 0.95, n(0.78)), Ellipse(0, 0.25, n(1.02), 0.5)), 0.4)
        ),
        *faces.muzzle(Ellipse(0.19, 0.4, n(0.25), n(0.19)), mirror=True),
        *faces.smile(0.34, 0.46, n(0.26), 0.12, cleft=True),
        *faces.nose(Ellipse(0, 0.25, n(0.12), n(0.085), 0, -0.7)),
        *faces.almond_eye(n(0.45), -0.1, n(0.25), n(0.17), 0.2, upright=True),
        *faces.whiskers(0.3, 0.4, n(0.85), 3),
    ]


def _cow(n) -> list[Part]:
    tip = n(0.95), -n(1.42)
    horn = Line(bow((0.38, -0.72), (n(1.02), -0.8), tip), n(0.17), 0.04)
    return [
        *skulls.ear(*skulls.pointed(0.3, -0.5, n(1.45), -n(0.25), n(0.24)), shadow=0.2),
        *skulls.horn(horn),
        skulls.skull(
            Blend((Ellipse(0, -0.25, n(0.74), 0.68), Ellipse(0, 0.5, 0.6, 0.48)), 0.3)
        ),
        *faces.muzzle(Ellipse(0, 0.62, n(0.68), n(0.4)), group="nose"),
        *faces.nostrils(n(0.3), 0.52, n(0.1), 0.07, -0.5),
        *faces.smile(0.74, 0.84, n(0.36), 0.05),
        *faces.bead_eye(n(0.48), -0.2, n(0.13)),
        *skulls.tuft(-0.78, n(0.26), 3),
    ]


def _dog(n) -> list[Part]:
    flop = Ellipse(n(0.93), n(0.12), n(0.29), n(0.72), -n(0.16), 0.35)
    return [
        skulls.skull(
            Blend((Ellipse(0, -0.1, n(0.84), 0.8), Ellipse(0, 0.4, 0.6, 0.5)), 0.3)
        ),
        *skulls.ear(flop, role="shade", shadow=0.45),
        *faces.muzzle(Ellipse(0, 0.42, n(0.46), n(0.42))),
        *faces.tongue(0.74, n(0.15), n(0.24)),
        *faces.smile(0.42, 0.66, n(0.34), 0.12, cleft=True),
        *faces.nose(Ellipse(0, 0.2, n(0.22), n(0.16), 0, -0.35)),
        *faces.bead_eye(n(0.37), -0.24, n(0.13)),
        *skulls.brows(0.38, -0.5, n(0.13)),
    ]


def _fox(n) -> list[Part]:
    ruff = Leaf(-0.3, n(0.92), n(1.2), n(0.16), n(0.29))
    skull = Ellipse(0, -0.2, n(0.88), 0.58), Ellipse(0, 0.36, 0.4, 0.68, 0, -0.55)
    return [
        *skulls.ear(*skulls.pointed(0.3, 0.1, n(0.74), -n(1.42), n(0.36))),
        Part(ruff, "second", "ruff", solid=True, volume=1, shadow=0.4, fuzz=0.03),
        skulls.skull(Blend(skull, 0.25), 0.2),
        *faces.muzzle(Ellipse(0, 0.84, n(0.25), n(0.26))),
        *faces.smile(0.9, 0.97, n(0.17), 0.05),
        *faces.nose(Ellipse(0, n(0.78), n(0.15), n(0.12), 0, -0.3)),
        *faces.almond_eye(n(0.42), -0.06, n(0.22), n(0.11), 0.45, upright=True),
    ]


def _mouse(n) -> list[Part]:
    x, y, r = n(0.92), -n(0.66), n(0.62)
    return [
        *skulls.ear(Ellipse(x, y, r, r), Ellipse(x, y + 0.02, r * 0.74, r * 0.74)),
        skulls.skull(Ellipse(0, 0.05, n(0.74), n(0.86), 0, -0.45)),
        *faces.muzzle(Ellipse(0, 0.66, n(0.26), 0.24)),
        *faces.smile(0.76, 0.84, n(0.14), 0.06),
        *faces.nose(Ellipse(0, n(0.62), n(0.13), n(0.11))),
        *faces.bead_eye(n(0.36), 0.02, n(0.13)),
        *faces.whiskers(0.2, 0.7, n(0.7), 3),
    ]


def _owl(n) -> list[Part]:
    x, r = n(0.44), n(0.5)
    beak = Leaf(0, -0.02, 0, n(0.62), n(0.17))
    tuft = Leaf(0.1, -0.25, n(1.02), -n(1.25), n(0.2))
    return [
        *skulls.ear(tuft, shadow=0.2),
        skulls.skull(
            Blend((Ellipse(0, 0, 1.0, n(0.9)), Ellipse(0, 0.3, 0.9, 0.6)), 0.3)
        ),
        Part(Ellipse(x, -0.02, r, r), "second", face=True, volume=0.8, shadow=0.3),
        *faces.ring_eye(x, -0.04, n(0.3), n(0.16)),
        Part(_brow(n), "shade", face=True, volume=0.4),
        *faces.beak(beak),
        *skulls.feathers(0.66, n(0.13)),
    ]


def _brow(n) -> Leaf:
    """An owl's stern brow, from the beak to the tuft."""
    return Leaf(0.02, -0.12, n(0.92), -n(0.72), n(0.11))


def _pig(n) -> list[Part]:
    fold = Leaf(n(0.42), -1.12, n(1.08), -n(0.2), n(0.3))
    x, y, rx, ry = 0, 0.32, n(0.46), n(0.36)
    return [
        skulls.skull(Ellipse(0, 0.02, 1.0, n(0.9), 0, 0.1)),
        *skulls.ear(fold, shadow=0.45),
        *faces.smile(0.72, 0.76, n(0.34), 0.1),
        *faces.muzzle(Ellipse(x, y, rx, ry), group="nose"),
        Part(
            Ellipse(x, y, rx * 0.8, ry * 0.76),
            "inner",
            "nose",
            mirror=False,
            face=True,
            volume=0.8,
        ),
        *faces.nostrils(n(0.17), 0.32, n(0.085), 0.14, 0.1),
        *faces.bead_eye(n(0.46), -0.2, n(0.09)),
    ]


def _rabbit(n) -> list[Part]:
    x, y, turn = n(0.38), -n(1.15), n(0.16)
    return [
        *skulls.ear(
            Ellipse(x, y, n(0.23), n(0.8), turn, -0.12),
            Ellipse(x, y, n(0.12), n(0.62), turn, -0.12),
        ),
        skulls.skull(
            Blend((Ellipse(0, 0, n(0.8), 0.82), Ellipse(0, 0.34, n(0.9), 0.5)), 0.4)
        ),
        *faces.muzzle(Ellipse(0.17, 0.42, n(0.22), n(0.18)), mirror=True),
        *faces.teeth(0.6, n(0.1), n(0.17)),
        *faces.smile(0.36, 0.5, n(0.2), 0.1, cleft=True),
        *faces.nose(Ellipse(0, 0.28, n(0.11), n(0.07), 0, -0.6)),
        *faces.bead_eye(n(0.52), -0.08, n(0.15)),
    ]


def _ram(n) -> list[Part]:
    size, points = n(0.6), []
    for i in range(15):
        angle = math.radians(-135 + 27 * i)
        r = size * (1 - 0.045 * i)
        points.append((0.86 + r * math.cos(angle) * 0.92, -0.28 + r * math.sin(angle)))
    wool = [Ellipse(0, -0.72, n(0.3), 0.28)]
    wool += [Ellipse(s * n(0.32), -0.62, n(0.26), 0.24) for s in (-1, 1)]
    return [
        *skulls.ear(Leaf(0.35, 0.1, n(1.1), n(0.62), n(0.17))),
        skulls.skull(Ellipse(0, 0.08, n(0.66), n(0.96), 0, -0.22)),
        *skulls.horn(Line(tuple(points), n(0.23), 0.06), ridges=True),
        Part(
            Blend(tuple(wool), 0.1),
            "second",
            mirror=False,
            solid=True,
            volume=1,
            shadow=0.3,
            fuzz=0.02,
        ),
        *faces.muzzle(Ellipse(0, 0.72, n(0.36), 0.28)),
        *faces.smile(0.76, 0.88, n(0.2), 0.05, cleft=True),
        *faces.nose(Ellipse(0, 0.62, n(0.2), n(0.1), 0, -0.7)),
        *faces.almond_eye(n(0.36), -0.02, n(0.15), n(0.12), -0.1, upright=False),
    ]


_CLASSES: dict[str, Callable[[Callable[[float], float]], list[Part]]] = {
    "bear": _bear,
    "cat": _cat,
    "cow": _cow,
    "dog": _dog,
    "fox": _fox,
    "mouse": _mouse,
    "owl": _owl,
    "pig": _pig,
    "rabbit": _rabbit,
    "ram": _ram,
}
CLASSES = tuple(_CLASSES)
