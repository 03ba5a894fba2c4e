"""The image that an ONNX graph takes: its name, layout, size and channels."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import onnx

from zf_jax.errors import BadInput
from zf_jax.layers import Pair, pair
from zf_jax.pretrained.onnx_graph import Graph
from zf_jax.pretrained.onnx_ops.table import Node

# Of an image. A damaged file can ask for any number.
_MOST_CHANNELS = 2**12
Layout = Literal["NHWC", "NCHW"]
# They leave the order of an image's axes as it is.
_ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Cast", "Identity", "Clip", "Pad"}


class ImageInput(NamedTuple):
    """What the graph says of its image; None where it leaves a length open."""

    name: str
    layout: Layout
    batch: int | None
    size: tuple[int | None, int | None]
    channels: int | None

    def sized(self, size: int | Pair | None) -> Pair:
        """Rows and columns: those given, or the graph's.

        Raises:
          BadInput: neither says them.
        """
        if size is not None:
            return pair(size)
        if None in self.size:
            raise BadInput(
                f"leaves open how large its image {self.name!r} is; give "
                "size=(rows, columns)"
            )
        return self.size


def find(proto: onnx.GraphProto, graph: Graph) -> ImageInput:
    """The one input of the graph that is an image.

    Args:
      proto: says the shapes of the inputs.
      graph: the nodes that are needed.

    Raises:
      BadInput: there is none, or the graph takes something else too.
    """
    needed = graph.needs()
    shapes = {
        given.name: tuple(
            each.dim_value if each.dim_value > 0 else None
            for each in given.type.tensor_type.shape.dim
        )
        for given in proto.input
        if given.name in needed and given.name not in graph.constants
    }
    images = [name for name, shape in shapes.items() if len(shape) == 4]
    if len(images) != 1 or len(shapes) != 1:
        listed = ", ".join(f"{name!r} {shape}" for name, shape in shapes.items())
        raise BadInput(
            f"takes {listed or 'no input'}; a model of images takes one image of 4 axes"
        )
    (name,) = images
    first, readers = _first_sliding(graph, name)
    layout = _layout(shapes[name], first, readers)
    batch, *rest = shapes[name]
    rows, columns, channels = rest if layout == "NHWC" else (*rest[1:], rest[0])
    if channels is None and first is not None and first.op == "Conv":
        kernels = [graph.constants.get(name) for name in first.inputs[1:2]]
        if kernels and np.ndim(kernels[0]) > 1:
            channels = kernels[0].shape[1] * first.get("group", 1)
    if channels is not None and channels > _MOST_CHANNELS:
        raise BadInput(f"takes images of {channels} channels, too many")
    return ImageInput(name, layout, batch, (rows, columns), channels)


def _first_sliding(graph: Graph, image: str) -> tuple[Node | None, bool]:
    """The first node after arithmetic on the image, and whether it transposes."""
    readers = defaultdict(list)
    for node in graph.nodes:
        for name in node.inputs:
            readers[name].append(node)
    queue = [image]
    while queue:
        for node in readers[queue.pop(0)]:
            if node.op in _ELEMENTWISE:
                queue.append(node.outputs[0])
            elif node.op == "Transpose":
                return node, True
            elif node.op == "Conv":
                return node, False
    return None, False


def _layout(
    shape: tuple[int | None, ...], first: Node | None, transposed: bool
) -> Layout:
    if transposed and first.get("perm") == (0, 3, 1, 2):
        return "NHWC"
    if first is not None:
        return "NCHW"
    few = (1, 3, 4)
    return "NHWC" if shape[3] in few and shape[1] not in few else "NCHW"


def channel_values(
    name: str, given: float | Sequence[float], channels: int
) -> np.ndarray:
    """[channels] float64 of one number, or of one a channel.

    Raises:
      BadInput: there are others.
    """
    values = np.atleast_1d(np.asarray(given, np.float64))
    if values.shape not in ((1,), (channels,)):
        raise BadInput(
            f"{name} {tuple(values.tolist())}: the net takes images of {channels} "
            "channels; give one value, or one a channel"
        )
    return np.broadcast_to(values, (channels,))
