"""Units of one layer back to pixels, each from its own cone of the net alone."""

import collections
import concurrent.futures
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterable

import jax
import numpy as np

from zf_jax import convnet, deconvnet, geometry
from zf_jax.layers import Dense, Pair
from zf_jax.probes import cones
from zf_jax.spec import Spec
from zf_jax.transforms import ahead

# Bytes that the maps of the projections computed together may take, and how many there
# are at the most: on a CPU, what stays in its cache (`--bench=projection`).
_BUDGET = 512 << 20
_MOST = {"cpu": 4}
_MOST_ACCELERATOR = 64
_MOST_THREADS = 8


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


class Look:
    """Projects units of one layer, from their cones or from whole images."""

    def __init__(self, net: Spec, params: dict, layer: str, rule, control):
        self._net, self._layer, self._rule, self._control = net, layer, rule, control
        self._params = {each.name: params[each.name] for each in net.layers}
        self._kernels = None
        self._cone = None
        if not any(isinstance(each.filter, Dense) for each in net.layers):
            self._cone = geometry.cone(net, layer)
        self._whole = self._cone is None or self._cost(net) <= self._cost(
            self._cone.net
        )

    @staticmethod
    def _cost(net: Spec) -> int:
        return sum(geometry.multiply_adds(net).values())

    def fitting(self) -> int:
        """How many units' maps fit the budget."""
        net = self._net if self._whole else self._cone.net
        maps = geometry.shapes(net).values()
        entries = sum(2 * math.prod(m.maps) + math.prod(m.output) for m in maps)
        most = _MOST.get(jax.default_backend(), _MOST_ACCELERATOR)
        return max(1, min(most, _BUDGET // (4 * entries)))

    def is_shared(self, size: Pair, units: int, batch_size: int) -> bool:
        """Whether so many units of an image are worth running all of it up once.

        Images of other sizes than the net's own would each compile anew.
        """
        if self._whole or tuple(size) != self._net.input.size:
            return False
        alone = units * self._cost(self._cone.net)
        return units > batch_size and alone > self._cost(self._net)

    def of_one(self, images, channels, positions, batch_size: int):
        """`of_several` units of one image, which is run up once, as a whole."""
        net, whole, parts = self._cone.net, None, []
        size, colours = net.input.size, net.input.channels
        of = {"layer": self._layer, "rule": self._rule}
        for start in range(0, len(channels), batch_size):
            now = np.minimum(start + np.arange(batch_size), len(channels) - 1)
            inside = cones.inside(
                self._net,
                self._cone,
                [self._net.input.size] * batch_size,
                positions[now],
            )
            at = np.zeros_like(positions[now])
            unit = channels[now], at, inside, self._control
            if whole is None:
                # Kernels are the same whatever is filtered.
                silent = np.zeros((batch_size, *size, colours), np.float32)
                up, down = self._prepared(net, silent, inside, *unit)
                whole = _up(self._net, up, self._params, images[0][None], None)
            trace = cones.cut_trace(self._net, whole, positions[now], inside, **of)
            parts.append(_down(net, down, self._params, trace, *unit, **of))
        parts = np.concatenate([np.asarray(each) for each in parts])
        return self._firsts(positions), parts[: len(channels)]

    def of_several(self, images, channels, positions, batch_size: int):
        """Up to a batch of units, each from its own cone.

        Returns:
          The first pixels [N, 2] of what was projected, and the projections.
        """
        count = len(images)
        # The last batch is filled up with its last unit, so that nothing recompiles.
        filled = np.minimum(np.arange(batch_size), count - 1)
        images = [images[i] for i in filled]
        channels, positions = channels[filled], positions[filled]
        sizes = [image.shape[:2] for image in images]
        own = set(sizes) == {self._net.input.size}
        if self._cone is None or (self._whole and own):
            firsts, inside = np.zeros((batch_size, 2), int), None
            net, at = self._net, positions
        else:
            firsts = self._firsts(positions)
            images = [
                cones.cut(image, first, self._cone.net.input.size)
                for image, first in zip(images, firsts, strict=True)
            ]
            inside = cones.inside(self._net, self._cone, sizes, positions)
            net, at = self._cone.net, np.zeros_like(positions)
        seen = np.stack(images), inside
        unit = channels, at, inside, self._control
        of = {"layer": self._layer, "rule": self._rule}
        up, down = self._prepared(net, *seen, *unit)
        trace = _up(net, up, self._params, *seen)
        parts = _down(net, down, self._params, trace, *unit, **of)
        return firsts[:count], np.asarray(parts)[:count]

    def _prepared(self, net: Spec, *given):
        """The kernels of both ways, the same for cones and whole images."""
        if self._kernels is None:
            of = {"layer": self._layer, "rule": self._rule}
            self._kernels = _prepare(net, self._params, *given, **of)
        return self._kernels

    def _firsts(self, positions: np.ndarray) -> np.ndarray:
        """The first row and column that each unit sees, [N, 2]."""
        field = geometry.fields(self._net)[self._layer]
        return np.stack([field.first(i, positions[:, i]) for i in (0, 1)], axis=1)


# Up and down are two compiled calls: in one, XLA computes the switches anew for every
# place of their windows rather than keep them. Up, every bit counts: where two entries
# of a window are nearly equal, a rounding decides which of them is the winner. Down,
# matrix products do.


def _climb(net: Spec, params, images, inside) -> convnet.Trace:
    return convnet.ConvNet(net).apply({"params": params}, images, inside=inside)[1]


def _descend(
    net: Spec, layer, rule, params, trace, channels, positions, inside, control
):
    maps = trace.maps[layer]
    at = positions if maps.ndim == 4 else None
    seed = deconvnet.isolate(maps, channel=channels, position=at)
    if control is not None:
        params, seed, trace = control(
            net, params, seed, trace, layer=layer, inside=inside
        )
    return deconvnet.reconstruct(
        net, params, seed, trace, layer=layer, rule=rule, inside=inside
    )


def _way_up(net: Spec, *given) -> ahead.Split:
    return ahead.split(functools.partial(_climb, net), *given)


def _way_down(net: Spec, layer: str, rule, *given) -> ahead.Split:
    descend = functools.partial(_descend, net, layer, rule)
    return ahead.split(descend, *given, products=True)


@functools.partial(jax.jit, static_argnames=("net", "layer", "rule"))
def _prepare(net: Spec, params, images, inside, *rest, layer, rule):
    """The kernels of both ways, which all batches have in common."""
    up = _way_up(net, params, images, inside)
    trace = jax.eval_shape(functools.partial(_climb, net), params, images, inside)
    down = _way_down(net, layer, rule, params, trace, *rest)
    return up.prepare(params), down.prepare(params)


@functools.partial(jax.jit, static_argnames="net")
def _up(net: Spec, kernels, *given):
    return _way_up(net, *given).apply(kernels, *given)


@functools.partial(jax.jit, static_argnames=("net", "layer", "rule"))
def _down(net: Spec, kernels, *given, layer, rule):
    return _way_down(net, layer, rule, *given).apply(kernels, *given)
