"""Pictures of animal heads, each a function of (seed, split, index) alone."""

import functools
import math
from typing import NamedTuple

import numpy as np

from zf_jax.creatures import clutter, heads, noise, palette
from zf_jax.creatures.fast_rng import FastRng
from zf_jax.creatures.painting import Canvas, Frame, Part, Pose, paint

CLASSES = heads.CLASSES
SPLITS = ("train", "validation")
# The named parts; left and right as the viewer sees them.
PARTS = ("left_eye", "right_eye", "nose", "mouth", "left_ear", "right_ear")

# How difficult the pictures are: alike for all classes, so that none of these tells
# the class.
RADIUS = (0.23, 0.34)  # of the head, in sides of the picture
JITTER = 0.11  # of the silhouette's middle, either way, in sides of the picture
TILT = math.radians(25)  # at most, either way
TURN = 0.1  # of the face, either way, in head radii
HAIR = (0.03, 0.11)  # contrast of the fur
SHADE = (-0.7, 1.0)  # of a shadow (above 0) or glow (below) around the head
EXPOSURE = (0.88, 1.22)  # brightness of the whole
CAST = 0.06  # of the light's colour, either way

_FRAME_REACH = 2.5
# Of the scenery's colours (and a coat's patches), of its light and shade.
_EXPONENTS = (1.6, 1.1)
_LABEL_STREAM = 1


class Example(NamedTuple):
    """A picture and its annotations.

    Attributes:
      image: [S, S, 3] uint8 sRGB.
      mask: [S, S] uint8: 255 on the animal (also where something covers it), else 0.
      label: index of the class in `CLASSES`.
      parts: for each of `PARTS` its box (ymin, xmin, ymax, xmax), in sides of the
        picture, clipped to 0 to 1.
    """

    image: np.ndarray
    mask: np.ndarray
    label: int
    parts: dict[str, tuple[float, float, float, float]]


def draw(seed: int, split: str, index: int, size: int = 64) -> Example:
    """Draws one example.

    The same (seed, split, index) is the same picture at every size.

    Args:
      seed: number of the data set, at least 0.
      split: one of `SPLITS`.
      index: which example, at least 0.
      size: side in pixels, at least 64.

    Returns:
      The picture with its label, silhouette and boxes.
    """
    if size < 64:
        raise ValueError(f"size must be at least 64 pixels, got {size}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    stream = SPLITS.index(split)
    generator = np.random.default_rng([seed, stream, index])
    rng = FastRng(generator)
    label = _labels(seed, stream, index // len(CLASSES))[index % len(CLASSES)]
    class_name = CLASSES[label]
    parts = heads.head(class_name, rng)
    turn = rng(-TURN, TURN), rng(-TURN, TURN) / 2
    pose = _pose(class_name, rng)
    noises = noise.fields(generator, size, _EXPONENTS)
    canvas = _background(rng, noises)
    scene = canvas, rng
    clutter.plants(*scene)
    clutter.pieces(*scene, class_name, pose)
    # A field on its side serves as another: the coat is patched independently.
    _animal(*scene, parts, pose, turn, noises[0].T)
    clutter.cover(*scene, pose)
    return Example(
        _develop(*scene),
        (canvas.mask > 0.5).astype(np.uint8) * np.uint8(255),
        label,
        _boxes(parts, pose, turn),
    )


@functools.lru_cache(64)
def _labels(seed: int, stream: int, block: int) -> tuple[int, ...]:
    """Labels of a block of examples: every class once, in random order."""
    rng = np.random.default_rng([seed, stream, block, _LABEL_STREAM])
    return tuple(rng.permutation(len(CLASSES)).tolist())


@functools.lru_cache
def _middle(class_name: str) -> tuple[float, float]:
    """Middle of the silhouette's bounding box, of an animal of common measures."""
    parts = heads.head(class_name, lambda low, high: (low + high) / 2)
    points = np.concatenate([p.shape.outline() for p in parts if p.solid])
    # All classes are mirror symmetric.
    return 0.0, float(points[:, 1].min() + points[:, 1].max()) / 2


def _pose(class_name: str, rng: FastRng) -> Pose:
    """Where the head is: by the middle of its silhouette, ears and horns included."""
    x, y = 0.5 + rng(-JITTER, JITTER), 0.5 + rng(-JITTER, JITTER)
    pose = Pose(0.0, 0.0, rng(*RADIUS), rng(-TILT, TILT))
    dx, dy = pose.to_picture(np.array([_middle(class_name)]))[0].tolist()
    return pose._replace(x=x - dx, y=y - dy)


def _background(rng: FastRng, noises: np.ndarray) -> Canvas:
    """Far to near in a scene's three colours, with 1/f clouds and blurred lights."""
    size = noises.shape[-1]
    far, middle, near = (
        palette.tint(rng, colour) for colour in rng.pick(palette.SCENES)
    )
    down = (np.arange(size, dtype=np.float32)[:, None] + 0.5) / size
    depth = rng(-0.1, 0.3) + rng(0.3, 0.8) * down + rng(0.12, 0.25) * noises[0]
    image = far + np.minimum(np.maximum(2 * depth, 0), 1) * (middle - far)
    image += np.minimum(np.maximum(2 * depth - 1, 0), 1) * (near - middle)
    image += rng(0.04, 0.1) * noises[1]
    angle = rng(-math.pi, math.pi)
    light = math.cos(angle), math.sin(angle) * 0.4 - 0.6
    canvas = Canvas(image, np.zeros((size, size), np.float32), light, rng(*SHADE))
    clutter.lights(canvas, rng, (far[:, 0, 0].tolist(), middle[:, 0, 0].tolist()))
    return canvas


def _animal(canvas, rng, parts: list[Part], pose: Pose, turn, patches) -> None:
    """Paints the head: its colours, patches and fur, then part after part."""
    frame = Frame(canvas, pose, _FRAME_REACH)
    hair = noise.strands(frame.x, frame.y, rng())
    colours = palette.coat(rng)
    patches = patches[slice(*frame.rows), slice(*frame.columns)]
    grain = 1.0 + rng(*HAIR) * hair
    # Clouds of the second colour: none, soft or sharp edged.
    sharp, level = rng(0.5, 2.5), rng(0, 2.5)
    amount = np.minimum(np.maximum(sharp * (patches - level), 0), 0.6)
    fur = colours["fur"] + amount * (colours["second"] - colours["fur"])
    colours |= {"fur": fur * grain, "second": colours["second"] * grain}
    colours["shade"] = colours["fur"] * 0.8
    for part in parts:
        paint(canvas, frame, part, colours, turn, hair)


def _develop(canvas: Canvas, rng: FastRng) -> np.ndarray:
    """[S, S, 3] uint8: the canvas with exposure, colour cast and light fall-off."""
    gain = rng(*EXPOSURE) * np.float32(
        [1 + rng(-CAST, CAST), 1.0, 1 + rng(-CAST, CAST)]
    )
    x = np.linspace(-1, 1, canvas.size, dtype=np.float32)
    lx, ly = canvas.light
    slope = rng(0.03, 0.15)
    fall = (1 + slope * lx * x) + (slope * ly * x - 0.1 * x * x)[:, None] - 0.1 * x * x
    image = canvas.image * (fall * (255 * gain[:, None, None]))
    np.minimum(np.maximum(image, 0, out=image), 255, out=image)
    return np.ascontiguousarray(image.transpose(1, 2, 0).astype(np.uint8))


def _boxes(parts: list[Part], pose: Pose, turn) -> dict:
    """The boxes of all named parts."""
    flip = np.array((-1.0, 1.0))
    outlines = {}
    for group in ("ear", "eye", "nose", "mouth"):
        points, shift = _points(parts, group, turn)
        if group in ("ear", "eye"):
            outlines[f"left_{group}"] = points * flip + shift
            outlines[f"right_{group}"] = points + shift
        else:
            outlines[group] = np.concatenate([points, points * flip]) + shift
    blocks = [outlines[name] for name in PARTS]
    placed = pose.to_picture(np.concatenate(blocks))
    starts = np.cumsum([0] + [len(block) for block in blocks[:-1]])
    low = np.minimum.reduceat(placed, starts)
    high = np.maximum.reduceat(placed, starts)
    edges = np.concatenate([low[:, ::-1], high[:, ::-1]], 1)
    edges = np.minimum(np.maximum(edges, 0.0), 1.0).tolist()
    return {name: tuple(box) for name, box in zip(PARTS, edges, strict=True)}


def _points(parts: list[Part], group: str, turn):
    """[n, 2] outline of the group's right part as far as it shows, and its shift."""
    groups = [part.group for part in parts]
    first = groups.index(group)
    points = parts[first].shape.outline()
    skull = len(groups) - 1 - groups[::-1].index("head")
    if group == "mouth":
        shapes = [part.shape for part in parts if part.group == group]
        points = np.concatenate([shape.outline() for shape in shapes])
    elif first < skull:
        # An ear behind the head: less what the head hides of it.
        seen = parts[skull].shape.distance(points[:, 0], points[:, 1]) > -0.05
        points = points[seen]
    return points, np.array(turn if parts[first].face else (0.0, 0.0))
