"""How fast it is, against third-party references.

    pip install -e '.[reference]'
    python -m benchmarks --bench=training --json=runs/training.json
    python -m benchmarks --bench=memory --spec=vgg16 --batch_size=128 --accumulate=4
    python -m benchmarks --bench=photographs --spec=vgg16
    python -m benchmarks --bench=occlusion --spec=zfnet --stride=8
    python -m benchmarks --bench=occlusion --spec=vgg16 --stride=16
    python -m benchmarks --bench=occlusion --net=resnet50 --stride=16
    python -m benchmarks --bench=projection --spec=zfnet --images=2000
    python -m benchmarks --bench=projection --spec=vgg16 --images=64 --channels=8
    python -m benchmarks --bench=projection --net=resnet50 --images=64 --channels=32
    python -m benchmarks --bench=transforms --net=resnet50 --batch_size=8
    python -m benchmarks --bench=filters
    python -m benchmarks --bench=precision --spec=zfnet
    python -m benchmarks --bench=input --tensorflow_python=ENVIRONMENT/bin/python

The sides run in one process, in turn, on the same threads; the table and the JSON give
medians and their ratio. Machines are noisy: quote the ratio. On a GPU PyTorch has to be
one for CUDA; both sides compute in float32, or in --tf32.
"""

import dataclasses
import os
import pathlib
import platform

import flax
import jax
import numpy as np

from benchmarks import (
    filters,
    input,
    memory,
    occlusion,
    photographs,
    precision,
    projection,
    timing,
    training,
    transforms,
)
from zf_jax import cli, io

_BENCHES = {
    "training": lambda config: training.bench(config.step),
    "memory": lambda config: memory.bench(config.held),
    "photographs": lambda config: photographs.bench(config.common),
    "occlusion": lambda config: occlusion.bench(config.sweep),
    "projection": lambda config: projection.bench(config.gallery),
    "filters": lambda config: filters.bench(config.common),
    "precision": lambda config: precision.bench(config.common),
    "input": lambda config: input.bench(config.reading),
    "transforms": lambda config: transforms.bench(config.common),
}


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """A benchmark, what it is told, and where its figures go."""

    bench: str | None = cli.field(
        None, "what to measure", choices=list(_BENCHES), required=True
    )
    json: pathlib.Path | None = cli.field(None, "file for the figures")
    common: timing.CommonConfig = timing.CommonConfig()
    step: training.TrainingConfig = training.TrainingConfig()
    held: memory.MemoryConfig = memory.MemoryConfig()
    sweep: occlusion.OcclusionConfig = occlusion.OcclusionConfig()
    reading: input.InputConfig = input.InputConfig()
    gallery: projection.ProjectionConfig = projection.ProjectionConfig()


def main(config: BenchmarkConfig) -> list[pathlib.Path]:
    """Measures, prints a table, writes the JSON."""
    # A first run counts its compilation.
    jax.config.update("jax_enable_compilation_cache", False)
    if jax.default_backend() == "gpu":
        # On both sides, whatever the environment says.
        precision = "tensorfloat32" if config.common.tf32 else "float32"
        jax.config.update("jax_default_matmul_precision", precision)
    measured = _BENCHES[config.bench](config)
    if config.json is None:
        return []
    found = {
        "settings": _flat(dataclasses.asdict(config)) | {"json": str(config.json)},
        "machine": _machine(),
        "sides": {
            name: side._asdict() | {"median": side.median}
            for name, side in measured.items()
        },
    }
    return [io.save_json(config.json, found)]


def _flat(settings: dict) -> dict:
    """What is nested, once: the benchmarks share some of it."""
    found = {}
    for name, value in settings.items():
        found |= _flat(value) if isinstance(value, dict) else {name: value}
    return found


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


if __name__ == "__main__":
    cli.run(main)
