"""Graphs that are written for a fixed number of images, given any number.

Exporters fix the number of images, mostly to 1, unless they are told otherwise, and
write it into the shapes that `Reshape` makes. Where the images lie along the first axis
before and after, as in most nets, that axis becomes as long as there are images. Other
graphs are computed image by image, under `jax.vmap`.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from zf_jax.errors import BadInput
from zf_jax.pretrained.onnx_graph import Graph
from zf_jax.pretrained.onnx_ops.table import Array

# Of params by name and images as the graph takes them.
Run = Callable[[Mapping[str, Array], jax.Array], tuple[jax.Array, ...]]

# How many times as many images a graph is tried with before it is trusted. A prime
# that divides no number of patches of a square image, with or without a class token.
_TRIED = 47


def runner(
    graph: Graph,
    image: str,
    params: Mapping[str, Array],
    shape: tuple[int, ...],
    written: int | None,
) -> Run:
    """A function of any number of images that computes the graph.

    Args:
      graph: as it was read.
      image: name of the graph's input.
      params: by name, or their shapes; the function takes them as its first argument.
      shape: of one image as the graph takes it, without the axis of the images.
      written: the number of images that the graph is written for; None for any.

    Raises:
      BadInput: a node cannot be computed for images of that shape, or the graph needs
        as many images as it is written for.
    """

    def on_batch(values: Mapping[str, Array], images: jax.Array):
        repeats = Fraction(len(images), written or len(images))
        return graph.evaluate({image: images, **values}, repeats=repeats)

    def apart(values: Mapping[str, Array], images: jax.Array):
        def one(own):
            found = graph.evaluate({image: own[None], **values}, tag=_tag_one)
            return tuple(each[0] for each in map(jnp.asarray, found))

        return jax.vmap(one)(images)

    def shapes(run: Run, count: int):
        given = jax.ShapeDtypeStruct((count, *shape), np.float32)
        found = jax.eval_shape(run, params, given)
        return [each.shape for each in found]

    if written is None:
        shapes(on_batch, 2)
        return on_batch
    wanted = shapes(on_batch, written)
    try:
        many = shapes(on_batch, _TRIED * written)
    except BadInput as reason:
        if written > 1:
            raise BadInput(
                f"is written for {written} images at a time ({reason}); export it for "
                "one image, or for any number"
            ) from None
        many = None
    if many == [(_TRIED * count, *rest) for count, *rest in wanted]:
        return on_batch
    shapes(apart, 2)
    return apart


def _tag_one(value: jax.Array, name: str) -> jax.Array:
    """Under `vmap` the name is that of the values of all images: [N, ...]."""
    if value.ndim and value.shape[0] == 1:
        return checkpoint_name(value[0], name)[None]
    return checkpoint_name(value, name)
