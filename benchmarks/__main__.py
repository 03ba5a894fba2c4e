"""How fast it is, beside references that nobody here wrote.

    pip install -e '.[reference]'
    python -m experiments.benchmark --bench=training --json=runs/training.json
    python -m experiments.benchmark --bench=photographs --spec=vgg16
    python -m experiments.benchmark --bench=occlusion --spec=zfnet --stride=8
    python -m experiments.benchmark --bench=occlusion --spec=vgg16 --stride=16
    python -m experiments.benchmark --bench=projection --spec=zfnet --images=2000
    python -m experiments.benchmark --bench=precision --spec=zfnet

The sides run in one process, in turn, on the same threads; the table and the JSON give
medians and their ratio. Machines are noisy: quote the ratio. On a GPU PyTorch has to be
one for CUDA; both sides compute in float32, or in --tf32.
"""

import json
import os
import pathlib
import platform

import flax
import jax
import numpy as np
from absl import flags

from benchmarks import (
    filters,
    occlusion,
    photographs,
    precision,
    projection,
    timing,
    training,
)
from zf_jax import cli

for _each in (timing, training, occlusion, projection):
    flags.adopt_module_key_flags(_each)
_BENCHES = {
    "training": training.bench,
    "photographs": photographs.bench,
    "occlusion": occlusion.bench,
    "projection": projection.bench,
    "filters": filters.bench,
    "precision": precision.bench,
}
_BENCH = flags.DEFINE_enum("bench", None, list(_BENCHES), "what to measure")
_JSON = flags.DEFINE_string("json", None, "file for the figures")
_SPEC = flags.DEFINE_string("spec", "zfnet", "net")
_THREADS = flags.DEFINE_integer("threads", os.cpu_count(), "of the reference")
_TF32 = flags.DEFINE_bool("tf32", False, "on a GPU, lets both sides multiply in TF32")


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
    # A first run counts its compilation.
    jax.config.update("jax_enable_compilation_cache", False)
    if jax.default_backend() == "gpu":
        # On both sides, whatever the environment says.
        precision = "tensorfloat32" if _TF32.value else "float32"
        jax.config.update("jax_default_matmul_precision", precision)
    measured = _BENCHES[_BENCH.value]()
    if _JSON.value is None:
        return []
    keys = flags.FLAGS.get_key_flags_for_module(__name__)
    result = {
        "settings": {flag.name: flag.value for flag in keys},
        "machine": _machine(),
        "sides": {
            name: side._asdict() | {"median": side.median}
            for name, side in measured.items()
        },
    }
    path = pathlib.Path(_JSON.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    return [path]


if __name__ == "__main__":
    cli.run(main, required=("bench",))
