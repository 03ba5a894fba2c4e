"""Winograd's F(4x4, 3x3): 3 x 3 filters by 36 products for 4 x 4 places, not 144.

Lavin & Gray 2016. A tile of 6 x 6 entries of the input is turned, multiplied point by
point with the turned kernel, and turned back into 4 x 4 of the result.

Its errors in float32 depend on the points it interpolates at (Barabasz et al. 2020).
With 0, 1, -1, 2 and -2 they are ten times a convolution's; with 0, 3/4, -3/4, 3/2 and
-3/2 they are three to five times, 2e-6 to 4e-6 of the largest value.
"""

import jax
import jax.numpy as jnp
import numpy as np

# Side of a tile of the result, and of the input that it sees.
TILE, TURNED = 4, 6
# Bytes of turned entries worked on together: what fits the cache.
_BLOCK = 1 << 20
# The points are 0, the two of each pair, and infinity.
_NEAR, _FAR = 0.75, 1.5


def turn_kernel(kernel: jax.Array) -> jax.Array:
    """[3, 3, C, maps] -> [36, C, maps], both axes at once: sums of 9 entries each."""
    matrix = jnp.asarray(np.kron(_filter_turn(), _filter_turn()), kernel.dtype)
    turned = jnp.matmul(matrix, kernel.reshape(9, -1), precision="highest")
    return turned.reshape(TURNED**2, *kernel.shape[2:])


def _filter_turn() -> np.ndarray:
    """[6, 3]: a filter's polynomial at the points, over what `turn` leaves out."""
    points = np.array([0, _NEAR, -_NEAR, _FAR, -_FAR])
    apart = [np.prod(point - points[points != point]) for point in points]
    at_points = points[:, None] ** np.arange(3) / np.array(apart)[:, None]
    return np.concatenate([at_points, [[0, 0, 1]]])


def block_bytes(factors: jax.Array) -> int:
    """Bytes of turned entries to work on together.

    No less than half of the turned kernel, which is read again for every block.
    """
    return max(_BLOCK, factors.size * factors.dtype.itemsize // 2)


def turn(d) -> list[jax.Array]:
    """6 entries of the input, turned: for each point, those that vanish at no other."""
    near, far = _NEAR**2, _FAR**2
    even_near, odd_near = d[4] - far * d[2], _NEAR * (d[3] - far * d[1])
    even_far, odd_far = d[4] - near * d[2], _FAR * (d[3] - near * d[1])
    return [
        near * far * d[0] - (near + far) * d[2] + d[4],
        even_near + odd_near,
        even_near - odd_near,
        even_far + odd_far,
        even_far - odd_far,
        near * far * d[1] - (near + far) * d[3] + d[5],
    ]


def turn_back(m) -> list[jax.Array]:
    """6 products, turned into 4 entries of the result: powers of the points."""
    near, near_odd, far, far_odd = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    return [
        m[0] + near + far,
        _NEAR * near_odd + _FAR * far_odd,
        _NEAR**2 * near + _FAR**2 * far,
        _NEAR**3 * near_odd + _FAR**3 * far_odd + m[5],
    ]
