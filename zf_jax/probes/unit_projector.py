"""Projects units of one layer, each from the receptive-field crop that it sees."""

import collections
import concurrent.futures
import math
import os
from collections.abc import Callable, Iterable, Sequence

import jax
import numpy as np

from zf_jax import geometry
from zf_jax.errors import BadInput
from zf_jax.layers import Dense
from zf_jax.probes import compiled_passes, forward_cache, receptive_field_crops
from zf_jax.spec import Spec

# Bytes that the maps of one batch of projections may take, and the most projections in
# a batch.
_BUDGET, _MOST = 512 << 20, 64
# On a CPU the maps should stay in the cache. Batches have a least size too, since the
# filters are read again for each batch (measured by `--bench=projection`).
_BYTES_CPU, _FEWEST_CPU, _MOST_CPU = 20 << 20, 8, 16
_MOST_THREADS = 8


def in_threads(work: Callable[..., None], batches: Iterable[tuple]) -> None:
    """Calls `work(*batch)` for all batches, several at the same time.

    One call alone leaves cores idle, since a crop's upper maps are too small to be
    divided among them. There is one thread more than cores, at most eight: one of them
    may be cutting crops or fetching results.

    The first argument of a call tells what program runs. The first call of each program
    goes alone, so that it compiles once.
    """
    threads, compiled = min(_MOST_THREADS, (os.cpu_count() or 1) + 1), set()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        started = collections.deque()
        for batch in batches:
            if batch[0] not in compiled:
                compiled.add(batch[0])
                work(*batch)
                continue
            if len(started) > threads:
                started.popleft().result()
            started.append(pool.submit(work, *batch))
        for each in started:
            each.result()


def cheaper_crop(net: Spec, layer: str) -> geometry.Crop | None:
    """The crop of a layer's units; None where a whole image is no more work."""
    net = net.upto(layer)
    if any(isinstance(each.filter, Dense) for each in net.layers):
        return None
    crop = geometry.receptive_field_crop(net, layer)
    own, whole = (sum(geometry.multiply_adds(n).values()) for n in (crop.net, net))
    return crop if own < whole else None


def unit_cost(net: Spec, layer: str, rule) -> int:
    """`forward_cost` of one unit, computed from its crop where that is cheaper."""
    crop = cheaper_crop(net, layer)
    return forward_cache.forward_cost(crop.net if crop else net.upto(layer), rule)


class UnitProjector:
    """Projects units of one layer, a batch at a time.

    `project_images` computes each unit's crop, `project_cached` cuts it out of the
    trace of the whole image. Both give the first pixels [N, 2] of the projections in
    their images, and the projections. A short batch is filled up with its last unit, so
    that nothing compiles anew.

    Attributes:
      batch_size: how many units are projected in one call.
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
        self._crop, self._field = (
            cheaper_crop(net, layer),
            geometry.receptive_fields(net)[layer],
        )
        self._forward_kernels, self._backward_kernels = None, {}
        self.batch_size = batch_size or self._fitting()

    def _fitting(self) -> int:
        maps = geometry.shapes(self._crop.net if self._crop else self._net).values()
        unit = 4 * sum(2 * math.prod(m.maps) + math.prod(m.output) for m in maps)
        most = _MOST
        if jax.default_backend() == "cpu":
            most = min(max(_BYTES_CPU // unit, _FEWEST_CPU), _MOST_CPU)
        return max(1, min(most, _BUDGET // unit))

    def project_images(
        self, images: Sequence[np.ndarray], units: compiled_passes.Units
    ):
        """Projects each unit from the crop of its image.

        There is an image [H, W, C] for each of at most `batch_size` units.

        Raises:
          BadInput: an image has another size than a dense layer takes.
        """
        images, filled = self._filled(images, units)
        sizes = [image.shape[:2] for image in images]
        net, firsts, valid = self._crops(sizes, filled.positions)
        if valid is not None:
            images = [
                receptive_field_crops.crop_with_zeros(image, first, net.input.size)
                for image, first in zip(images, firsts, strict=True)
            ]
        given = self._params, np.stack(images), valid
        if self._forward_kernels is None:
            self._forward_kernels = compiled_passes.prepare_forward(
                net, *given, keep=self._keep
            )
        trace = compiled_passes.forward(
            net, self._forward_kernels, *given, keep=self._keep
        )
        return self._backward(net, trace, filled, valid, firsts, len(units.channels))

    def project_cached(
        self,
        forwards: Sequence[forward_cache.CachedForward],
        units: compiled_passes.Units,
    ):
        """Projects each unit from its part of the trace of its whole image.

        There is a forward pass for each unit, of an image of the net's size.
        """
        forwards, filled = self._filled(forwards, units)
        traces = [each.trace() for each in forwards]
        sizes = [self._net.input.size] * len(traces)
        net, firsts, valid = self._crops(sizes, filled.positions)
        of = filled.positions, valid
        trace = receptive_field_crops.cut_traces(
            self._net, traces, *of, layer=self._layer
        )
        return self._backward(net, trace, filled, valid, firsts, len(units.channels))

    def _filled(self, given: Sequence, units: compiled_passes.Units):
        filled = np.minimum(np.arange(self.batch_size), len(given) - 1)
        return [given[n] for n in filled], units.at(filled)

    def _crops(self, sizes, positions: np.ndarray):
        """The net that is run, the first pixels of its images, and the valid mask."""
        all_own = set(sizes) == {self._net.input.size}
        if self._crop is None and all_own:
            return self._net, np.zeros((len(sizes), 2), int), None
        if any(isinstance(each.filter, Dense) for each in self._net.layers):
            wrong = next(size for size in sizes if size != self._net.input.size)
            own = "x".join(map(str, self._net.input.size))
            raise BadInput(
                f"an image of {'x'.join(map(str, wrong))}: {self._layer} of "
                f"{self._net.name} is dense or follows a dense layer; give images of "
                f"{own}"
            )
        crop = self._crop or geometry.receptive_field_crop(self._net, self._layer)
        firsts = [self._field.first(i, positions[:, i]) for i in (0, 1)]
        firsts = np.stack(firsts, axis=1)
        return (
            crop.net,
            firsts,
            receptive_field_crops.valid_mask(self._net, crop, sizes, positions),
        )

    def _backward(
        self, net: Spec, trace, units: compiled_passes.Units, valid, firsts, count: int
    ):
        if valid is not None:
            units = units._replace(positions=np.zeros_like(units.positions))
        given = self._params, trace, units, valid, self._control
        of = {"layer": self._layer, "rule": self._rule}
        if net not in self._backward_kernels:
            self._backward_kernels[net] = compiled_passes.prepare_backward(
                net, *given, **of
            )
        parts = compiled_passes.backward(net, self._backward_kernels[net], *given, **of)
        return firsts[:count], np.asarray(parts)[:count]
