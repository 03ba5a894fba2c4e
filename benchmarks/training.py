"""A training step: SGD with momentum, ours by pmap beside PyTorch's.

On a GPU PyTorch has its images' channels last and `cudnn.benchmark` on, with --compile
by `torch.compile` too; with --dtype=bfloat16 both sides compute in it.
"""

import contextlib
import dataclasses
from collections.abc import Callable

import jax
import numpy as np
import optax

from benchmarks import peaks, timing
from zf_jax import cli, convnet, geometry, spec
from zf_jax.data.batches import Batch
from zf_jax.training import loop, optimizer, recipe, step


@dataclasses.dataclass(frozen=True)
class StepConfig:
    """How a step computes."""

    dtype: str = cli.field("float32", "of a step", choices=("float32", "bfloat16"))
    accumulate: int = cli.field(1, "parts of our step", minimum=1)

    def recipe(self, batch_size: int) -> recipe.Recipe:
        """The paper's, computed so."""
        return recipe.Recipe(
            batch_size=batch_size, dtype=self.dtype, accumulate=self.accumulate
        )


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """A net, how a step computes, and what it is measured beside."""

    common: timing.CommonConfig = timing.CommonConfig()
    step: StepConfig = StepConfig()
    compile: bool = cli.field(False, "measures torch.compile as well")


def bench(config: TrainingConfig) -> dict[str, timing.Measured]:
    """All sides on the same random images, which lie on the device."""
    torch = timing.import_torch(config.common)
    net, count = spec.by_name(config.common.spec), config.common.batch_size
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *net.input.size, 3), np.uint8)
    classes = geometry.shapes(net)[net.layers[-1].name].maps[-1]
    labels = rng.integers(0, classes, count).astype(np.int32)
    batch = Batch(images, labels, np.ones(count, bool))
    sides = {"zf_jax": _our_step(net, batch, config.step)}
    for compiled in (False, True)[: 1 + config.compile]:
        name = "torch.compile" if compiled else "PyTorch"
        sides[name] = _torch_step(torch, net, batch, config, compiled)
    measured = timing.measure(sides, config.common.runs)
    _print(measured, peaks.of_step(net, count), peaks.of_device(_precision(config)))
    return measured


def _precision(config: TrainingConfig) -> str:
    if config.step.dtype == "bfloat16":
        return "bfloat16"
    return "tensorfloat32" if config.common.tf32 else "float32"


def _print(measured: dict[str, timing.Measured], flop: int, peak: float | None) -> None:
    ours = measured["zf_jax"].median
    for name, side in measured.items():
        rate = flop / side.median
        share = f", {rate / peak:.0%} of the peak" if peak else ""
        print(
            f"{name:13} {side}; {rate / 1e12:.3g} TFLOP/s{share}; zf_jax is "
            f"{side.median / ours:.2f} x"
        )


def make_parts(
    net: spec.Spec, how: recipe.Recipe
) -> tuple[convnet.ConvNet, optax.GradientTransformationExtraArgs]:
    """What `step.make_train_step` takes."""
    optimize = optimizer.make_optimizer(how, steps_per_epoch=1000)
    return loop.make_model(net, how), optimize


def _our_step(net: spec.Spec, batch: Batch, config: StepConfig) -> Callable[[], None]:
    how = config.recipe(len(batch.images))
    model, optimize = make_parts(net, how)
    train_step = step.make_train_step(model, optimize, accumulate=how.accumulate)
    state = step.replicate(step.first_state(model, optimize, seed=0))
    batch = jax.pmap(lambda x: x)(step.shard_batch(batch))  # noqa: TID251 (places it)

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(train_step(state, batch))

    return run


def _torch_step(
    torch, net: spec.Spec, batch: Batch, config: TrainingConfig, compiled: bool
) -> Callable[[], None]:
    from benchmarks import reference

    model = reference.make(net).train()
    mean = torch.tensor(net.input.mean).reshape(1, 3, 1, 1)
    images = torch.tensor(batch.images).permute(0, 3, 1, 2)
    labels = torch.tensor(batch.labels.astype(np.int64))
    if on_gpu := images.device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        model = model.to(memory_format=torch.channels_last)
    else:
        images = images.contiguous()
    optimize = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    mixed = contextlib.nullcontext()
    if config.step.dtype == "bfloat16":
        mixed = torch.autocast("cuda" if on_gpu else "cpu", torch.bfloat16)

    def loss_of(images, labels):
        with mixed:
            return torch.nn.functional.cross_entropy(model(images - mean), labels)

    loss_of = torch.compile(loss_of) if compiled else loss_of

    def run() -> None:
        loss = loss_of(images, labels)
        optimize.zero_grad()
        loss.backward()
        optimize.step()
        # Waits for a GPU, as our side does.
        loss.item()

    return run
