"""What a GPU's or TPU's default precision does to switches and projections.

Unless told otherwise a GPU multiplies float32 in TF32 and a TPU in bfloat16; a CPU does
not, and shows no difference.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import nets, noise, timing
from zf_jax import convnet, deconvnet, spec, xla

_UNITS = 32


def bench(config: timing.CommonConfig) -> dict[str, timing.Measured]:
    """Projects a unit of the last filters in each image, beside float32."""
    net = nets.to_last_filter(spec.by_name(config.spec))
    model, params = nets.initialise(net)
    images = next(noise.Images(_UNITS, net.input.size).batches(_UNITS))
    exact = _make_run(model, params, images, "float32")
    sides = {"float32": exact, "default": _make_run(model, params, images, None)}
    measured = timing.measure(sides, config.runs)
    for name, side in measured.items():
        print(f"{name:8} {side}")
    switches, want = jax.device_get(exact())
    others, got = jax.device_get(sides["default"]())
    for layer, found in switches.items():
        print(f"{layer}: {np.mean(found != others[layer]):.1e} of the switches differ")
    scale = np.sqrt(np.square(want).sum(axis=(1, 2, 3)))
    error = np.sqrt(np.square(got - want).sum(axis=(1, 2, 3)))[scale > 0]
    error = error / scale[scale > 0]
    print(
        f"projections of {net.layers[-1].name} differ by {np.median(error):.1e} "
        f"(median; {error.max():.1e} at the most), relative L2 norms"
    )
    return measured


def _make_run(model: convnet.ConvNet, params, images, precision) -> Callable:
    """Computes switches, and projections of the same units with the same seeds."""
    net, last = model.net, model.net.layers[-1].name

    @xla.jit
    def project(params, images):
        _, trace = model.apply({"params": params}, images)
        maps = trace.maps[last]
        _, rows, columns, channels = maps.shape
        # A seed of the activation's own value would add the error of one number.
        seed = deconvnet.isolate(
            jnp.ones_like(maps),
            channel=np.arange(_UNITS) % channels,
            position=(rows // 2, columns // 2),
        )
        projections = deconvnet.reconstruct(net, params, seed, trace, layer=last)
        return trace.switches, projections

    def run():
        with jax.default_matmul_precision(precision):
            return jax.block_until_ready(project(params, images))

    return run
