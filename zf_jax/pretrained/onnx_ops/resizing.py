"""Resizing, one axis at a time.

The positions that an entry of the result reads, and their weights, are known when the
graph is traced: each axis is a `gather` a tap, times constant weights.
"""

import functools
import math
import operator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from zf_jax.errors import BadInput
from zf_jax.pretrained.onnx_ops.positions import take
from zf_jax.pretrained.onnx_ops.table import Array, Node, integers, operation


class _Axis(NamedTuple):
    """How an axis is resized.

    Attributes:
      length, new: numbers of entries before and after.
      scale: the factor, of which `new` may be the rounded product.
      region: where the result begins and ends, of 0 to 1 (`tf_crop_and_resize`).
    """

    length: int
    new: int
    scale: float
    region: tuple[float, float] = (0.0, 1.0)


@operation("Resize", static=(1, 2, 3))
def resize(
    node: Node,
    x: Array,
    regions: Array | None = None,
    scales: Array | None = None,
    sizes: Array | None = None,
) -> Array:
    """Nearest, linear or cubic interpolation, by factors or to sizes.

    In opset 10 the factors were the second input.

    Raises:
      BadInput: neither factors nor sizes, or a mode that is none of ONNX's.
    """
    if node.opset < 11:
        return upsample(node, x, regions)
    axes = [axis % x.ndim for axis in node.get("axes", range(x.ndim))]
    plans = _plans(node, [x.shape[axis] for axis in axes], scales, sizes)
    if node.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        ends = np.reshape(regions, (2, len(axes))).T.tolist()
        plans = [
            plan._replace(region=tuple(end))
            for plan, end in zip(plans, ends, strict=True)
        ]
    for axis, plan in zip(axes, plans, strict=True):
        x = _resize_axis(node, x, axis, plan)
    return x


@operation("Upsample", static=(1,))
def upsample(node: Node, x: Array, scales: Array | None = None) -> Array:
    """As `Resize` of opset 10, nearest or linear: a position by its factor."""
    scales = node.get("scales") if scales is None else scales
    old = {
        "mode": node.get("mode", "nearest"),
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    node = node._replace(attributes=old)
    plans = _plans(node, list(x.shape), np.asarray(scales), None)
    for axis, plan in enumerate(plans):
        x = _resize_axis(node, x, axis, plan)
    return x


def _plans(
    node: Node, lengths: list[int], scales: Array | None, sizes: Array | None
) -> list[_Axis]:
    """An entry an axis that is named."""
    if scales is not None and np.size(scales):
        factors = np.asarray(scales, np.float64).tolist()
        pairs = zip(lengths, factors, strict=True)
        return [_Axis(n, math.floor(n * scale), scale) for n, scale in pairs]
    if sizes is None or not np.size(sizes):
        raise BadInput("is given neither factors nor sizes")
    wanted = integers(sizes)
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    ratios = [new / n for n, new in zip(lengths, wanted, strict=True)]
    if policy != "stretch":
        scale = min(ratios) if policy == "not_larger" else max(ratios)
        return [_Axis(n, math.floor(scale * n + 0.5), scale) for n in lengths]
    return [_Axis(*each) for each in zip(lengths, wanted, ratios, strict=True)]


def _resize_axis(node: Node, x: Array, axis: int, plan: _Axis) -> Array:
    if plan.length == plan.new and plan.scale == 1 and plan.region == (0.0, 1.0):
        return x
    at = _coordinates(node, plan)
    if node.get("mode", "nearest") == "nearest":
        positions = np.clip(_nearest(node, at), 0, plan.length - 1)
        result = take(x, positions, axis)
    else:
        positions, weights = _taps(node, at, plan)
        result = _weighted(x, axis, positions, weights)
    if node.get("coordinate_transformation_mode") != "tf_crop_and_resize":
        return result
    outside = (at < 0) | (at > plan.length - 1)
    value = np.asarray(node.get("extrapolation_value", 0.0), x.dtype)
    return jnp.where(_along(outside, x.ndim, axis), value, result)


def _coordinates(node: Node, plan: _Axis) -> np.ndarray:
    """[new] where the result's entries stand in the input, float64."""
    i = np.arange(plan.new, dtype=np.float64)
    length, scale = plan.length, plan.scale
    resized = length * scale
    centres = (i + 0.5) / scale - 0.5
    match node.get("coordinate_transformation_mode", "half_pixel"):
        case "half_pixel":
            return centres
        case "half_pixel_symmetric":
            return centres + length / 2 * (1 - plan.new / resized)
        case "pytorch_half_pixel":
            return centres if plan.new > 1 else np.zeros(plan.new)
        case "asymmetric":
            return i / scale
        case "align_corners":
            return i * (length - 1) / (resized - 1) if resized != 1 else 0 * i
        case "tf_crop_and_resize":
            start, end = plan.region
            if plan.new == 1:
                return np.full(1, 0.5 * (start + end) * (length - 1))
            step = (end - start) * (length - 1) / (resized - 1)
            return start * (length - 1) + i * step
        case mode:
            raise BadInput(f"has coordinate_transformation_mode {mode!r}")


def _nearest(node: Node, at: np.ndarray) -> np.ndarray:
    match node.get("nearest_mode", "round_prefer_floor"):
        case "round_prefer_floor":
            rounded = np.ceil(at - 0.5)
        case "round_prefer_ceil":
            rounded = np.floor(at + 0.5)
        case "floor":
            rounded = np.floor(at)
        case "ceil":
            rounded = np.ceil(at)
        case mode:
            raise BadInput(f"has nearest_mode {mode!r}")
    return rounded.astype(np.int64)


def _taps(node: Node, at: np.ndarray, plan: _Axis) -> tuple[np.ndarray, np.ndarray]:
    """Positions and weights [new, taps] of the entries that are averaged."""
    mode = node.get("mode")
    if mode not in ("linear", "cubic"):
        raise BadInput(f"has mode {mode!r}")
    # Antialiasing stretches the filter where the axis becomes shorter.
    stretch = max(1.0, 1 / plan.scale) if node.get("antialias", 0) else 1.0
    reach = (1 if mode == "linear" else 2) * stretch
    first = np.floor(at - reach).astype(np.int64) + 1
    positions = first[:, None] + np.arange(math.ceil(2 * reach))
    distances = np.abs(positions - at[:, None]) / stretch
    if mode == "linear":
        weights = np.maximum(1 - distances, 0)
    else:
        weights = _cubic(distances, node.get("cubic_coeff_a", -0.75))
    if node.get("exclude_outside", 0):
        weights *= (positions >= 0) & (positions < plan.length)
    if node.get("exclude_outside", 0) or stretch > 1:
        weights /= weights.sum(1, keepdims=True)
    return np.clip(positions, 0, plan.length - 1), weights


def _cubic(distances: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel (1981), zero from a distance of 2."""
    d = distances
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _weighted(x: Array, axis: int, positions: np.ndarray, weights: np.ndarray) -> Array:
    """The sum over taps of the entries at `positions` times `weights` [new, taps]."""
    used = [k for k in range(weights.shape[1]) if weights[:, k].any()]
    kind = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else np.float32
    parts = (
        take(x, positions[:, k], axis).astype(kind)
        * _along(weights[:, k].astype(kind), x.ndim, axis)
        for k in used
    )
    return functools.reduce(operator.add, parts).astype(x.dtype)


def _along(values: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """A vector as an array that broadcasts along one axis."""
    shape = [1] * rank
    shape[axis] = len(values)
    return values.reshape(shape)
