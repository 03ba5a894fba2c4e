"""Depthwise convolutions as a sum of shifted products.

On a CPU, XLA computes a convolution with a group for each channel 20 to 230 times
slower than the products and sums that it consists of, which it fuses into one loop
(docs/performance-notes.md).
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax import lax


def conv(
    x: jax.Array,
    kernel: jax.Array,
    *,
    axes: Sequence[int],
    channel_axis: int,
    strides: Sequence[int],
    dilation: Sequence[int],
) -> jax.Array:
    """Convolves every channel with a filter of its own, without padding.

    Args:
      x: any layout, float.
      kernel: [rows, columns, C].
      axes: of rows and of columns in x, at least as long as the filters.
      channel_axis: of the C channels in x.
      strides: between results, along rows and columns.
      dilation: between the entries of a filter.

    Returns:
      The same layout as x.
    """
    weights, total = [1] * x.ndim, None
    weights[channel_axis] = x.shape[channel_axis]
    for entry in np.ndindex(kernel.shape[:2]):
        starts, ends, steps = [0] * x.ndim, list(x.shape), [1] * x.ndim
        for axis, at, size, apart, stride in zip(
            axes, entry, kernel.shape[:2], dilation, strides, strict=True
        ):
            starts[axis], steps[axis] = at * apart, stride
            # The last entry that the filter's own last entry leaves room for.
            ends[axis] -= (size - 1 - at) * apart
        shifted = lax.slice(x, starts, ends, steps) * kernel[entry].reshape(weights)
        total = shifted if total is None else total + shifted
    return total
