"""Units of one layer back to pixels, each from its own cone of the net alone.

Up and down are two compiled calls: in one, XLA computes the switches anew for every
place of their windows rather than keep them. Up, every bit counts: where two entries of
a window are nearly equal, a rounding decides which of them is the winner. Down, matrix
products do.
"""

import collections
import concurrent.futures
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zf_jax import convnet, deconvnet, geometry
from zf_jax.layers import Dense, Pool
from zf_jax.probes import cones
from zf_jax.spec import Spec
from zf_jax.transforms import ahead

# Bytes that the maps of the projections computed together may take, and how many there
# are at the most: on a CPU, what stays in its cache (`--bench=projection`).
_BUDGET = 512 << 20
_MOST = {"cpu": 4}
_MOST_ACCELERATOR = 64
_MOST_THREADS = 8
# Bytes of whole images' traces that are kept.
_KEPT = 1 << 30


def at_once(work: Callable[..., None], batches: Iterable[tuple]) -> None:
    """Does `work(*batch)` for all batches, a few side by side.

    One alone leaves cores idle: a cone's upper maps are too small to be shared out. The
    first one goes ahead, so that what it compiles is there for the others.
    """
    batches = iter(batches)
    for first in itertools.islice(batches, 1):
        work(*first)
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        begun = collections.deque()
        for batch in batches:
            if len(begun) > threads:
                begun.popleft().result()
            begun.append(pool.submit(work, *batch))
        for each in begun:
            each.result()


class Units(NamedTuple):
    """Units of one layer.

    Attributes:
      channels: [N] int, their maps.
      positions: [N, 2] int, where in the maps they stand.
      values: [N] float32, what is projected from there.
    """

    channels: np.ndarray
    positions: np.ndarray
    values: np.ndarray

    def at(self, index) -> "Units":
        """Some of them."""
        return Units(*(part[index] for part in self))


def smallest(net: Spec, layer: str) -> geometry.Cone | None:
    """The cone of a layer's units; None where all of an image is no more work."""
    net = net.upto(layer)
    if any(isinstance(each.filter, Dense) for each in net.layers):
        return None
    cone = geometry.cone(net, layer)
    own, whole = (sum(geometry.multiply_adds(n).values()) for n in (cone.net, net))
    return cone if own < whole else None


def of_a_unit(net: Spec, layer: str, rule) -> int:
    """`climb` of a unit alone."""
    cone = smallest(net, layer)
    return climb(cone.net if cone else net.upto(layer), rule)


def climb(net: Spec, rule) -> int:
    """Multiply-adds on the way up, which ends where the rule asks no more of it."""
    costs = list(geometry.multiply_adds(net).values())
    if rule != "deconvnet":
        return sum(costs)
    pooled = [
        number
        for number, layer in enumerate(net.layers[:-1], start=1)
        if any(isinstance(op, Pool) for op in layer.tail)
    ]
    return sum(costs[: max(pooled, default=0)])


class Traces:
    """Whole images of the net's own size, run up once for all their units.

    Attributes:
      cost: multiply-adds of one.
    """

    def __init__(self, net: Spec, params: dict, rule):
        self.cost = climb(net, rule)
        self._net, self._params, self._rule = net, params, rule
        self._kernels, self._kept, self._bytes = None, {}, 0

    def __contains__(self, number: int) -> bool:
        return number in self._kept

    def is_full(self) -> bool:
        """Whether no more images will be kept."""
        return self._bytes >= _KEPT

    def of(self, number: int, image: np.ndarray) -> convnet.Trace:
        """What the deconvnet asks of image `number`, [H, W, C]."""
        if number in self._kept:
            return self._kept[number]
        given = self._params, image[None], None
        if self._kernels is None:
            self._kernels = _prepare_up(self._net, *given, keep=self._rule)
        trace = _up(self._net, self._kernels, *given, keep=self._rule)
        if not self.is_full():
            self._kept[number] = trace
            self._bytes += sum(leaf.nbytes for leaf in jax.tree.leaves(trace))
        return trace


class Look:
    """Projects units of one layer, a batch at a time.

    Both ways give the first pixels [N, 2] of what was projected, and the projections.
    What a batch lacks is filled up with its last unit, so that nothing recompiles.
    """

    def __init__(
        self, net: Spec, params: dict, layer: str, rule, control, batch_size: int | None
    ):
        self._net, self._layer, self._rule = net.upto(layer), layer, rule
        self._params = {each.name: params[each.name] for each in self._net.layers}
        self._control, self._keep = control, rule if control is None else None
        self._cone = smallest(net, layer)
        self._ups = self._downs = None
        self.batch_size = batch_size or self._fitting()

    def _fitting(self) -> int:
        maps = geometry.shapes(self._cone.net if self._cone else self._net).values()
        entries = sum(2 * math.prod(m.maps) + math.prod(m.output) for m in maps)
        most = _MOST.get(jax.default_backend(), _MOST_ACCELERATOR)
        return max(1, min(most, _BUDGET // (4 * entries)))

    def of_images(self, images: Sequence[np.ndarray], units: Units):
        """Each unit runs up the part of its image that it sees."""
        images, filled = self._filled(images, units)
        sizes = [image.shape[:2] for image in images]
        net, firsts, inside = self._framed(sizes, filled.positions)
        if inside is not None:
            images = [
                cones.cut(image, first, net.input.size)
                for image, first in zip(images, firsts, strict=True)
            ]
        given = self._params, np.stack(images), inside
        if self._ups is None:
            self._ups = _prepare_up(net, *given, keep=self._keep)
        trace = _up(net, self._ups, *given, keep=self._keep)
        return firsts, self._down(net, trace, filled, inside)[: len(units.values)]

    def of_traces(self, traces: Sequence[convnet.Trace], units: Units):
        """Each unit takes its part of its image's trace, which `Traces` has."""
        traces, filled = self._filled(traces, units)
        sizes = [self._net.input.size] * len(traces)
        net, firsts, inside = self._framed(sizes, filled.positions)
        of = filled.positions, inside
        trace = cones.cut_traces(self._net, traces, *of, layer=self._layer)
        return firsts, self._down(net, trace, filled, inside)[: len(units.values)]

    def _filled(self, given: Sequence, units: Units):
        filled = np.minimum(np.arange(self.batch_size), len(given) - 1)
        return [given[n] for n in filled], units.at(filled)

    def _framed(self, sizes, positions: np.ndarray):
        """The net that is run, where it begins in each image, and what is inside."""
        own = set(sizes) == {self._net.input.size}
        if self._cone is None and own:
            return self._net, np.zeros((len(sizes), 2), int), None
        cone = self._cone or geometry.cone(self._net, self._layer)
        field = geometry.fields(self._net)[self._layer]
        firsts = np.stack([field.first(i, positions[:, i]) for i in (0, 1)], axis=1)
        return cone.net, firsts, cones.inside(self._net, cone, sizes, positions)

    def _down(self, net: Spec, trace, units: Units, inside) -> np.ndarray:
        if inside is not None:
            units = units._replace(positions=np.zeros_like(units.positions))
        given = self._params, trace, units, inside, self._control
        of = {"layer": self._layer, "rule": self._rule}
        if self._downs is None:
            self._downs = _prepare_down(net, *given, **of)
        return np.asarray(_down(net, self._downs, *given, **of))


def _climb(net: Spec, keep, params, images, inside) -> convnet.Trace:
    """The trace, or if a rule is given what that asks of it."""
    model = convnet.ConvNet(net)
    _, trace = model.apply({"params": params}, images, inside=inside)
    return cones.kept(net, trace, keep) if keep else trace


def _descend(net: Spec, layer, rule, params, trace, units: Units, inside, control):
    count = len(units.channels)
    trace = cones.filled(net, trace, count)
    seed = jnp.zeros(trace.maps[layer].shape)
    places = tuple(units.positions.T) if seed.ndim == 4 else ()
    seed = seed.at[(jnp.arange(count), *places, units.channels)].set(units.values)
    if control is not None:
        params, seed, trace = control(
            net, params, seed, trace, layer=layer, inside=inside
        )
    return deconvnet.reconstruct(
        net, params, seed, trace, layer=layer, rule=rule, inside=inside
    )


def _way_up(net: Spec, keep, *given) -> ahead.Split:
    return ahead.split(functools.partial(_climb, net, keep), *given)


def _way_down(net: Spec, layer: str, rule, *given) -> ahead.Split:
    descend = functools.partial(_descend, net, layer, rule)
    return ahead.split(descend, *given, products=True)


# The kernels of either way, which all batches have in common, cones or whole images.


@functools.partial(jax.jit, static_argnames=("net", "keep"))
def _prepare_up(net: Spec, params, *given, keep):
    return _way_up(net, keep, params, *given).prepare(params)


@functools.partial(jax.jit, static_argnames=("net", "layer", "rule"))
def _prepare_down(net: Spec, params, *given, layer, rule):
    return _way_down(net, layer, rule, params, *given).prepare(params)


@functools.partial(jax.jit, static_argnames=("net", "keep"))
def _up(net: Spec, kernels, *given, keep):
    return _way_up(net, keep, *given).apply(kernels, *given)


@functools.partial(jax.jit, static_argnames=("net", "layer", "rule"))
def _down(net: Spec, kernels, *given, layer, rule):
    return _way_down(net, layer, rule, *given).apply(kernels, *given)
