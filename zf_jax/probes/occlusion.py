"""Occlusion (section 4.2, fig. 7): what changes as a grey square covers the image.

The square's top left corner stands at multiples of the stride, as often as it takes to
cover the whole image: ceil((H - side) / stride) + 1 times down, and likewise across.
The image's border crops the last square (to nothing, where a stride above the side
leads beyond it). The model's outputs come back on that grid, one entry for each
position of the square, and are never resized to the image.
"""

import functools
import numbers
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from zf_jax import parallel, xla
from zf_jax.errors import BadInput
from zf_jax.layers import Pair
from zf_jax.probes import model_functions, occlusion_engine, occlusion_traced
from zf_jax.probes.model_functions import ModelFn
from zf_jax.probes.occluder_grid import Grid, grid
from zf_jax.transforms import closure, cost_report, jaxpr
from zf_jax.transforms.cost_report import CostReport

__all__ = ["Grid", "ModelFn", "attribution", "explain", "grid", "sweep"]

# A smaller gain than this does not pay for the overhead of the incremental sweep.
_LEAST_GAIN = 1.15


def sweep(
    model_fn: ModelFn,
    image: jax.Array,
    *,
    side: int | Pair = 32,
    stride: int | Pair = 8,
    fill: jax.Array | float = 0.0,
    batch_size: int | None = None,
    method: Literal["incremental", "full"] = "incremental",
    devices: Sequence[jax.Device] | None = None,
) -> Any:
    """The model's outputs with the square at every position, in one compiled call.

    `model_fn` is compiled once for each program, shape, side and stride. The arrays
    that it closes over enter the compiled call as arguments, as they are at the time of
    the call: a model that is changed in place gives the outputs of its new weights.

    It composes with `jax.jit`, `vmap`, `grad`, `shard_map` and `jax.export`, whose
    tracers the image, the fill and the arrays that `model_fn` closes over may be. What
    needs values is not checked then: NaN, and images that mix in a batch.

    Args:
      model_fn: any JAX function of [B, H, W, C] images to a pytree of [B, ...] arrays,
        which treats the images one by one.
      image: [H, W, C], or [N, H, W, C], float, as `model_fn` takes them.
      side: of the square, pixels; a number or (rows, columns).
      stride: between positions, pixels; a number or (rows, columns).
      fill: what the square shows, in the image's units: a number, one value a channel
        [C], or an image [H, W, C] or [H, W, 1] that is seen where the square stands
        (one for each image, [N, H, W, C], too). 0 is the mean colour for images that
        had their mean taken off.
        Not in the paper: side, stride and grey.
      batch_size: positions computed together. None takes what fits the backend.
      method: "incremental" recomputes only what the square changes. It gives the same
        numbers, up to the order of float sums (`transforms.incremental`; `explain`
        tells what it saves). Where it would save next to nothing, it is "full", which
        computes every position from the pixels up.
      devices: those that share the positions; all local ones by default, and a single
        one where JAX traces the call. Those of several processes serve where each of
        them makes the same call.

    Returns:
      The pytree of `model_fn` with leaves [R, S, ...], or [N, R, S, ...] for images:
      R and S are the grid's rows and columns.

    Raises:
      BadInput: side, stride, fill, batch_size or method are out of range; the image
        holds no floats or has its channels first; JAX cannot trace `model_fn`, or it
        fails on such images; its result does not begin with the axis of images; it
        mixes the images of a batch; it gives NaN for the image itself.
    """
    _check(image, batch_size, method)
    image = jnp.asarray(image)
    images = image if image.ndim == 4 else image[None]
    positions = grid(images.shape[1:3], side, stride)
    fill = _filling(fill, images)
    program = _prepare(model_fn, images, fill, 1)
    is_traced = xla.is_traced(program.weights, images, fill)
    if not is_traced:
        model_functions.check_independent(model_fn, program, images[0])
    chosen = bool(devices)
    devices = _sharing(devices, is_traced, positions)
    one, planned = jax.eval_shape(lambda x: x[:1], images), None
    if method == "incremental":
        planned = _planned(program, one, positions, devices, is_traced)
        method = "full" if planned.gain < _LEAST_GAIN else "incremental"
    if method == "full":
        batch_size = occlusion_engine.full_chunk_size(
            program.apply, program.weights, one, positions, devices, batch_size
        )
        program = _prepare(model_fn, images, fill, batch_size)
    given = program.weights, images, fill
    if not is_traced and (len(devices) > 1 or chosen):
        given = parallel.replicate(given, devices)
    leaves, clean = _compiled(method, planned, is_traced)(
        program.apply, *given, grid=positions, chunk=batch_size, devices=devices
    )
    structure = jax.tree.structure(program.result)
    if not is_traced:
        model_functions.check_clean(jax.tree.unflatten(structure, clean))
    if image.ndim == 3:
        leaves = [leaf[0] for leaf in leaves]
    return jax.tree.unflatten(structure, leaves)


def explain(
    model_fn: ModelFn,
    image: jax.Array,
    *,
    side: int | Pair = 32,
    stride: int | Pair = 8,
    devices: Sequence[jax.Device] | None = None,
) -> CostReport:
    """What an incremental sweep recomputes, operation by operation; prints as a table.

    Nothing is run. Arguments are those of `sweep`; of the image, shape and dtype alone
    matter: a `jax.ShapeDtypeStruct` will do.

    Raises:
      BadInput: as `sweep` does.
    """
    image = jax.eval_shape(jnp.asarray, image)
    _check(image, None, "incremental")
    one = jax.ShapeDtypeStruct((1, *image.shape[-3:]), image.dtype)
    program = model_functions.prepare_arguments(model_fn, one)
    is_traced = xla.is_traced(program.weights)
    positions = grid(one.shape[1:3], side, stride)
    devices = _sharing(devices, is_traced, positions)
    planned = _planned(program, one, positions, devices, is_traced)
    return cost_report.cost_report(*planned)


def _prepare(model_fn, images, fill, count: int) -> closure.Hoisted:
    """The function for `count` of the images."""
    example = jax.eval_shape(
        lambda x: jnp.broadcast_to(x[:1], (count, *x.shape[1:])), images
    )
    shared = not xla.is_traced(images, fill)
    return model_functions.prepare_arguments(model_fn, example, shared=shared)


def _sharing(devices, is_traced: bool, positions: Grid) -> tuple[jax.Device, ...]:
    """The devices that share the positions.

    Within another function that is traced it is for that one to share the work out.
    """
    if devices:
        return tuple(devices)
    return tuple(jax.local_devices()[: 1 if is_traced else positions.count])


def _planned(
    program, one, positions: Grid, devices, is_traced: bool
) -> occlusion_engine.Planned:
    # A plan for tracers is not remembered: it would hold what is being traced.
    plan = occlusion_engine.plan if is_traced else occlusion_engine.plan_once
    weights = tuple(jaxpr.abstract(program.weights))
    return plan(program.apply, weights, one, positions, devices[0].platform)


def _compiled(method: str, planned, is_traced: bool) -> Callable:
    """The sweep to call."""
    if not is_traced:
        return getattr(occlusion_engine, method)
    if method == "full":
        return occlusion_traced.full
    return functools.partial(occlusion_traced.incremental, planned)


def _check(image, batch_size: int | None, method: str) -> None:
    shape, dtype = np.shape(image), jnp.result_type(image)
    if len(shape) not in (3, 4) or 0 in shape:
        raise BadInput(f"image of shape {shape}: give [H, W, C] or [N, H, W, C]")
    if shape[-3] in (1, 3, 4) and min(shape[-2:]) > 16:
        raise BadInput(
            f"image of shape {shape}: the channels come last, give [H, W, C] or "
            "[N, H, W, C]"
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        raise BadInput(
            f"image of {dtype.name}: give floats, as convnet.prepare makes them"
        )
    if method not in ("incremental", "full"):
        raise BadInput(f"method {method!r}: there are 'incremental' and 'full'")
    whole = batch_size is None or isinstance(batch_size, numbers.Integral)
    if not whole or (batch_size is not None and batch_size < 1):
        raise BadInput(f"batch_size {batch_size}: a whole number from 1, or None")


def _filling(fill, images: jax.Array) -> jax.Array:
    """[N or 1, H, W, C], or [1, 1, 1, C or 1]."""
    fill = jnp.asarray(fill, images.dtype)
    one = images.shape[1:]
    allowed = ((), one[-1:], one, (*one[:2], 1), images.shape)
    if fill.shape not in allowed:
        raise BadInput(
            f"fill of shape {fill.shape}: give a number, channels {one[-1:]} or an "
            f"image {one}"
        )
    fill = fill.reshape((1,) * (4 - fill.ndim) + fill.shape)
    if fill.shape[1:3] == (1, 1):
        return fill
    return jnp.broadcast_to(fill, (len(fill), *one))


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
      clean: [...], the model's output for the image itself.
      occluded: [R, S, ...], the same output from `sweep`.
      side: as given to `sweep`.
      stride: as given to `sweep`, at most the side: every pixel must be covered.
      shape: the image's (rows, columns).

    Returns:
      [H, W, ...]: positive where covering the pixel lowers the output.

    Raises:
      BadInput: a grid of another size, or a stride that leaves pixels uncovered.
    """
    positions = grid(tuple(shape), side, stride)
    if occluded.shape[:2] != positions.shape:
        raise BadInput(
            f"occluded of shape {occluded.shape}: the grid is {positions.shape}"
        )
    down, across = (
        _covers(starts, side, length)
        for starts, side, length in zip(
            positions[:2], positions.side, shape, strict=True
        )
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
