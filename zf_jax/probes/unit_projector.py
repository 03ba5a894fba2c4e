"""Units of one layer back to pixels, each from its own cone of the net alone."""

import collections
import concurrent.futures
import math
import os
import threading
from collections.abc import Callable, Iterable, Sequence

import jax
import numpy as np

from zf_jax import convnet, geometry
from zf_jax.errors import BadInput
from zf_jax.layers import Dense, Pool
from zf_jax.probes import compiled_passes, receptive_field_crops
from zf_jax.spec import Spec

# Bytes that the maps of the projections computed together may take, and how many there
# are at the most.
_BUDGET, _MOST = 512 << 20, 64
# On a CPU, whose cache they are to stay in: these bytes, but no fewer and no more of
# them, since the filters are read again for each batch (`--bench=projection`).
_BYTES_CPU, _FEWEST_CPU, _MOST_CPU = 20 << 20, 8, 16
_MOST_THREADS = 8
# Bytes of whole images' traces that are kept, and that a batch may take.
MOST_KEPT = 1 << 30


def in_threads(work: Callable[..., None], batches: Iterable[tuple]) -> None:
    """Does `work(*batch)` for all batches, a few side by side.

    One alone leaves cores idle: a cone's upper maps are too small to be shared out.
    They are one more than cores, eight at the most: one may be cut or fetched.

    Args:
      work: what is done; from any thread.
      batches: arguments, the first of which tells what kind of work it is. The first
        batch of a kind goes ahead, so that what it compiles is there for the others.
    """
    threads, kinds = min(_MOST_THREADS, (os.cpu_count() or 1) + 1), set()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        begun = collections.deque()
        for batch in batches:
            if batch[0] not in kinds:
                kinds.add(batch[0])
                work(*batch)
                continue
            if len(begun) > threads:
                begun.popleft().result()
            begun.append(pool.submit(work, *batch))
        for each in begun:
            each.result()


def cheaper_crop(net: Spec, layer: str) -> geometry.Crop | None:
    """The cone of a layer's units; None where all of an image is no more work."""
    net = net.upto(layer)
    if any(isinstance(each.filter, Dense) for each in net.layers):
        return None
    cone = geometry.receptive_field_crop(net, layer)
    own, whole = (sum(geometry.multiply_adds(n).values()) for n in (cone.net, net))
    return cone if own < whole else None


def unit_cost(net: Spec, layer: str, rule) -> int:
    """`climb_cost` of a unit alone."""
    cone = cheaper_crop(net, layer)
    return forward_cost(cone.net if cone else net.upto(layer), rule)


def forward_cost(net: Spec, rule) -> int:
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


class CachedForward:
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


class ForwardCache:
    """Whole images of the net's own size, run up once for all their units.

    Attributes:
      cost: multiply-adds of one.
      bytes: what its trace takes.
    """

    def __init__(self, net: Spec, params: dict, rule):
        self._net, self._rule = net, rule
        self._params = {each.name: params[each.name] for each in net.layers}
        self.cost = forward_cost(net, rule)
        self.bytes = compiled_passes.trace_bytes(net, self._params, rule)
        self._kernels, self._kept = None, {}

    def __contains__(self, number: int) -> bool:
        return number in self._kept

    def is_full(self) -> bool:
        """Whether no more images will be kept."""
        return (len(self._kept) + 1) * self.bytes > MOST_KEPT

    def get(self, number: int, image: np.ndarray) -> CachedForward:
        """Of image `number`, [H, W, C] float; kept while there is room.

        From one thread alone, unlike `Climb.trace`.
        """
        if number in self._kept:
            return self._kept[number]
        if self._kernels is None:
            given = self._params, image[None], None
            self._kernels = compiled_passes.prepare_forward(
                self._net, *given, keep=self._rule
            )
        found = CachedForward(self._run, image)
        if not self.is_full():
            self._kept[number] = found
        return found

    def drop(self, number: int) -> None:
        """Forgets an image that is needed no more."""
        self._kept.pop(number, None)

    def _run(self, image: np.ndarray) -> convnet.Trace:
        given = self._params, image[None], None
        trace = compiled_passes.forward(
            self._net, self._kernels, *given, keep=self._rule
        )
        return jax.block_until_ready(trace)


class UnitProjector:
    """Projects units of one layer, a batch at a time.

    Both ways give the first pixels [N, 2] of what was projected, and the projections.
    What a batch lacks is filled up with its last unit, so that nothing recompiles.

    Attributes:
      batch_size: how many units go together.
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
        self._cone, self._field = cheaper_crop(net, layer), geometry.fields(net)[layer]
        self._ups, self._downs = None, {}
        self.batch_size = batch_size or self._fitting()

    def _fitting(self) -> int:
        maps = geometry.shapes(self._cone.net if self._cone else self._net).values()
        unit = 4 * sum(2 * math.prod(m.maps) + math.prod(m.output) for m in maps)
        most = _MOST
        if jax.default_backend() == "cpu":
            most = min(max(_BYTES_CPU // unit, _FEWEST_CPU), _MOST_CPU)
        return max(1, min(most, _BUDGET // unit))

    def project_images(
        self, images: Sequence[np.ndarray], units: compiled_passes.Units
    ):
        """Each unit runs up the part of its image that it sees.

        Args:
          images: of each unit its own, [H, W, C] float.
          units: up to a batch of them.

        Raises:
          BadInput: an image of another size than a dense layer takes.
        """
        images, filled = self._filled(images, units)
        sizes = [image.shape[:2] for image in images]
        net, firsts, valid = self._framed(sizes, filled.positions)
        if valid is not None:
            images = [
                receptive_field_crops.cut(image, first, net.input.size)
                for image, first in zip(images, firsts, strict=True)
            ]
        given = self._params, np.stack(images), valid
        if self._ups is None:
            self._ups = compiled_passes.prepare_forward(net, *given, keep=self._keep)
        trace = compiled_passes.forward(net, self._ups, *given, keep=self._keep)
        return self._down(net, trace, filled, valid, firsts, len(units.channels))

    def project_cached(
        self, climbs: Sequence[CachedForward], units: compiled_passes.Units
    ):
        """Each unit takes its part of the trace of its image, of the net's own size.

        Args:
          climbs: of each unit its image's.
          units: up to a batch of them.
        """
        climbs, filled = self._filled(climbs, units)
        traces = [each.trace() for each in climbs]
        sizes = [self._net.input.size] * len(traces)
        net, firsts, valid = self._framed(sizes, filled.positions)
        of = filled.positions, valid
        trace = receptive_field_crops.cut_traces(
            self._net, traces, *of, layer=self._layer
        )
        return self._down(net, trace, filled, valid, firsts, len(units.channels))

    def _filled(self, given: Sequence, units: compiled_passes.Units):
        filled = np.minimum(np.arange(self.batch_size), len(given) - 1)
        return [given[n] for n in filled], units.at(filled)

    def _framed(self, sizes, positions: np.ndarray):
        """The net that is run, where it begins in each image, and what is valid."""
        own = set(sizes) == {self._net.input.size}
        if self._cone is None and own:
            return self._net, np.zeros((len(sizes), 2), int), None
        if any(isinstance(each.filter, Dense) for each in self._net.layers):
            wrong = next(size for size in sizes if size != self._net.input.size)
            own = "x".join(map(str, self._net.input.size))
            raise BadInput(
                f"an image of {'x'.join(map(str, wrong))}: {self._layer} of "
                f"{self._net.name} is dense or follows a dense layer; give images of "
                f"{own}"
            )
        cone = self._cone or geometry.receptive_field_crop(self._net, self._layer)
        firsts = [self._field.first(i, positions[:, i]) for i in (0, 1)]
        firsts = np.stack(firsts, axis=1)
        return (
            cone.net,
            firsts,
            receptive_field_crops.valid_mask(self._net, cone, sizes, positions),
        )

    def _down(
        self, net: Spec, trace, units: compiled_passes.Units, valid, firsts, count: int
    ):
        if valid is not None:
            units = units._replace(positions=np.zeros_like(units.positions))
        given = self._params, trace, units, valid, self._control
        of = {"layer": self._layer, "rule": self._rule}
        if net not in self._downs:
            self._downs[net] = compiled_passes.prepare_backward(net, *given, **of)
        parts = compiled_passes.backward(net, self._downs[net], *given, **of)
        return firsts[:count], np.asarray(parts)[:count]
