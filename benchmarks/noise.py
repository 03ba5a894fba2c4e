"""Images of noise, which take no time to read."""

import math
from collections.abc import Iterator

import numpy as np

from zf_jax.layers import Pair


class Images:
    """Noise that is smooth at several scales, by index.

    Each image is the sum of two out of a few, no pair twice.
    """

    def __init__(self, count: int, size: Pair):
        self._count = count
        self._side = math.isqrt(count - 1) + 1
        self._parts = [_noise(number, size) for number in range(2 * self._side)]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        """[H, W, 3] float32, around 0."""
        return self._sum(index, None)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """[N, H, W, 3] float32, in order."""
        for first in range(0, self._count, size):
            count = min(size, self._count - first)
            batch = np.empty((count, *self._parts[0].shape), np.float32)
            for number, image in enumerate(batch, first):
                self._sum(number, image)
            yield batch

    def _sum(self, index: int, out: np.ndarray | None) -> np.ndarray:
        one, other = divmod(int(index), self._side)
        return np.add(self._parts[one], self._parts[self._side + other], out)


def _noise(seed: int, size: Pair) -> np.ndarray:
    rng, total = np.random.default_rng(seed), np.zeros((*size, 3), np.float32)
    for step in (4, 16, 64):
        shape = [-(-n // step) for n in size]
        coarse = rng.normal(size=(*shape, 3)).astype(np.float32) * 28
        fine = coarse.repeat(step, axis=0).repeat(step, axis=1)
        total += fine[: size[0], : size[1]]
    return total
