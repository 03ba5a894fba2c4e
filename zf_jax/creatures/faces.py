"""Parts that several classes share in different measures: eyes, noses, mouths."""

from zf_jax.creatures.painting import Part
from zf_jax.creatures.shapes import Ellipse, Leaf
from zf_jax.creatures.strokes import Line, Strokes, bow


def _glint(x, y, size) -> Part:
    """Highlights of both eyes, on the same side of each."""
    shape = Ellipse(x - 0.3 * size, y - 0.35 * size, size * 0.32, size * 0.32)
    # Mirrored about where the left eye's highlight ends up shifted alike.
    return Part(shape, "white", "eye", face=True, axis=-0.3 * size)


def bead_eye(x, y, r) -> list[Part]:
    """A round dark eye in a shaded socket."""
    return [
        Part(Ellipse(x, y, r, r * 1.05), "dark", "eye", face=True, shadow=0.45),
        Part(
            Ellipse(x, y + 0.3 * r, r * 0.62, r * 0.5),
            "iris",
            "eye",
            face=True,
            opacity=0.45,
        ),
        _glint(x, y, r),
    ]


def almond_eye(x, y, half, width, slant, upright) -> list[Part]:
    """A pointed eye, its pupil `upright` or lying; `slant` lifts the outer corner."""
    rise = slant * half
    lids = Leaf(x - half, y + rise, x + half, y - rise, width)
    rim = Leaf(x - half * 1.25, y + rise, x + half * 1.25, y - rise, width * 1.3)
    if upright:
        pupil = Ellipse(x, y, width * 0.34, width * 0.9)
    else:
        pupil = Ellipse(x, y, half * 0.6, width * 0.3)
    return [
        Part(rim, "dark", "eye", face=True, shadow=0.3),
        Part(lids, "iris", "eye", face=True),
        Part(pupil, "dark", "eye", face=True),
        _glint(x, y, width * 0.9),
    ]


def ring_eye(x, y, r, pupil) -> list[Part]:
    """A big round eye with a bright iris all round."""
    return [
        Part(Ellipse(x, y, r * 1.12, r * 1.12), "dark", "eye", face=True),
        Part(Ellipse(x, y, r, r), "iris", "eye", face=True, volume=0.8),
        Part(Ellipse(x, y, pupil, pupil), "dark", "eye", face=True),
        _glint(x, y, r * 0.7),
    ]


def muzzle(shape, mirror=False, group="muzzle") -> list[Part]:
    """The raised middle of the face, in the second fur."""
    return [
        Part(
            shape,
            "second",
            group,
            mirror,
            face=True,
            solid=True,
            volume=0.9,
            shadow=0.3,
        )
    ]


def nose(shape) -> list[Part]:
    """A nose pad with a wet highlight."""
    shine = Ellipse(
        shape.x - shape.rx * 0.25,
        shape.y - shape.ry * 0.4,
        shape.rx * 0.34,
        shape.ry * 0.25,
    )
    return [
        Part(shape, "nose", "nose", mirror=False, face=True, volume=0.8, shadow=0.35),
        Part(shine, "white", "nose", mirror=False, face=True, opacity=0.7),
    ]


def nostrils(x, y, rx, ry, turn) -> list[Part]:
    """Two dark holes."""
    return [Part(Ellipse(x, y, rx, ry, turn), "dark", "nose", face=True)]


def smile(top, y, width, rise, cleft=False) -> list[Part]:
    """A mouth line that rises outward; `cleft` joins it to the nose at `top`."""
    middle = 0.02 if cleft else 0.0
    corner = bow((middle, y), (width * 0.7, y + rise * 1.2), (width, y - rise))
    lines = [Line(corner, 0.032, 0.018)]
    if cleft:
        lines.append(Line(((0, top), (0, y)), 0.026, 0.03))
    return [Part(Strokes(tuple(lines)), "line", "mouth", face=True, opacity=0.85)]


def tongue(y, width, length) -> list[Part]:
    """A tongue that hangs from the mouth."""
    shape = Ellipse(0, y + length * 0.6, width, length, 0, 0.15)
    return [
        Part(shape, "tongue", "mouth", mirror=False, face=True, solid=True, volume=0.7)
    ]


def teeth(y, width, length) -> list[Part]:
    """Two long front teeth."""
    return [
        Part(
            Ellipse(width * 0.85, y + length * 0.4, width, length),
            "white",
            "mouth",
            face=True,
            shadow=0.3,
            volume=0.3,
            solid=True,
        )
    ]


def whiskers(x, y, length, count) -> list[Part]:
    """A fan of fine hairs on each side."""
    lines = []
    for i in range(count):
        rise = (i - (count - 1) / 2) * 0.22
        start = (x, y + rise * 0.3)
        end = (x + length, y + rise * 1.5 - 0.06)
        middle = ((x + end[0]) / 2, (start[1] + end[1]) / 2 - 0.07)
        lines.append(Line(bow(start, middle, end, 2), 0.022, 0.01))
    return [Part(Strokes(tuple(lines)), "whisker", "whiskers", face=True, opacity=0.85)]


def beak(shape: Leaf) -> list[Part]:
    """A hooked beak: the upper half counts as nose, the tip as mouth."""
    split = shape.y0 + 0.55 * (shape.y1 - shape.y0)
    gape = Ellipse(
        0, (split + shape.y1) / 2, shape.width * 0.55, (shape.y1 - split) / 2
    )
    cere = Ellipse(
        0, (shape.y0 + split) / 2, shape.width * 0.95, (split - shape.y0) / 2
    )
    line = Strokes(
        (
            Line(
                bow(
                    (0, split + 0.05),
                    (0.06, split + 0.05),
                    (shape.width * 0.7, split - 0.04),
                    3,
                ),
                0.025,
                0.015,
            ),
        )
    )
    return [
        Part(cere, "horn", "nose", mirror=False, face=True),
        Part(gape, "horn", "mouth", mirror=False, face=True),
        Part(shape, "horn", "beak", mirror=False, face=True, volume=1, shadow=0.4),
        Part(line, "dark", "mouth", face=True, opacity=0.6),
    ]
