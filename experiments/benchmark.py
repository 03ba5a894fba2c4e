"""How fast it is, beside a reference that nobody here wrote.

    pip install -e '.[reference]'
    python -m experiments.benchmark --bench=training --json=runs/training.json

Both sides run in one process, in turn, on the same threads; the table and the JSON
give medians and their ratio. Machines are noisy: quote the ratio.
"""

import json
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable

import flax
import jax
import numpy as np
from absl import flags

from launch import script
from zf_jax import spec
from zf_jax.data.batches import Batch
from zf_jax.errors import BadInput
from zf_jax.training import loop, optimizer, recipe, step

_BENCH = flags.DEFINE_enum("bench", None, ["training"], "what to measure")
_JSON = flags.DEFINE_string("json", None, "file for the figures")
_SPEC = flags.DEFINE_string("spec", "zfnet", "net")
_BATCH = flags.DEFINE_integer("batch_size", 32, "images a step", lower_bound=1)
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "of ours")
_RUNS = flags.DEFINE_integer("runs", 5, "counted runs of each side", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", os.cpu_count(), "of the reference")


def measure(sides: dict[str, Callable[[], None]], runs: int) -> dict[str, list[float]]:
    """Seconds of each side's runs, taken in turn after two warm-ups."""
    seconds = {name: [] for name in sides}
    for turn in script.progress(range(runs + 2), desc="runs"):
        for name, run in sides.items():
            began = time.perf_counter()
            run()
            if turn > 1:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def _training() -> dict[str, Callable[[], None]]:
    """A step of SGD with momentum: ours by pmap, the reference's on its CPU threads."""
    net, count = spec.by_name(_SPEC.value), _BATCH.value
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *net.input.size, 3), np.uint8)
    labels = rng.integers(0, 1000, count).astype(np.int32)
    return {
        "zf_jax": _ours(net, Batch(images, labels, np.ones(count, bool))),
        "PyTorch": _torch(net, images, labels),
    }


def _ours(net: spec.Spec, batch: Batch) -> Callable[[], None]:
    how = recipe.Recipe(batch_size=_BATCH.value, dtype=_DTYPE.value)
    model = loop.make_model(net, how)
    optimize = optimizer.make_optimizer(how, steps_per_epoch=1000)
    train_step = step.make_train_step(model, optimize)
    state = step.first_state(model, optimize, seed=0)
    batch = step.split(batch)

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(train_step(state, batch))

    return run


def _torch(
    net: spec.Spec, images: np.ndarray, labels: np.ndarray
) -> Callable[[], None]:
    try:
        import torch

        from experiments import reference
    except ImportError:
        raise BadInput(
            "the reference is PyTorch: pip install -e '.[reference]'"
        ) from None
    torch.set_num_threads(_THREADS.value)
    model = reference.make(net).train()
    optimize = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    mean = torch.tensor(net.input.mean).reshape(1, 3, 1, 1)
    labels = torch.from_numpy(labels.astype(np.int64))

    def run() -> None:
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() - mean
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        optimize.zero_grad()
        loss.backward()
        optimize.step()

    return run


def _machine() -> dict[str, str]:
    device = jax.devices()[0]
    return {
        "device": f"{jax.device_count()} x {device.device_kind}",
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
        "numpy": np.__version__,
    }


def main() -> list[pathlib.Path]:
    """Measures, prints a table, writes the JSON."""
    bench = {"training": _training}[_BENCH.value]
    seconds = measure(bench(), _RUNS.value)
    medians = {name: statistics.median(runs) for name, runs in seconds.items()}
    ours = medians["zf_jax"]
    for name, median in medians.items():
        spread = f"{min(seconds[name]):.3f} to {max(seconds[name]):.3f}"
        print(f"{name:10} {median:8.3f} s ({spread})  zf_jax is {median / ours:.2f} x")
    settings = {
        name: flags.FLAGS[name].value
        for name in ("bench", "spec", "batch_size", "dtype", "threads", "runs")
    }
    result = {"settings": settings, "machine": _machine(), "seconds": seconds}
    if _JSON.value is None:
        return []
    path = pathlib.Path(_JSON.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result | {"medians": medians}, indent=2) + "\n")
    return [path]


if __name__ == "__main__":
    script.run(main, required=("bench",))
