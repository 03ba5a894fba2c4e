"""The deconvnet: from a unit back to pixels (section 2.1).

The backward pass walks the Spec from the unit's layer to the pixels: unpool with the
image's switches, rectify, filter with the transposed filters. Each step is the
transpose of the forward step. Only the rule at the ReLU tells a deconvnet from a
gradient (Simonyan et al. 2013, section 4):

    rule         signal passed back     known as
    deconvnet    max(R, 0)              this paper
    gradient     R where f > 0          saliency, Simonyan et al. 2013
    guided       max(R, 0) where f > 0  guided backpropagation, Springenberg et al. 2014

R is the signal from the layer above and f the map of the forward pass. Biases take no
part in the backward pass: a zero seed gives exactly zero. The pixels are signed, so
that negative ones are no error.

`reconstruct` is the paper, written out for its nets. `project` is for any JAX function
(`projections.py`); of a `Spec` it gives the same pixels.

A GPU multiplies float32 in TF32 unless told otherwise, which changes one switch in a
thousand. `jax.default_matmul_precision("float32")` keeps them (docs/benchmarks.md).
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp

from zf_jax import xla
from zf_jax.convnet import Trace
from zf_jax.errors import BadInput
from zf_jax.layers import LRN, Conv, Dense, Flatten, Pool, Relu
from zf_jax.ops import conv, pooling
from zf_jax.ops.lrn import normalise
from zf_jax.projections import project
from zf_jax.seeds import isolate
from zf_jax.spec import Spec
from zf_jax.transforms.gates import RULES, Rule

__all__ = ["RULES", "LrnRule", "Rule", "isolate", "project", "reconstruct"]

LrnRule = Literal["identity", "gradient"]


@functools.partial(xla.jit, static_argnames=("net", "layer", "rule", "lrn"))
def reconstruct(
    net: Spec,
    params: dict,
    seed: jax.Array,
    trace: Trace,
    *,
    layer: str,
    rule: Rule = "deconvnet",
    lrn: LrnRule | None = None,
) -> jax.Array:
    """Projects a layer's activations back to pixels.

    Args:
      net: the architecture.
      params: its parameters, {layer: {"kernel": ..., "bias": ...}}.
      seed: in the shape of `trace.maps[layer]`, as `isolate` makes it. The projection
        is linear in the seed with rule "gradient", and positively homogeneous with the
        others.
      trace: what `ConvNet` gave for the same images.
      layer: the seed's layer; dense layers and the logits are possible too.
      rule: what the ReLU does in the backward pass.
      lrn: what contrast normalisation (LRN) does in the backward pass: "identity", or
        its true "gradient". Not in the paper: by default the identity, as in Mahendran
        & Vedaldi 2016, but the gradient with rule "gradient", which then equals
        `jax.grad`.

    Returns:
      [N, H, W, C] in the seed's dtype, signed, in the units of the net's input.

    Raises:
      BadInput: an unknown layer, `rule` or `lrn`, or a seed of another shape.
    """
    last = net.index(layer)
    if rule not in RULES:
        raise BadInput(f"rule {rule!r}: there are {', '.join(RULES)}")
    if lrn not in (lrns := ("identity", "gradient", None)):
        raise BadInput(f"lrn {lrn!r}: there are {lrns}")
    if layer not in trace.maps or seed.shape != trace.maps[layer].shape:
        found = {name: each.shape for name, each in trace.maps.items()}
        raise BadInput(
            f"a seed of shape {seed.shape} at {layer}: the trace has {found}"
        )
    if lrn is None:
        lrn = "gradient" if rule == "gradient" else "identity"
    signal = seed
    for index in range(last, -1, -1):
        each = net.layers[index]
        if index < last:
            signal = _output_to_maps(each, signal, trace, lrn)
        lower = net.layers[index - 1].name if index else None
        below = trace.outputs[lower] if lower else trace.images
        kernel = params[each.name]["kernel"]
        signal = _maps_to_input(each, signal, trace, kernel, below.shape, rule)
    return signal


def _output_to_maps(layer, signal, trace: Trace, lrn: LrnRule):
    """From a layer's output to its maps: unpool; LRN as asked for."""
    switches = trace.switches.get(layer.name)
    x, steps = trace.maps[layer.name].astype(signal.dtype), []
    for op in layer.ops_after_maps:
        steps.append((op, x))
        if isinstance(op, Pool):
            x = pooling.pool_with_switches(op, x, switches)
        elif isinstance(op, LRN):
            x = normalise(op, x)
    for op, x in reversed(steps):
        if isinstance(op, Pool):
            signal = pooling.unpool(op, signal, switches, x.shape)
        elif isinstance(op, LRN) and lrn == "gradient":
            signal = jax.vjp(functools.partial(normalise, op), x)[1](signal)[0]
    return signal


def _maps_to_input(layer, signal, trace: Trace, kernel, shape, rule: Rule):
    """From a layer's maps to its input: rectify, then transposed filtering."""
    for op in reversed(layer.ops_to_maps):
        match op:
            case Relu():
                if rule != "gradient":
                    signal = jnp.maximum(signal, 0)
                if rule != "deconvnet":
                    signal = jnp.where(trace.maps[layer.name] > 0, signal, 0)
            case Conv():
                signal = conv.conv_transpose(op, signal, kernel, shape)
            case Dense():
                flat = (len(signal), kernel.shape[0])
                signal = conv.conv_transpose(op, signal, kernel, flat)
            case Flatten():
                signal = signal.reshape(shape)
    return signal
