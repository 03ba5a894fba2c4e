"""The occlusion sweep: what changes alone, from the pixels up, and Captum's."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import timing
from zf_jax import cli, convnet, spec, xla
from zf_jax.layers import Dense, Flatten, Layer
from zf_jax.probes import occlusion

_SIDE = flags.DEFINE_integer("side", 32, "of the square, pixels")
_STRIDE = flags.DEFINE_integer("stride", 8, "between the square's places, pixels")
_CHUNK = flags.DEFINE_integer("chunk", None, "our places together; found if unset")
_CHUNKS = flags.DEFINE_list(
    "captum_chunks",
    ["8", "16", "32", "64"],
    "places together in Captum: its best",
)
_FULL = flags.DEFINE_bool("full", True, "measure our full sweep too")


def bench() -> dict[str, timing.Measured]:
    """All sides on one image, reading the classes' scores."""
    net = _net()
    print(f"{net.name}, {_SIDE.value} pixels every {_STRIDE.value}")
    model = convnet.ConvNet(net, kernel_init=jax.nn.initializers.he_normal())
    image = np.random.default_rng(0).normal(size=(*net.input.size, 3)) * 50
    image = jnp.asarray(image, jnp.float32)
    params = xla.jit(model.init)(jax.random.key(0), image[None])

    def read(images):
        return model.apply(params, images)[0]

    print(occlusion.explain(read, image, side=_SIDE.value, stride=_STRIDE.value))
    methods = ["incremental", "full"] if _FULL.value else ["incremental"]
    sides = {f"zf_jax {m}": functools.partial(_sweep, read, image, m) for m in methods}
    sides["Captum"] = _captum(net, image)
    measured = timing.measure(sides)
    captum = measured["Captum"].median
    for name, side in measured.items():
        print(
            f"{name:18} {side}, peak memory so far {side.peak / 1024:.2f} GiB; "
            f"{captum / side.median:.2f} x as fast as Captum"
        )
    if _FULL.value:
        one, other = (_sweep(read, image, method) for method in methods)
        error = jnp.abs(one - other).max() / jnp.abs(other).max()
        print(f"largest difference, of the largest reading: {error:.1e}")
    return measured


def _net() -> spec.Spec:
    """--spec; of vgg16 the filters with one dense layer behind them."""
    net = spec.by_name(flags.FLAGS.spec)
    if net.name != "vgg16":
        return net
    kept = net.upto("block5_conv3").layers
    head = Layer("predictions", (Flatten(), Dense(1000)))
    return spec.Spec("vgg16's filters and a linear layer", net.input, (*kept, head))


def _sweep(read: Callable, image: jax.Array, method: str) -> jax.Array:
    return jax.block_until_ready(
        occlusion.sweep(
            read,
            image,
            side=_SIDE.value,
            stride=_STRIDE.value,
            method=method,
            batch_size=_CHUNK.value if method == "incremental" else None,
        )
    )


def _captum(net: spec.Spec, image: jax.Array) -> Callable[[], None]:
    """Captum's Occlusion of one class, with the best of --captum_chunks."""
    torch = timing.import_reference()
    from captum import attr

    from benchmarks import reference

    sweep = attr.Occlusion(reference.make(net).eval())
    x = torch.tensor(np.asarray(image).transpose(2, 0, 1)[None])

    def run(chunk: int) -> None:
        found = sweep.attribute(
            x,
            sliding_window_shapes=(3, _SIDE.value, _SIDE.value),
            strides=(3, _STRIDE.value, _STRIDE.value),
            target=0,
            perturbations_per_eval=chunk,
        )
        # Waits for a GPU, as our side does.
        found.cpu()

    seconds = {}
    for chunk in cli.progress([int(n) for n in _CHUNKS.value], desc="Captum's best"):
        run(chunk)
        seconds[chunk] = timing.once(functools.partial(run, chunk))
    best = min(seconds, key=seconds.get)
    found = ", ".join(f"{chunk}: {took:.3f} s" for chunk, took in seconds.items())
    print(f"Captum by places together ({found}): {best} is best")
    return functools.partial(run, best)
