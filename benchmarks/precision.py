"""What a GPU's or TPU's default precision does to switches and projections.

Unless told otherwise a GPU multiplies float32 in TF32 and a TPU in bfloat16. A CPU does
not: there both are emulated.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import nets, noise, rounding, timing
from zf_jax import convnet, deconvnet, spec, xla

_UNITS = 32


def bench(config: timing.CommonConfig) -> dict[str, timing.Measured]:
    """Projects a unit of the last filters in each image, beside float32."""
    net = nets.to_last_filter(spec.by_name(config.spec))
    model, params = nets.initialise(net)
    images = next(noise.Images(_UNITS, net.input.size).batches(_UNITS))
    project = _projection(model)

    def side(function: Callable, precision: str | None = "float32") -> Callable:
        compiled = xla.jit(function)

        def run():
            with jax.default_matmul_precision(precision):
                return jax.block_until_ready(compiled(params, images))

        return run

    sides = {"float32": side(project)}
    if jax.default_backend() == "cpu":
        for name, mantissa in rounding.MANTISSA.items():
            sides[name] = side(rounding.round_factors(project, mantissa))
    else:
        sides["default"] = side(project, None)
    measured = timing.measure(sides, config.runs)
    exact, *others = sides
    want = jax.device_get(sides[exact]())
    for name in others:
        _print_difference(name, net.layers[-1].name, want, sides[name]())
    for name, each in measured.items():
        print(f"{name:8} {each}")
    return measured


def _print_difference(name: str, layer: str, want, found) -> None:
    (switches, pixels), (others, got) = want, jax.device_get(found)
    print(name)
    for pooled, each in switches.items():
        differ = np.mean(each != others[pooled])
        print(f"  {pooled}: {differ:.1e} of the switches differ")
    scale = np.sqrt(np.square(pixels).sum(axis=(1, 2, 3)))
    error = np.sqrt(np.square(got - pixels).sum(axis=(1, 2, 3)))[scale > 0]
    error = error / scale[scale > 0]
    print(
        f"  projections of {layer} differ by {np.median(error):.1e} (median; "
        f"{error.max():.1e} at the most), relative L2 norms"
    )


def _projection(model: convnet.ConvNet) -> Callable:
    """A function: switches, and projections of the same units with the same seeds."""
    net, last = model.net, model.net.layers[-1].name

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

    return project
