"""A training step: SGD with momentum, ours by pmap beside PyTorch's."""

from collections.abc import Callable

import jax
import numpy as np
from absl import flags

from benchmarks import timing
from zf_jax import geometry, spec
from zf_jax.data.batches import Batch
from zf_jax.training import loop, optimizer, recipe, step

_BATCH = flags.DEFINE_integer("batch_size", 32, "images a step", lower_bound=1)
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "of our step")


def bench() -> dict[str, timing.Measured]:
    """Both sides on the same random images."""
    torch = timing.import_reference()
    net, count = spec.by_name(flags.FLAGS.spec), _BATCH.value
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *net.input.size, 3), np.uint8)
    classes = geometry.shapes(net)[net.layers[-1].name].maps[-1]
    labels = rng.integers(0, classes, count).astype(np.int32)
    measured = timing.measure(
        {
            "zf_jax": _ours(net, Batch(images, labels, np.ones(count, bool))),
            "PyTorch": _torch(torch, net, images, labels),
        }
    )
    ours = measured["zf_jax"].median
    for name, side in measured.items():
        print(f"{name:10} {side}; zf_jax is {side.median / ours:.2f} x")
    return measured


def _ours(net: spec.Spec, batch: Batch) -> Callable[[], None]:
    how = recipe.Recipe(batch_size=_BATCH.value, dtype=_DTYPE.value)
    model = loop.make_model(net, how)
    optimize = optimizer.make_optimizer(how, steps_per_epoch=1000)
    train_step = step.make_train_step(model, optimize)
    state = step.first_state(model, optimize, seed=0)
    batch = step.shard_batch(batch)

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(train_step(state, batch))

    return run


def _torch(
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
