"""The occlusion sweep within a function that JAX traces.

What is traced and planned here goes with the call: it may hold the tracers of the
function around. Both forms are compiled as one program, which is part of the caller's
where that one is compiled.
"""

import jax

from zf_jax import xla
from zf_jax.parallel import Devices
from zf_jax.probes import occlusion_engine
from zf_jax.probes.occluder_grid import Grid
from zf_jax.probes.occlusion_engine import Planned


def full(apply, weights, images, fill, grid: Grid, chunk: int, devices: Devices):
    """`occlusion_engine.full`, compiled for this call."""

    def run(weights, images, fill):
        return occlusion_engine.run_full(
            apply, weights, images, fill, grid, chunk, devices
        )

    return xla.jit(run)(weights, images, fill)


def incremental(
    planned: Planned,
    apply,
    weights,
    images,
    fill,
    grid: Grid,
    chunk: int | None,
    devices: Devices,
):
    """`occlusion_engine.incremental` by a plan, compiled for this call.

    Its derivative is that of the sweep from the pixels up: there the function's own
    derivative rules hold (of `jax.nn.relu` at 0, of a `jax.custom_vjp`), while a plan
    does the operations within them one by one.
    """

    @jax.custom_jvp
    def run(weights, images, fill):
        return occlusion_engine.run_planned(
            planned, weights, images, fill, grid, chunk, devices
        )

    @run.defjvp
    def derivative(primals, tangents):
        weights, images, _ = primals
        one = jax.eval_shape(lambda x: x[:1], images)
        size = occlusion_engine.full_chunk_size(
            apply, weights, one, grid, devices, wanted=None
        )

        def from_pixels(weights, images, fill):
            return occlusion_engine.run_full(
                by_image, weights, images, fill, grid, size, devices
            )

        return jax.jvp(from_pixels, primals, tangents)

    def by_image(weights, images):
        def of_one(image):
            return jax.tree.map(lambda leaf: leaf[0], apply(weights, image[None]))

        return jax.vmap(of_one)(images)

    return xla.jit(run)(weights, images, fill)
