"""The forward and the backward pass, compiled for batches of units.

They are two compiled calls: in a single one, XLA would recompute the switches for every
position of their windows rather than keep them. The forward pass must be exact, since a
rounding decides which of two nearly equal entries of a window is the maximum. Kernels,
which all batches share, are laid out beforehand.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zf_jax import convnet, deconvnet, xla
from zf_jax.probes import receptive_field_crops
from zf_jax.spec import Spec
from zf_jax.transforms import precompute_kernels


class Units(NamedTuple):
    """Units of one layer.

    Attributes:
      channels: [N] int.
      positions: [N, 2] int, (row, column) in the layer's maps.
      values: [N] float32, the seeds' values; None takes the activations in the trace.
    """

    channels: np.ndarray
    positions: np.ndarray
    values: np.ndarray | None

    def at(self, index) -> "Units":
        """The units at some indices."""
        return jax.tree.map(lambda part: part[index], self)


@functools.partial(xla.jit, static_argnames=("net", "keep"))
def prepare_forward(net: Spec, params, images, valid, *, keep):
    """The kernels for `forward`."""
    return _forward(net, keep, params, images, valid).prepare(params)


@functools.partial(xla.jit, static_argnames=("net", "keep"))
def forward(net: Spec, kernels, params, images, valid, *, keep) -> convnet.Trace:
    """The trace of images, or of crops of them.

    Args:
      net: the net that is run: a crop's, or the whole.
      kernels: from `prepare_forward`, for any number and size of images.
      params: the net's parameters.
      images: [N, H, W, C].
      valid: for a crop's net, what is no padding.
      keep: the rule that the trace is for (`receptive_field_crops.prune_trace`); None
        keeps all of it.
    """
    passed = _forward(net, keep, params, images, valid)
    return passed.apply(kernels, params, images, valid)


def trace_bytes(net: Spec, params, keep) -> int:
    """The bytes of one image's trace, as `forward` gives it."""
    image = jax.ShapeDtypeStruct((1, *net.input.size, net.input.channels), jnp.float32)
    run = functools.partial(_trace, net, keep)
    trace = jax.eval_shape(run, params, image, None)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(trace))


def _trace(net: Spec, keep, params, images, valid) -> convnet.Trace:
    model = convnet.ConvNet(net)
    _, trace = model.apply({"params": params}, images, valid=valid)
    return receptive_field_crops.prune_trace(net, trace, keep) if keep else trace


def _forward(net: Spec, keep, *given) -> precompute_kernels.Precomputed:
    return precompute_kernels.precompute(functools.partial(_trace, net, keep), *given)


@functools.partial(xla.jit, static_argnames=("net", "layer", "rule"))
def prepare_backward(net: Spec, params, *given, layer, rule):
    """The kernels for `backward`, which takes the same arguments."""
    return _backward(net, layer, rule, params, *given).prepare(params)


@functools.partial(xla.jit, static_argnames=("net", "layer", "rule"))
def backward(
    net: Spec,
    kernels,
    params,
    trace,
    units: Units,
    valid,
    control,
    *,
    layer,
    rule,
) -> jax.Array:
    """Projects units back to pixels, [N, H, W, C].

    Args:
      net: as in `forward`.
      kernels: from `prepare_backward` for the same net, for any number of images.
      params: the net's parameters.
      trace: what `forward` gave for this rule; with a control, or for units without
        values, the whole trace.
      units: one for each image, by their positions in the trace's maps.
      valid: as in `forward`.
      control: changes the arguments first (`controls.py`); or None.
      layer: the units' layer.
      rule: what the ReLU does.
    """
    given = params, trace, units, valid, control
    return _backward(net, layer, rule, *given).apply(kernels, *given)


def _backward(net: Spec, layer, rule, *given) -> precompute_kernels.Precomputed:
    def project(params, trace, units, valid, control):
        trace = receptive_field_crops.with_zeros(net, trace, len(units.channels))
        seed = _seed(trace.maps[layer], units)
        where = {"layer": layer, "valid": valid}
        if control is not None:
            params, seed, trace = control(net, params, seed, trace, **where)
        return deconvnet.reconstruct(net, params, seed, trace, rule=rule, **where)

    return precompute_kernels.precompute(project, *given)


def _seed(maps: jax.Array, units: Units) -> jax.Array:
    positions = tuple(units.positions.T) if maps.ndim == 4 else ()
    at = jnp.arange(len(units.channels)), *positions, units.channels
    values = maps[at] if units.values is None else units.values
    return jnp.zeros(maps.shape).at[at].set(values)
