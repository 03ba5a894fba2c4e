"""The occlusion sweep: our incremental and our full one, beside Captum's."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import nets, timing
from zf_jax import cli
from zf_jax.probes import occlusion


@dataclasses.dataclass(frozen=True)
class OcclusionConfig:
    """A net, an occluder, and how many of its positions are computed together."""

    common: timing.CommonConfig = timing.CommonConfig()
    side: int = cli.field(32, "of the occluder, pixels", minimum=1)
    stride: int = cli.field(8, "between the occluder's positions, pixels", minimum=1)
    sweep_batch_size: int | None = cli.field(
        None, "positions in a batch of ours; found if unset", formerly="chunk"
    )
    captum_chunks: tuple[int, ...] = cli.field(
        (8, 16, 32, 64), "positions together in Captum, of which the best is taken"
    )
    full: bool = cli.field(True, "measure our full sweep too")


def bench(config: OcclusionConfig) -> dict[str, timing.Measured]:
    """All sides on one image; the outputs are the classes' logits."""
    classifier = nets.classifier(config.common)
    print(f"{classifier.name}, {config.side} pixels every {config.stride}")
    image = np.random.default_rng(0).normal(size=(*classifier.size, 3)) * 50
    image, logits = jnp.asarray(image, jnp.float32), classifier.logits
    explained = occlusion.explain(logits, image, side=config.side, stride=config.stride)
    print(explained)
    methods = ["incremental", "full"] if config.full else ["incremental"]
    sweep = functools.partial(_sweep, config, logits, image)
    sides = {f"zf_jax {each}": functools.partial(sweep, each) for each in methods}
    sides["Captum"] = _captum(config, classifier, image)
    measured = timing.measure(sides, config.common.runs)
    _print(measured)
    if config.full:
        incremental, full = (sweep(method) for method in methods)
        error = jnp.abs(incremental - full).max() / jnp.abs(full).max()
        print(f"largest difference, of the largest logit: {error:.1e}")
    return measured


def _print(measured: dict[str, timing.Measured]) -> None:
    captum = measured["Captum"].median
    for name, side in measured.items():
        print(
            f"{name:18} {side}, peak memory so far {side.peak / 1024:.2f} GiB; "
            f"{captum / side.median:.2f} x as fast as Captum"
        )


def _sweep(
    config: OcclusionConfig, logits: Callable, image: jax.Array, method: str
) -> jax.Array:
    batch_size = config.sweep_batch_size if method == "incremental" else None
    outputs = occlusion.sweep(
        logits,
        image,
        side=config.side,
        stride=config.stride,
        method=method,
        batch_size=batch_size,
    )
    return jax.block_until_ready(outputs)


def _captum(
    config: OcclusionConfig, classifier: nets.Classifier, image: jax.Array
) -> Callable[[], None]:
    """Captum's Occlusion of one class, with the best of --captum_chunks."""
    torch = timing.import_torch(config.common)
    from captum import attr

    sweep = attr.Occlusion(classifier.reference())
    x = torch.tensor(np.asarray(image).transpose(2, 0, 1)[None])

    def run(chunk: int) -> None:
        found = sweep.attribute(
            x,
            sliding_window_shapes=(3, config.side, config.side),
            strides=(3, config.stride, config.stride),
            target=0,
            perturbations_per_eval=chunk,
        )
        # Waits for a GPU, as our side does.
        found.cpu()

    seconds = {}
    for chunk in cli.progress(config.captum_chunks, desc="Captum's best"):
        run(chunk)
        seconds[chunk] = timing.once(functools.partial(run, chunk))
    best = min(seconds, key=seconds.get)
    found = ", ".join(f"{chunk}: {took:.3f} s" for chunk, took in seconds.items())
    print(f"Captum by positions together ({found}): {best} is best")
    return functools.partial(run, best)
