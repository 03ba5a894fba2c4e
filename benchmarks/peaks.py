"""What a training step has to compute, and what devices compute at their peak."""

import jax

from zf_jax import geometry, spec

# FLOP/s by the start of the device's name, from the makers' data sheets: dense products
# of float32 (without tensor cores), TF32 and bfloat16; None where a device has no such
# products. Of a GPU these are the SXM modules.
_PEAKS = {
    "NVIDIA A100": (19.5e12, 156e12, 312e12),
    "NVIDIA H100": (67e12, 494.5e12, 989e12),
    "NVIDIA H200": (67e12, 494.5e12, 989e12),
    "TPU v4": (None, None, 275e12),
    "TPU v5 lite": (None, None, 197e12),
    "TPU v5": (None, None, 459e12),
    "TPU v6 lite": (None, None, 918e12),
}
_PRECISIONS = ("float32", "tensorfloat32", "bfloat16")


def of_step(net: spec.Spec, images: int) -> int:
    """The FLOP of a step's convolutions and products; all else counts as nothing.

    A multiply-add is two. Each filter is applied, differentiated by its weights, and,
    but for the first, by its input.
    """
    first, *others = geometry.multiply_adds(net).values()
    return 2 * images * (2 * first + 3 * sum(others))


def of_device(precision: str, device: jax.Device | None = None) -> float | None:
    """A device's FLOP/s at its peak; None where unknown.

    Args:
      precision: float32, tensorfloat32 or bfloat16.
      device: the first by default.
    """
    name = (device or jax.devices()[0]).device_kind
    for start, peaks in _PEAKS.items():
        if name.startswith(start):
            return peaks[_PRECISIONS.index(precision)]
    return None
