"""A training step: SGD with momentum, ours by pmap beside PyTorch's."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from benchmarks import timing
from zf_jax import cli, geometry, spec
from zf_jax.data.batches import Batch
from zf_jax.training import loop, optimizer, recipe, step


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """A net, and how a step of ours computes."""

    common: timing.CommonConfig = timing.CommonConfig()
    dtype: str = cli.field("float32", "of our step", choices=("float32", "bfloat16"))


def bench(config: TrainingConfig) -> dict[str, timing.Measured]:
    """Both sides on the same random images."""
    torch = timing.import_torch(config.common)
    net, count = spec.by_name(config.common.spec), config.common.batch_size
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *net.input.size, 3), np.uint8)
    classes = geometry.shapes(net)[net.layers[-1].name].maps[-1]
    labels = rng.integers(0, classes, count).astype(np.int32)
    batch = Batch(images, labels, np.ones(count, bool))
    sides = {
        "zf_jax": _our_step(net, batch, config.dtype),
        "PyTorch": _torch_step(torch, net, images, labels),
    }
    measured = timing.measure(sides, config.common.runs)
    ours = measured["zf_jax"].median
    for name, side in measured.items():
        print(f"{name:10} {side}; zf_jax is {side.median / ours:.2f} x")
    return measured


def _our_step(net: spec.Spec, batch: Batch, dtype: str) -> Callable[[], None]:
    how = recipe.Recipe(batch_size=len(batch.images), dtype=dtype)
    model = loop.make_model(net, how)
    optimize = optimizer.make_optimizer(how, steps_per_epoch=1000)
    train_step = step.make_train_step(model, optimize)
    state = step.first_state(model, optimize, seed=0)
    batch = step.shard_batch(batch)

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(train_step(state, batch))

    return run


def _torch_step(
    torch, net: spec.Spec, images: np.ndarray, labels: np.ndarray
) -> Callable[[], None]:
    from benchmarks import reference

    model = reference.make(net).train()
    optimize = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    mean = torch.tensor(net.input.mean).reshape(1, 3, 1, 1)
    labels = torch.tensor(labels.astype(np.int64))
    images = torch.tensor(images)

    def run() -> None:
        x = images.permute(0, 3, 1, 2).float() - mean
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        optimize.zero_grad()
        loss.backward()
        optimize.step()
        # Waits for a GPU, as our side does.
        loss.item()

    return run
