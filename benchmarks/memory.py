"""The memory that a training step takes, as its compiler plans it: nothing is run.

With --topology it is compiled for a TPU, on any machine with libtpu (`.[tpu]`).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.export
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from benchmarks import timing, training
from zf_jax import cli, spec
from zf_jax.data.batches import Batch
from zf_jax.errors import BadInput
from zf_jax.training import recipe, step


@dataclasses.dataclass(frozen=True)
class MemoryConfig:
    """A step, and the device that it is compiled for."""

    common: timing.CommonConfig = timing.CommonConfig()
    step: training.StepConfig = training.StepConfig()
    topology: str | None = cli.field(
        None, "a TPU to compile for in place of this device, as v5e:2x2"
    )


def bench(config: MemoryConfig) -> dict[str, timing.Measured]:
    """Prints what one device holds for its images of a step."""
    net, count = spec.by_name(config.common.spec), config.common.batch_size
    how = config.step.recipe(count)
    model, optimize = training.make_parts(net, how)
    state = jax.eval_shape(lambda: step.first_state(model, optimize, seed=0))
    batch = Batch(
        jax.ShapeDtypeStruct((1, count, *net.input.size, 3), jnp.uint8),
        jax.ShapeDtypeStruct((1, count), jnp.int32),
        jax.ShapeDtypeStruct((1, count), bool),
    )
    train_step = step.make_train_step(model, optimize, accumulate=how.accumulate)
    if config.topology:
        train_step = _for_tpu(train_step, config.topology, state, batch)
    found = train_step.lower(state, batch).compile().memory_analysis()
    held, work = found.argument_size_in_bytes, found.temp_size_in_bytes
    print(
        f"{net.name}, {_described(how)}: {held / 2**20:.0f} MiB of weights, optimizer "
        f"and images, {work / 2**20:.0f} MiB of work, {(held + work) / 2**20:.0f} MiB "
        "in all"
    )
    return {}


def _described(how: recipe.Recipe) -> str:
    parts = f" in {how.accumulate} parts" if how.accumulate > 1 else ""
    return f"{how.batch_size} images{parts}, {how.dtype}"


def _for_tpu(function: Callable, topology: str, *arguments) -> jax.stages.Wrapped:
    """The function for one of a topology's devices, its first argument given up."""
    try:
        devices = topologies.get_topology_desc(topology, platform="tpu").devices
    except Exception as error:
        # JAX raises errors of several types where libtpu is missing or knows it not.
        reason = " ".join(str(error).split())[:200]
        raise BadInput(
            f"--topology={topology}: needs libtpu, pip install -e '.[tpu]', and a name "
            f"as v5e:2x2 ({reason})"
        ) from error
    # No CPU runs what `jax.jit` gives here.
    jit, device = jax.jit, SingleDeviceSharding(devices[0])  # noqa: TID251
    exported = jax.export.export(jit(function), platforms=["tpu"])(*arguments)
    return jit(
        exported.call, in_shardings=device, out_shardings=device, donate_argnums=0
    )
