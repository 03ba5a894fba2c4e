"""Occlusion (section 4.2, fig. 7): what changes as a grey square covers the image.

The square's top left corner stands at multiples of the stride, as often as it takes to
cover the whole image, ceil((H - side) / stride) + 1 times down and likewise across;
the last square is cropped by the border (to nothing, where a stride above the side
leads beyond). Readings come back on that grid, one per
position, and are never resized to the image.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zf_jax.errors import BadInput
from zf_jax.layers import Pair, pair
from zf_jax.transforms import closure

Read = Callable[[jax.Array], Any]

# Bytes that the values of one chunk may take, by backend: a start, not yet tuned.
_BUDGET = {"cpu": 64 << 20}
_BUDGET_ACCELERATOR = 2 << 30
_LARGEST_CHUNK = 256


class Grid(NamedTuple):
    """Where the squares stand.

    Attributes:
      rows: row of each square's top edge, pixels.
      columns: column of each square's left edge, pixels.
      side: rows and columns of the square.
    """

    rows: range
    columns: range
    side: Pair


def grid(shape: Pair, side: int | Pair, stride: int | Pair) -> Grid:
    """The squares' positions over an image of `shape` (rows, columns).

    Raises:
      BadInput: side or stride below 1, or larger than the image (a stride only where
        there is more than one place).
    """
    side, stride = pair(side), pair(stride)
    if min(side) < 1 or min(stride) < 1:
        raise BadInput(f"side {side}, stride {stride}: both start at 1 pixel")
    for n, s, t in zip(shape, side, stride, strict=True):
        if s > n or t > n > s:
            raise BadInput(
                f"side {side}, stride {stride}: larger than the image of "
                f"{shape[0]}x{shape[1]} pixels"
            )
    rows, columns = (
        range(0, math.ceil((n - s) / t) * t + 1, t)
        for n, s, t in zip(shape, side, stride, strict=True)
    )
    return Grid(rows, columns, side)


def sweep(
    read: Read,
    image: jax.Array,
    *,
    side: int | Pair = 32,
    stride: int | Pair = 8,
    fill: jax.Array | float = 0.0,
    batch_size: int | None = None,
    method: Literal["full"] = "full",
) -> Any:
    """Reads the image with the square at every position, in one compiled call.

    `read` is compiled once per function, shapes, side and stride; the arrays that it
    closes over enter the compiled call as arguments, as they were when it was traced
    (`transforms.closure`): for changed weights pass another function.

    Args:
      read: any JAX function of [B, H, W, C] images to a pytree of [B, ...] arrays,
        which treats the images one by one.
      image: [H, W, C], or [N, H, W, C], float, as `read` takes them.
      side: of the square, pixels; a number or (rows, columns).
      stride: between positions, pixels; a number or (rows, columns).
      fill: what the square shows, in the image's units: a number, a colour [C], or an
        image [H, W, C] or [H, W, 1] that is seen at the square's place (one for each
        image, [N, H, W, C], too). 0 is the mean colour for images that had their mean
        taken off.
        Not in the paper: side, stride and grey.
      batch_size: positions computed together. None takes what fits the backend.
      method: "full" computes every position from the pixels up.

    Returns:
      The pytree of `read` with leaves [R, S, ...], or [N, R, S, ...] for images: R and
      S are the grid's rows and columns.

    Raises:
      BadInput: side, stride, fill, batch_size or method out of range, or a `read` whose
        result does not begin with the axis of images.
    """
    image = jnp.asarray(image)
    images = image if image.ndim == 4 else image[None]
    if image.ndim not in (3, 4):
        raise BadInput(f"image of shape {image.shape}: give [H, W, C] or [N, H, W, C]")
    if method != "full":
        raise BadInput(f"method {method!r}: there is 'full'")
    count, *shape, _ = images.shape
    squares = grid(tuple(shape), side, stride)
    total = count * len(squares.rows) * len(squares.columns)
    if batch_size is None:
        batch_size = _fitting(read, images)
    if batch_size < 1:
        raise BadInput(f"batch_size {batch_size}: starts at 1")
    chunks = math.ceil(total / batch_size)
    program = _program(
        read, (math.ceil(total / chunks), *images.shape[1:]), image.dtype
    )
    readings = _full(
        program.apply, program.weights, images, _filling(fill, images), squares, chunks
    )
    if image.ndim == 4:
        return readings
    return jax.tree.map(lambda leaf: leaf[0], readings)


def _filling(fill, images: jax.Array) -> jax.Array:
    fill = jnp.asarray(fill, images.dtype)
    one = images.shape[1:]
    allowed = ((), one[-1:], one, (*one[:2], 1), images.shape)
    if fill.shape not in allowed:
        raise BadInput(
            f"fill of shape {fill.shape}: give a number, a colour {one[-1:]} or an "
            f"image {one}"
        )
    fill = fill.reshape((1,) * (4 - fill.ndim) + fill.shape)
    return jnp.broadcast_to(fill, images.shape) if len(fill) > 1 else fill


def _program(read: Read, shape: tuple[int, ...], dtype) -> closure.Hoisted:
    program = closure.hoist(read, jax.ShapeDtypeStruct(shape, dtype))
    for leaf in jax.tree.leaves(program.result):
        if leaf.shape[:1] != shape[:1]:
            raise BadInput(
                f"read gives {leaf.shape} for {shape[0]} images: every result must "
                "begin with the axis of images"
            )
    return program


def _fitting(read: Read, images: jax.Array) -> int:
    """How many positions fit the backend's budget, by the largest value in `read`."""
    program = _program(read, (1, *images.shape[1:]), images.dtype)
    example = jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)
    traced = jax.make_jaxpr(program.apply)(program.weights, example)
    sizes = [
        sum(v.aval.size * v.aval.dtype.itemsize for v in equation.outvars)
        for equation in traced.eqns
    ]
    largest = max(sizes, default=images[0].nbytes)
    budget = _BUDGET.get(jax.default_backend(), _BUDGET_ACCELERATOR)
    return max(1, min(_LARGEST_CHUNK, budget // (4 * largest)))


@functools.partial(jax.jit, static_argnames=("apply", "squares", "chunks"))
def _full(apply, weights, images, fill, squares: Grid, chunks: int):
    count, height, width, _ = images.shape
    rows, columns = len(squares.rows), len(squares.columns)
    total = count * rows * columns
    size = math.ceil(total / chunks)
    # The last chunk is filled up with its last position, computed again.
    places = jnp.minimum(jnp.arange(chunks * size), total - 1).reshape(chunks, size)

    def occlude(place):
        row = place // columns % rows * squares.rows.step
        column = place % columns * squares.columns.step
        down, across = jnp.arange(height), jnp.arange(width)
        covered = ((down >= row) & (down < row + squares.side[0]))[:, None] & (
            (across >= column) & (across < column + squares.side[1])
        )[None, :]
        which = place // (rows * columns)
        patch = fill[which] if len(fill) > 1 else fill[0]
        return jnp.where(covered[..., None], patch, images[which])

    readings = lax.map(lambda chunk: apply(weights, jax.vmap(occlude)(chunk)), places)
    return jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:total].reshape(
            count, rows, columns, *leaf.shape[2:]
        ),
        readings,
    )


def attribution(
    clean: jax.Array,
    occluded: jax.Array,
    *,
    side: int | Pair,
    stride: int | Pair,
    shape: Pair,
) -> jax.Array:
    """Captum's map: per pixel, the mean loss over the squares that covered it.

    Args:
      clean: [...], the reading of the image itself.
      occluded: [R, S, ...], the same reading from `sweep`.
      side: as given to `sweep`.
      stride: as given to `sweep`, at most the side: every pixel must be covered.
      shape: the image's (rows, columns).

    Returns:
      [H, W, ...]: positive where covering the pixel lowers the reading.

    Raises:
      BadInput: a grid of another size, or a stride that leaves pixels uncovered.
    """
    squares = grid(tuple(shape), side, stride)
    want = len(squares.rows), len(squares.columns)
    if occluded.shape[:2] != want:
        raise BadInput(f"occluded of shape {occluded.shape}: the grid is {want}")
    down, across = (
        _covers(starts, side, length)
        for starts, side, length in zip(squares[:2], squares.side, shape, strict=True)
    )
    counts = down.sum(0)[:, None] * across.sum(0)[None, :]
    if not counts.all():
        raise BadInput(f"stride {stride}: larger than the side {side}, leaves gaps")
    change = jnp.asarray(clean)[None, None] - occluded
    lost = jnp.einsum("rh,sw,rs...->hw...", down, across, change, precision="highest")
    return lost / counts.reshape(*counts.shape, *(1,) * (lost.ndim - 2))


def _covers(starts: range, side: int, length: int) -> np.ndarray:
    """[positions, pixels] float32: 1 where the square from that start covers one."""
    starts, pixels = np.asarray(starts)[:, None], np.arange(length)[None, :]
    return ((pixels >= starts) & (pixels < starts + side)).astype(np.float32)
