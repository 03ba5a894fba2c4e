"""Units of one layer back to pixels, each from its own cone of the net alone."""

import collections
import concurrent.futures
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterable, Sequence

import jax
import numpy as np

from zf_jax import convnet, geometry
from zf_jax.layers import Dense, Pool
from zf_jax.probes import cones, ways
from zf_jax.spec import Spec

# Bytes that the maps of the projections computed together may take, and how many there
# are at the most: on a CPU, what stays in its cache (`--bench=projection`).
_BUDGET = 512 << 20
_MOST = {"cpu": 8}
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


class Climb:
    """An image that is run up once, when its trace is first asked for."""

    def __init__(self, run: Callable[[np.ndarray], convnet.Trace], image: np.ndarray):
        self._run, self._image, self._trace = run, image, None
        self._lock = threading.Lock()

    def trace(self) -> convnet.Trace:
        """What the deconvnet asks of the image; from any thread."""
        with self._lock:
            if self._trace is None:
                self._trace, self._image = self._run(self._image), None
            return self._trace


class Climbs:
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

    def of(self, number: int, image: np.ndarray) -> Climb:
        """Of image `number`, [H, W, C]: kept for later while there is room."""
        if number in self._kept:
            return self._kept[number]
        found = Climb(self._run, image)
        if not self.is_full():
            self._kept[number] = found
        return found

    def _run(self, image: np.ndarray) -> convnet.Trace:
        given = self._params, image[None], None
        if self._kernels is None:
            self._kernels = ways.prepare_up(self._net, *given, keep=self._rule)
        trace = ways.up(self._net, self._kernels, *given, keep=self._rule)
        self._bytes += sum(leaf.nbytes for leaf in jax.tree.leaves(trace))
        return jax.block_until_ready(trace)


class Look:
    """Projects units of one layer, a batch at a time.

    Both ways give the first pixels [N, 2] of what was projected, and the projections.
    What a batch lacks is filled up with its last unit, so that nothing recompiles.
    """

    def __init__(
        self,
        net: Spec,
        params: dict,
        layer: str,
        *,
        rule,
        control=None,
        all_of_trace: bool = False,
        batch_size: int | None = None,
    ):
        self._net, self._layer, self._rule = net.upto(layer), layer, rule
        self._params = {each.name: params[each.name] for each in self._net.layers}
        self._control, self._keep = control, None if all_of_trace else rule
        self._cone = smallest(net, layer)
        self._ups = self._downs = None
        self.batch_size = batch_size or self._fitting()

    def _fitting(self) -> int:
        maps = geometry.shapes(self._cone.net if self._cone else self._net).values()
        entries = sum(2 * math.prod(m.maps) + math.prod(m.output) for m in maps)
        most = _MOST.get(jax.default_backend(), _MOST_ACCELERATOR)
        return max(1, min(most, _BUDGET // (4 * entries)))

    def of_images(self, images: Sequence[np.ndarray], units: ways.Units):
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
            self._ups = ways.prepare_up(net, *given, keep=self._keep)
        trace = ways.up(net, self._ups, *given, keep=self._keep)
        return self._down(net, trace, filled, inside, firsts, len(units.channels))

    def of_climbs(self, climbs: Sequence[Climb], units: ways.Units):
        """Each unit takes its part of the trace of its image, of the net's own size."""
        climbs, filled = self._filled(climbs, units)
        traces = [each.trace() for each in climbs]
        sizes = [self._net.input.size] * len(traces)
        net, firsts, inside = self._framed(sizes, filled.positions)
        of = filled.positions, inside
        trace = cones.cut_traces(self._net, traces, *of, layer=self._layer)
        return self._down(net, trace, filled, inside, firsts, len(units.channels))

    def _filled(self, given: Sequence, units: ways.Units):
        filled = np.minimum(np.arange(self.batch_size), len(given) - 1)
        return [given[n] for n in filled], units.at(filled)

    def _framed(self, sizes, positions: np.ndarray):
        """The net that is run, where it begins in each image, and what is inside."""
        own = set(sizes) == {self._net.input.size}
        if self._cone is None and own:
            return self._net, np.zeros((len(sizes), 2), int), None
        for size in sizes:
            # A dense layer takes no other.
            geometry.shapes(self._net, size)
        cone = self._cone or geometry.cone(self._net, self._layer)
        field = geometry.fields(self._net)[self._layer]
        firsts = np.stack([field.first(i, positions[:, i]) for i in (0, 1)], axis=1)
        return cone.net, firsts, cones.inside(self._net, cone, sizes, positions)

    def _down(self, net: Spec, trace, units: ways.Units, inside, firsts, count: int):
        if inside is not None:
            units = units._replace(positions=np.zeros_like(units.positions))
        given = self._params, trace, units, inside, self._control
        of = {"layer": self._layer, "rule": self._rule}
        if self._downs is None:
            self._downs = ways.prepare_down(net, *given, **of)
        parts = ways.down(net, self._downs, *given, **of)
        return firsts[:count], np.asarray(parts)[:count]
