"""Operations that give entries another shape or order, and do not compute."""

import math

import numpy as np
from onnx import helper

from zf_jax.errors import BadInput
from zf_jax.pretrained.onnx_ops.table import (
    Array,
    Node,
    integers,
    numpy_of,
    operation,
)


@operation("Constant")
def constant(node: Node) -> np.ndarray:
    """The array that the node stores.

    Raises:
      BadInput: it stores text, or a sparse array.
    """
    ((name, value),) = node.attributes.items()
    if name in ("value_string", "value_strings", "sparse_value"):
        raise BadInput(f"stores its array as {name}")
    dtype = {"f": np.float32, "i": np.int64}.get(name.removeprefix("value_")[:1])
    return np.asarray(value, dtype)


@operation("ConstantOfShape", static=(0,))
def constant_of_shape(node: Node, shape: Array) -> np.ndarray:
    """One value, everywhere. It is stored once."""
    value = np.asarray(node.get("value", np.float32(0)))
    return np.broadcast_to(value.reshape(()), integers(shape))


@operation("Range", static=(0, 1, 2))
def arange(node: Node, start: Array, limit: Array, delta: Array) -> np.ndarray:
    """Numbers from `start` to before `limit`, `delta` apart."""
    start, limit, delta = (np.reshape(each, ()) for each in (start, limit, delta))
    return np.arange(start, limit, delta, dtype=start.dtype)


@operation("EyeLike")
def eye_like(node: Node, x: Array) -> np.ndarray:
    """Ones on a diagonal, zeros elsewhere."""
    kind = node.get("dtype")
    dtype = helper.tensor_dtype_to_np_dtype(kind) if kind else x.dtype
    return np.eye(*x.shape, k=node.get("k", 0), dtype=dtype)


@operation("Shape")
def shape(node: Node, x: Array) -> np.ndarray:
    """The shape, or a part of it, int64."""
    return np.asarray(x.shape, np.int64)[node.get("start", 0) : node.get("end")]


@operation("Size")
def size(node: Node, x: Array) -> np.ndarray:
    """The number of entries, int64."""
    return np.asarray(math.prod(x.shape), np.int64)


@operation("Identity")
def identity(node: Node, x: Array) -> Array:
    """The same."""
    return x


@operation("Dropout", static=(1, 2))
def dropout(
    node: Node, x: Array, ratio: Array | None = None, training: Array | None = None
) -> Array | tuple[Array, np.ndarray]:
    """The same: nothing is dropped in inference. The mask is all ones.

    Raises:
      BadInput: the graph was exported in training mode.
    """
    if training is not None and np.any(training) and (ratio is None or np.any(ratio)):
        raise BadInput("is in training mode; export the model in inference mode")
    return (x, np.ones(x.shape, bool)) if node.wants(1) else x


@operation("Flatten")
def flatten(node: Node, x: Array) -> Array:
    """Two axes: those before `axis` as one, and the others as one."""
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operation("Reshape", static=(1,))
def reshape(node: Node, x: Array, shape: Array) -> Array:
    """The same entries in another shape; 0 stands for an axis as it was."""
    wanted = integers(shape)
    if not node.get("allowzero", 0):
        wanted = tuple(n or x.shape[i] for i, n in enumerate(wanted))
    return x.reshape(wanted)


@operation("Transpose")
def transpose(node: Node, x: Array) -> Array:
    """The axes in another order; reversed by default."""
    return numpy_of(x).transpose(x, node.get("perm"))


@operation("Squeeze", static=(1,))
def squeeze(node: Node, x: Array, axes: Array | None = None) -> Array:
    """Without the axes of length 1, or without those given."""
    axes = node.get("axes") if axes is None else integers(axes)
    if axes is None:
        axes = [axis for axis, n in enumerate(x.shape) if n == 1]
    return x.squeeze(tuple(axis % x.ndim for axis in axes))


@operation("Unsqueeze", static=(1,))
def unsqueeze(node: Node, x: Array, axes: Array | None = None) -> Array:
    """With axes of length 1, that are counted in the result."""
    axes = node.get("axes") if axes is None else integers(axes)
    return numpy_of(x).expand_dims(x, tuple(axes))


@operation("Expand", static=(1,))
def expand(node: Node, x: Array, shape: Array) -> Array:
    """Repeated along axes of length 1, also where `shape` asks for 1."""
    wanted = np.broadcast_shapes(x.shape, integers(shape))
    return numpy_of(x).broadcast_to(x, wanted)


@operation("Tile", static=(1,))
def tile(node: Node, x: Array, repeats: Array) -> Array:
    """The whole array, `repeats` times along each axis."""
    return numpy_of(x).tile(x, integers(repeats))


@operation("Concat")
def concat(node: Node, *inputs: Array) -> Array:
    """The arrays one after the other along an axis."""
    if len(inputs) == 1:
        return inputs[0]
    return numpy_of(*inputs).concatenate(inputs, node.get("axis"))


@operation("Split", static=(1,))
def split(node: Node, x: Array, lengths: Array | None = None) -> tuple[Array, ...]:
    """Parts along an axis: of lengths given, or equal but for a shorter last one."""
    axis = node.get("axis", 0) % x.ndim
    lengths = node.get("split") if lengths is None else integers(lengths)
    if lengths is None:
        parts = len(node.outputs)
        longest = -(-x.shape[axis] // parts)
        ends = [min(longest * (i + 1), x.shape[axis]) for i in range(parts)]
    else:
        ends = np.cumsum(lengths).tolist()
    before = (slice(None),) * axis
    starts = [0, *ends[:-1]]
    return tuple(x[(*before, slice(a, b))] for a, b in zip(starts, ends, strict=True))


@operation("DepthToSpace")
def depth_to_space(node: Node, x: Array) -> Array:
    """Blocks of channels become blocks of positions.

    [N, C, H, W] becomes [N, C / b², H b, W b]. The number of a channel is made of the
    block's row and column and the new channel: in this order (DCR), or the new channel
    comes first (CRD).
    """
    n, c, h, w = x.shape
    b = node.get("blocksize")
    if _depth_column_row(node):
        parts = x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, c // b**2, h * b, w * b)


@operation("SpaceToDepth")
def space_to_depth(node: Node, x: Array) -> Array:
    """The inverse of `depth_to_space`."""
    n, c, h, w = x.shape
    b = node.get("blocksize")
    parts = x.reshape(n, c, h // b, b, w // b, b)
    order = (0, 3, 5, 1, 2, 4) if _depth_column_row(node) else (0, 1, 3, 5, 2, 4)
    return parts.transpose(order).reshape(n, c * b**2, h // b, w // b)


def _depth_column_row(node: Node) -> bool:
    return node.get("mode", "DCR") == "DCR"
