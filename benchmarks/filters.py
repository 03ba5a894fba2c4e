"""3 x 3 convolutions by the CPU's own form (`zf_jax/kernels/`), and by XLA."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import lax

from benchmarks import timing
from zf_jax import xla
from zf_jax.kernels import winograd

_OURS, _XLA = "winograd", "xla"


class _Case(NamedTuple):
    """A convolution as an incremental sweep has it.

    Attributes:
      count: windows in a batch.
      side: of a window, rows and columns.
      channels: in, out.
    """

    count: int
    side: int
    channels: tuple[int, int]


_CASES = {
    "zfnet layer4": _Case(25, 11, (384, 384)),
    "zfnet layer5": _Case(25, 13, (384, 256)),
    "vgg16 block2_conv2": _Case(13, 24, (128, 128)),
    "vgg16 block4_conv3": _Case(13, 18, (512, 512)),
}


def bench(config: timing.CommonConfig) -> dict[str, timing.Measured]:
    """Both forms of every case."""
    sides = {}
    for name, case in _CASES.items():
        sides |= {f"{name} {form}": run for form, run in _forms(case).items()}
    measured = timing.measure(sides, config.runs)
    for name in _CASES:
        ours, other = (measured[f"{name} {form}"] for form in (_OURS, _XLA))
        print(f"{name:20} {ours}; {other.median / ours.median:.2f} x as fast as XLA")
    return measured


def _forms(case: _Case) -> dict[str, Callable[[], object]]:
    rng, (channels_in, channels_out) = np.random.default_rng(0), case.channels
    x = rng.normal(size=(case.count, case.side, case.side, channels_in))
    kernel = rng.normal(size=(3, 3, channels_in, channels_out))
    x, kernel = (jax.device_put(each.astype(np.float32)) for each in (x, kernel))
    transformed = xla.jit(winograd.transform_kernel)(kernel)
    layout = ("NHWC", "HWIO", "NHWC")

    @xla.jit
    def by_xla(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=layout
        )

    by_winograd = xla.jit(winograd.conv)
    return {
        _OURS: lambda: jax.block_until_ready(by_winograd(x, transformed)),
        _XLA: lambda: jax.block_until_ready(by_xla(x, kernel)),
    }
