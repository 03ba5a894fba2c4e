"""Large and oblong images through a net's filters, forward and backward again."""

from collections.abc import Callable

import jax

from benchmarks import nets, timing
from zf_jax import convnet, deconvnet, spec, xla
from zf_jax.layers import Pair

# Smallest first, so that the peak so far is each one's own.
_SIZES = [(224, 224), (400, 600), (768, 1024), (1024, 1024), (1024, 1536)]


def bench(config: timing.CommonConfig) -> dict[str, timing.Measured]:
    """Projects a unit of the last filtering layer, in images of each size."""
    net = nets.to_last_filter(spec.by_name(config.spec))
    model, params = nets.initialise(net)
    found = {}
    for size in _SIZES:
        name = f"{size[0]}x{size[1]}"
        found |= timing.measure({name: _projection(model, params, size)}, config.runs)
        side = found[name]
        print(f"{name:10} {side}, peak memory {side.peak / 1024:.1f} GiB")
    return found


def _projection(model: convnet.ConvNet, params, size: Pair) -> Callable[[], object]:
    image = jax.random.normal(jax.random.key(1), (1, *size, 3)) * 50
    last = model.net.layers[-1].name

    @xla.jit
    def project(params, image):
        _, trace = model.apply({"params": params}, image)
        seed = deconvnet.isolate(trace.maps[last], channel=0)
        return deconvnet.reconstruct(model.net, params, seed, trace, layer=last)

    return lambda: jax.block_until_ready(project(params, image))
