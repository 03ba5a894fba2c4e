"""How arrays of different ranks meet."""

import numpy as np

from zf_jax.pretrained.onnx_ops.table import Array, is_numpy


def same_rank(*arrays: Array) -> list[Array]:
    """The arrays with leading axes of length 1, as ONNX broadcasts them.

    A constant of one entry becomes a scalar: it stands in the jaxpr as a literal, by
    which a rectifier is recognised.
    """
    rank = max(np.ndim(array) for array in arrays)
    others = [a for a in arrays if not (is_numpy(a) and np.size(a) == 1)]
    literal = any(np.ndim(a) == rank and not is_numpy(a) for a in others)

    def fit(array):
        if literal and is_numpy(array) and np.size(array) == 1:
            return np.reshape(array, ())
        return array.reshape((1,) * (rank - np.ndim(array)) + np.shape(array))

    return [fit(array) for array in arrays]
