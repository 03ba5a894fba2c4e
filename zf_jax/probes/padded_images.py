"""Images of many sizes through one compiled program, exactly.

Every size of image compiles a program of its own, which takes longer than running it.
Here images are padded at the bottom and the right, to multiples of a few pixels, and
their true sizes travel as an argument. A valid mask keeps each layer from seeing the
padding: the border of an image stays the border it was.
"""

import jax
import jax.numpy as jnp
import numpy as np

from zf_jax import convnet, geometry
from zf_jax.layers import Conv, Pair, Pool
from zf_jax.spec import Spec

# Sizes of padded images are multiples of it, pixels.
_MULTIPLE = 64


def pad(
    net: Spec, images: np.ndarray, *, multiple: int = _MULTIPLE
) -> tuple[np.ndarray, np.ndarray]:
    """Pads images to multiples of `multiple` rows and columns.

    Args:
      net: a net without dense layers, that is to run on them.
      images: [N, H, W, C], of any dtype.
      multiple: pixels.

    Returns:
      The padded images, and the images' sizes [N, 2] int32, (rows, columns).

    Raises:
      BadInput: the images are too small for the net.
    """
    count, *size, _ = images.shape
    geometry.shapes(net, tuple(size))
    missing = [(0, -length % multiple) for length in size]
    padded = np.pad(images, [(0, 0), *missing, (0, 0)])
    return padded, np.tile(np.int32(size), (count, 1))


def maps(
    net: Spec, params: dict, images: jax.Array, sizes: jax.Array
) -> dict[str, jax.Array]:
    """Every layer's maps of padded images, for `topk.scan`.

    Args:
      net: a net without dense layers.
      params: its parameters.
      images: [N, H, W, C] float, as `convnet.prepare` gives them of padded pixels.
      sizes: [N, 2] int, each image's own rows and columns, at the top left.

    Returns:
      The maps [N, H', W', C'] by layer. Where an image of its own size has no position,
      they are -inf; all else is as for the image alone.

    Raises:
      BadInput: the net has a dense layer, or the images' shape does not suit it.
    """
    valid = valid_mask(net, sizes, images.shape[1:3])
    images = jnp.where(_mask(images.shape[1:3], sizes.T), images, 0)
    _, trace = convnet.ConvNet(net).apply({"params": params}, images, valid=valid)
    return {
        name: jnp.where(valid.maps[name], each, -jnp.inf)
        for name, each in trace.maps.items()
    }


def valid_mask(net: Spec, sizes: jax.Array, padded: Pair) -> convnet.ValidMask:
    """Which entries of the maps belong to images of `sizes` [N, 2] within `padded`."""
    maps, outputs, lengths = {}, {}, sizes.T
    for name, shapes in geometry.shapes(net, padded).items():
        layer = net.layers[net.index(name)]
        lengths = _output_lengths(layer.ops_to_maps, lengths)
        maps[name] = _mask(shapes.maps[:2], lengths)
        lengths = _output_lengths(layer.ops_after_maps, lengths)
        outputs[name] = _mask(shapes.output[:2], lengths)
    return convnet.ValidMask(maps, outputs)


def _output_lengths(ops, lengths: list[jax.Array]) -> list[jax.Array]:
    """The rows and columns, [N] each, that operations make of maps."""
    for op in ops:
        if isinstance(op, Conv | Pool):
            axes = zip(lengths, op.size, op.stride, op.padding, strict=True)
            lengths = [geometry.output_length(*axis) for axis in axes]
    return lengths


def _mask(shape: Pair, lengths) -> jax.Array:
    """[N, H, W, 1] bool: true in the first rows and columns of each image."""
    rows, columns = (
        jnp.arange(extent)[None] < each[:, None]
        for extent, each in zip(shape, lengths, strict=True)
    )
    return (rows[:, :, None] & columns[:, None, :])[..., None]
