"""Parts that frame a face: skull, ears, horns, hair and feathers."""

from zf_jax.creatures.painting import Part
from zf_jax.creatures.shapes import Ellipse, Leaf, Shape
from zf_jax.creatures.strokes import Line, Strokes, bow


def skull(shape: Shape, shadow: float = 0.5) -> Part:
    """The head itself."""
    return Part(
        shape,
        "fur",
        "head",
        mirror=False,
        solid=True,
        volume=1,
        shadow=shadow,
        fuzz=0.022,
    )


def ear(shape, inner=None, role="fur", shadow=0.3) -> list[Part]:
    """An ear, with its inside if given."""
    parts = [
        Part(shape, role, "ear", solid=True, volume=0.9, shadow=shadow, fuzz=0.015)
    ]
    if inner:
        parts.append(Part(inner, "inner", "ear", volume=0.7))
    return parts


def pointed(x0, y0, x1, y1, width, rim=0.55) -> tuple[Leaf, Leaf]:
    """A pointed ear from deep in the head (0) to its tip (1), and its inside."""
    dx, dy = x1 - x0, y1 - y0
    outer = Leaf(x0, y0, x1, y1, width)
    return outer, Leaf(
        x0 + 0.2 * dx, y0 + 0.2 * dy, x0 + 0.9 * dx, y0 + 0.9 * dy, width * rim
    )


def horn(line: Line, ridges=False) -> list[Part]:
    """A horn along a line that grows thinner."""
    parts = [Part(Strokes((line,)), "horn", "horn", solid=True, volume=1, shadow=0.4)]
    if ridges:
        parts.append(Part(Strokes(tuple(_ridges(line))), "dark", "horn", opacity=0.35))
    return parts


def _ridges(line: Line) -> list[Line]:
    """Short strokes across the horn."""
    ridges = []
    steps = len(line.points) - 1
    for i in range(1, steps - 2, 2):
        (x, y), (x1, y1) = line.points[i], line.points[i + 1]
        half = (line.start + (line.end - line.start) * i / steps) * 0.85
        dx, dy = x1 - x, y1 - y
        scale = half / (dx * dx + dy * dy) ** 0.5
        dx, dy = dx * scale, dy * scale
        ridges.append(Line(((x - dy, y + dx), (x + dy, y - dx)), 0.02, 0.02))
    return ridges


def brows(x, y, r) -> list[Part]:
    """Pale spots over the eyes."""
    return [Part(Ellipse(x, y, r, r * 0.55, -0.3), "second", face=True)]


def feathers(y, size) -> list[Part]:
    """Small dark feather tips below the beak."""
    lines = [
        Line(
            bow(
                (x - size / 2, y + dy),
                (x, y + dy + size * 1.2),
                (x + size / 2, y + dy),
                3,
            ),
            0.025,
            0.025,
        )
        for x, dy in ((0.2, 0.02), (0.45, -0.05))
    ]
    return [Part(Strokes(tuple(lines)), "shade", opacity=0.8)]


def tuft(y, size, count) -> list[Part]:
    """Locks of hair that fall over the forehead."""
    lines = []
    for i in range(count):
        x = (i - (count - 1) / 2) * size * 0.7
        lines.append(
            Line(
                bow((x * 0.4, y), (x * 1.2, y + 0.05), (x * 1.3, y + size * 1.4), 3),
                0.1,
                0.02,
            )
        )
    return [
        Part(
            Strokes(tuple(lines)),
            "second",
            mirror=False,
            solid=True,
            volume=0.5,
            shadow=0.25,
        )
    ]
