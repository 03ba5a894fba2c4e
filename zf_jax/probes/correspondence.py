"""Correspondence (section 4.3, Table 1): does a net know that images share a part?

The same part is occluded in several images of a class. Where the features of all images
change in the same way, the net relates the parts. Boxes at random positions are the
baseline.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.spatial import distance

from zf_jax import xla
from zf_jax.errors import BadInput
from zf_jax.layers import Pair
from zf_jax.probes import model_functions, occlusion_engine

# Not in the paper: a change below this share of the image's largest feature is rounding
# and counts as no change.
_ROUNDING = 1e-5


class Scores(NamedTuple):
    """How differently two images' features change, for every unordered pair.

    Attributes:
      all: [P] in 0..1, the share of features whose signs of change differ. This is the
        paper's score: its sum of Hamming distances is read as a mean over pairs and
        features, as its numbers suggest.
      changed: [P], the same share among the features that change in either image; 0
        where none does. Not in the paper: most rectified features stay 0 in both.
    """

    all: np.ndarray
    changed: np.ndarray

    def summary(self) -> dict[str, tuple[float, float]]:
        """The pairs' mean and sample standard deviation, by the scores' names.

        Of one pair the standard deviation is 0.
        """
        pairs = self._asdict().items()
        return {name: (float(x.mean()), _standard_deviation(x)) for name, x in pairs}


def _standard_deviation(x: np.ndarray) -> float:
    return float(x.std(ddof=1)) if len(x) > 1 else 0.0


def scores(signs: np.ndarray) -> Scores:
    """Compares how several images change when the same part is occluded.

    Args:
      signs: [N, D] of -1, 0 and 1: what `changes` gives for the part; or [N, B, D] for
        B parts, whose pairs follow each other in the result.

    Raises:
      BadInput: fewer than two images.
    """
    if len(signs) < 2:
        raise BadInput(f"{len(signs)} image: a correspondence is of two or more")
    if signs.ndim == 3:
        each = [scores(signs[:, box]) for box in range(signs.shape[1])]
        return Scores(*map(np.concatenate, zip(*each, strict=True)))
    differ = distance.pdist(np.asarray(signs, float), "hamming")
    still = (signs == 0).astype(np.float32)
    both = (still @ still.T)[np.triu_indices(len(still), 1)]
    # Of counts, so that a share of all is exactly 1.
    features = signs.shape[1]
    either = np.maximum(features - both.astype(float), 1)
    return Scores(differ, np.rint(differ * features) / either)


def changes(
    model_fn: Callable[[jax.Array], dict[str, jax.Array]],
    images: Iterable[np.ndarray],
    boxes: np.ndarray,
    *,
    fill: jax.Array | float = 0.0,
    batch_size: int = 64,
) -> Iterator[dict[str, np.ndarray]]:
    """Signs of x - x~, the features minus those of the occluded image.

    Each image takes one compiled call. Images of one size share its program. The
    weights that `model_fn` closes over are those it has at the first image.

    Args:
      model_fn: images [B, H, W, C] to the features of each layer, [B, ...].
      images: N of them, [H, W, C] float, as `model_fn` takes them.
      boxes: [N, B, 4] int, pixels: top, left, bottom, right, the last two excluded.
      fill: what a box shows, a number, or channels [C]; 0 is the mean colour for
        images that had their mean taken off. Not in the paper: the boxes' size and
        grey.
      batch_size: the most boxes that are computed together.

    Yields:
      [B, D] int8 by layer, the features flattened.

    Raises:
      BadInput: a box that covers nothing of its image or goes beyond it; or a
        `model_fn` that `model_functions.prepare` refuses.
    """
    # The first covers nothing: it gives x.
    boxes = np.pad(np.asarray(boxes, np.int32), ((0, 0), (1, 0), (0, 0)))
    size = occlusion_engine.balanced_chunk_size(batch_size, boxes.shape[1])
    filled = np.minimum(
        np.arange(math.ceil(boxes.shape[1] / size) * size), boxes.shape[1] - 1
    )
    programs = {}
    for number, (image, own) in enumerate(zip(images, boxes, strict=True)):
        _check(number, image, own[1:])
        if (key := (image.shape, image.dtype)) not in programs:
            programs[key] = model_functions.prepare(model_fn, size, *key)
        program = programs[key]
        shown = jnp.broadcast_to(jnp.asarray(fill, image.dtype), image.shape[-1:])
        chunks = own[filled].reshape(-1, size, 4)
        signs = _signs(program.apply, program.weights, image, chunks, shown)
        yield {name: np.asarray(each[: len(own) - 1]) for name, each in signs.items()}


def _check(number: int, image: np.ndarray, boxes: np.ndarray) -> None:
    height, width = image.shape[:2]
    top, left, bottom, right = boxes.T
    wrong = (top < 0) | (left < 0) | (bottom > height) | (right > width)
    wrong |= (bottom <= top) | (right <= left)
    if wrong.any():
        box = ", ".join(map(str, boxes[wrong][0]))
        raise BadInput(
            f"box ({box}) of image {number}: (top, left, bottom, right) has to lie in "
            f"{height}x{width} pixels and cover some"
        )


@functools.partial(xla.jit, static_argnames="apply")
def _signs(apply, weights, image, chunks, fill):
    """The signs under all boxes but the first, which covers nothing."""
    down, across = (jnp.arange(length)[None] for length in image.shape[:2])

    def features(boxes):
        top, left, bottom, right = boxes.T[..., None]
        covered = ((down >= top) & (down < bottom))[:, :, None]
        covered = covered & ((across >= left) & (across < right))[:, None, :]
        occluded = jnp.where(covered[..., None], fill[None, None, None], image[None])
        found = apply(weights, occluded)
        return {name: each.reshape(len(boxes), -1) for name, each in found.items()}

    def sign(found):
        found = found.reshape(-1, found.shape[-1])
        clean = found[:1]
        change = clean - found[1:]
        none = jnp.abs(change) <= _ROUNDING * jnp.abs(clean).max()
        return jnp.where(none, 0, jnp.sign(change)).astype(jnp.int8)

    return jax.tree.map(sign, lax.map(features, chunks))


def random_boxes(
    boxes: np.ndarray, shape: Pair, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Boxes at random positions in the image, with the sizes of `boxes` in turn.

    Not in the paper: where random boxes may lie; here anywhere, on a part too.

    Args:
      boxes: [B, 4] int, as `changes` takes them.
      shape: of the image, (rows, columns).
      count: how many boxes are drawn.
      rng: draws them.

    Returns:
      [count, 4] int.
    """
    sizes = (boxes[:, 2:] - boxes[:, :2])[np.arange(count) % len(boxes)]
    starts = rng.integers(0, np.array(shape) - sizes + 1)
    return np.concatenate([starts, starts + sizes], axis=1)
