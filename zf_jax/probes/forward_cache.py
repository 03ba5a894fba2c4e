"""Forward passes of whole images, shared by all their units."""

import threading
from collections.abc import Callable

import jax
import numpy as np

from zf_jax import convnet, geometry
from zf_jax.layers import Pool
from zf_jax.probes import compiled_passes
from zf_jax.spec import Spec

# The most bytes of whole images' traces that are kept, and that a batch may take.
MAX_CACHE_BYTES = 1 << 30


def forward_cost(net: Spec, rule) -> int:
    """Multiply-adds of the forward pass, as far as the rule needs it."""
    costs = list(geometry.multiply_adds(net).values())
    if rule != "deconvnet":
        return sum(costs)
    pooled = [
        count
        for count, layer in enumerate(net.layers[:-1], start=1)
        if any(isinstance(op, Pool) for op in layer.ops_after_maps)
    ]
    return sum(costs[: max(pooled, default=0)])


class CachedForward:
    """An image whose forward pass runs once, when its trace is first asked for."""

    def __init__(self, run: Callable[[np.ndarray], convnet.Trace], image: np.ndarray):
        self._run, self._image, self._trace = run, image, None
        self._lock = threading.Lock()

    def trace(self) -> convnet.Trace:
        """What the backward pass needs of the image; from any thread."""
        with self._lock:
            if self._trace is None:
                self._trace, self._image = self._run(self._image), None
            return self._trace


class ForwardCache:
    """Forward passes of whole images of the net's size, shared by all their units.

    Attributes:
      cost: multiply-adds of one forward pass.
      bytes: of one trace.
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
        """Whether no more traces will be kept."""
        return (len(self._kept) + 1) * self.bytes > MAX_CACHE_BYTES

    def get(self, number: int, image: np.ndarray) -> CachedForward:
        """The forward pass of image `number`, kept while there is room.

        Called from one thread alone, unlike `CachedForward.trace`.
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
        """Forgets an image that is not needed any more."""
        self._kept.pop(number, None)

    def _run(self, image: np.ndarray) -> convnet.Trace:
        given = self._params, image[None], None
        trace = compiled_passes.forward(
            self._net, self._kernels, *given, keep=self._rule
        )
        return jax.block_until_ready(trace)
