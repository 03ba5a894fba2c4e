"""Filters of small maps as matrix products, beside XLA's own convolution."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import lax

from benchmarks import timing
from zf_jax import xla
from zf_jax.ops import products


class Case(NamedTuple):
    """A filter as an incremental sweep has it.

    Attributes:
      count: windows together.
      side: of a window's surroundings, rows and columns.
      maps: in, out.
      size, stride: of the filter.
    """

    count: int
    side: int
    maps: tuple[int, int]
    size: int
    stride: int


_CASES = {
    "zfnet layer2": Case(25, 17, (96, 256), 5, 2),
    "zfnet layer4": Case(25, 11, (384, 384), 3, 1),
    "zfnet layer5": Case(25, 13, (384, 256), 3, 1),
    "vgg16 block2_conv2": Case(13, 24, (128, 128), 3, 1),
    "vgg16 block4_conv3": Case(13, 18, (512, 512), 3, 1),
}


def bench() -> dict[str, timing.Measured]:
    """Both sides of every case."""
    sides = {}
    for name, case in _CASES.items():
        sides |= {f"{name} {way}": run for way, run in _sides(case).items()}
    measured = timing.measure(sides)
    for name in _CASES:
        ours, other = (measured[f"{name} {way}"] for way in ("products", "convolution"))
        print(f"{name:20} products {ours}; {other.median / ours.median:.2f} x as fast")
    return measured


def _sides(case: Case) -> dict[str, Callable[[], None]]:
    rng, (maps_in, maps_out) = np.random.default_rng(0), case.maps
    shape = case.count, case.side, case.side, maps_in
    x = jax.device_put(rng.normal(size=shape).astype(np.float32))
    kernel = rng.normal(size=(case.size, case.size, maps_in, maps_out))
    kernel = jax.device_put(kernel.astype(np.float32))
    stride = (case.stride,) * 2
    prepared = products.prepare(kernel, stride)

    @xla.jit
    def convolution(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel, stride, "VALID", dimension_numbers=layout
        )

    @xla.jit
    def by_products(x, prepared):
        return products.filter_maps(x, prepared, stride)

    return {
        "products": lambda: jax.block_until_ready(by_products(x, prepared)),
        "convolution": lambda: jax.block_until_ready(convolution(x, kernel)),
    }
