"""Up a net and down again, compiled for batches of units.

Up and down are two calls: in one, XLA computes the switches anew for every place of
their windows rather than keep them. Up, every bit counts: where two entries of a window
are nearly equal, a rounding decides which of them is the winner. Down, matrix products
do. Kernels, which all batches have in common, are made ready beforehand.
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
      channels: [N] int, their maps.
      positions: [N, 2] int, where in the maps they stand.
      values: [N] float32, what is projected from there; None takes what they are in the
        trace.
    """

    channels: np.ndarray
    positions: np.ndarray
    values: np.ndarray | None

    def at(self, index) -> "Units":
        """Some of them."""
        return jax.tree.map(lambda part: part[index], self)


@functools.partial(xla.jit, static_argnames=("net", "keep"))
def prepare_forward(net: Spec, params, images, valid, *, keep):
    """The kernels for `up`."""
    return _way_up(net, keep, params, images, valid).prepare(params)


@functools.partial(xla.jit, static_argnames=("net", "keep"))
def forward(net: Spec, kernels, params, images, valid, *, keep) -> convnet.Trace:
    """The trace of images, or of parts of them.

    Args:
      net: what is run.
      kernels: from `prepare_up`, for any number and size of images.
      params: the net's.
      images: [N, H, W, C].
      valid: for the net of a cone, what is no padding.
      keep: the rule that the trace is for (`cones.kept`); None keeps all of it.
    """
    way = _way_up(net, keep, params, images, valid)
    return way.apply(kernels, params, images, valid)


def trace_bytes(net: Spec, params, keep) -> int:
    """What the trace of one image takes, as `up` gives it."""
    image = jax.ShapeDtypeStruct((1, *net.input.size, net.input.channels), jnp.float32)
    climb = functools.partial(_climb, net, keep)
    trace = jax.eval_shape(climb, params, image, None)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(trace))


def _climb(net: Spec, keep, params, images, valid) -> convnet.Trace:
    model = convnet.ConvNet(net)
    _, trace = model.apply({"params": params}, images, valid=valid)
    return receptive_field_crops.kept(net, trace, keep) if keep else trace


def _way_up(net: Spec, keep, *given) -> precompute_kernels.Precomputed:
    return precompute_kernels.precompute(functools.partial(_climb, net, keep), *given)


@functools.partial(xla.jit, static_argnames=("net", "layer", "rule"))
def prepare_backward(net: Spec, params, *given, layer, rule):
    """The kernels for `down`, which takes the same."""
    return _way_down(net, layer, rule, params, *given).prepare(params)


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
    """Units back to pixels, [N, H, W, C].

    Args:
      net: as in `up`.
      kernels: from `prepare_down` for the same net, for any number of images.
      params: the net's.
      trace: what `up` gave for this rule; all of it for a control, or for units without
        values.
      units: where they stand in the trace's maps.
      valid: as in `up`.
      control: what is changed first (`controls.py`), or None.
      layer: the units'.
      rule: what the ReLU does.
    """
    given = params, trace, units, valid, control
    return _way_down(net, layer, rule, *given).apply(kernels, *given)


def _way_down(net: Spec, layer, rule, *given) -> precompute_kernels.Precomputed:
    def descend(params, trace, units, valid, control):
        trace = receptive_field_crops.filled(net, trace, len(units.channels))
        seed = _seed(trace.maps[layer], units)
        of = {"layer": layer, "valid": valid}
        if control is not None:
            params, seed, trace = control(net, params, seed, trace, **of)
        return deconvnet.reconstruct(net, params, seed, trace, rule=rule, **of)

    return precompute_kernels.precompute(descend, *given, products=True)


def _seed(maps: jax.Array, units: Units) -> jax.Array:
    places = tuple(units.positions.T) if maps.ndim == 4 else ()
    at = jnp.arange(len(units.channels)), *places, units.channels
    values = maps[at] if units.values is None else units.values
    # Maps may be told by where they are active alone.
    return jnp.zeros(maps.shape).at[at].set(values)
