"""Large and oblong photographs through a net's filters, up and down again."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import projection, timing
from zf_jax import convnet, deconvnet, spec, xla
from zf_jax.layers import Pair

# Smallest first, so that the peak so far is each one's own.
_SIZES = [(224, 224), (400, 600), (768, 1024), (1024, 1024), (1024, 1536)]


def bench() -> dict[str, timing.Measured]:
    """The strongest unit of the last filtering layer, of an image of each size."""
    net = projection.to_last_filter(spec.by_name(flags.FLAGS.spec))
    model = convnet.ConvNet(net, kernel_init=jax.nn.initializers.he_normal())
    params = model.init(jax.random.key(0), jnp.zeros((1, *net.input.size, 3)))
    found = {}
    for size in _SIZES:
        name = f"{size[0]}x{size[1]}"
        found |= timing.measure({name: _up_and_down(model, params, size)})
        side = found[name]
        print(f"{name:10} {side}, peak memory {side.peak / 1024:.1f} GiB")
    return found


def _up_and_down(model: convnet.ConvNet, params, size: Pair) -> Callable[[], None]:
    image = jax.random.normal(jax.random.key(1), (1, *size, 3)) * 50
    last = model.net.layers[-1].name

    @xla.jit
    def project(params, image):
        _, trace = model.apply(params, image)
        seed = deconvnet.isolate(trace.maps[last], channel=0)
        return deconvnet.reconstruct(
            model.net, params["params"], seed, trace, layer=last
        )

    return lambda: jax.block_until_ready(project(params, image))
