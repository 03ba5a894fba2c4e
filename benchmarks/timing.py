"""Medians of several runs, in turn, and how much memory they took."""

import collections
import resource
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
from absl import flags

from zf_jax import cli
from zf_jax.errors import BadInput

_RUNS = flags.DEFINE_integer("runs", 5, "counted runs of each side", lower_bound=1)


class Measured(NamedTuple):
    """What one side took.

    Attributes:
      seconds: of every counted run.
      first: seconds of the first run, compilation included.
      peak: MiB that the process had used at most when the side was done.
    """

    seconds: list[float]
    first: float
    peak: float

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        spread = f"{min(self.seconds):.3f} to {max(self.seconds):.3f}"
        return f"{self.median:8.3f} s ({spread}), first {self.first:.1f} s"


def once(run: Callable[[], None]) -> float:
    """Seconds that one run takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def measure(sides: dict[str, Callable[[], None]]) -> dict[str, Measured]:
    """Every side once by itself, then in turn: one more warm-up, then --runs."""
    seconds = {name: [] for name in sides}
    peak = {}
    for _ in cli.progress(range(_RUNS.value + 2), desc="runs"):
        for name, run in sides.items():
            seconds[name].append(once(run))
            peak[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {name: Measured(s[2:], s[0], peak[name]) for name, s in seconds.items()}


def measure_parts(
    sides: dict[str, Callable[[], dict[str, float]]],
) -> dict[str, Measured]:
    """What long runs say that their parts took: one warm-up, then --runs, in turn.

    Returns:
      `Measured` by side and part.
    """
    seconds, peak = collections.defaultdict(list), {}
    for _ in cli.progress(range(_RUNS.value + 1), desc="runs"):
        for side, run in sides.items():
            for part, taken in run().items():
                seconds[f"{side} {part}"].append(taken)
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            peak |= {name: used for name in seconds if name not in peak}
    return {name: Measured(s[1:], s[0], peak[name]) for name, s in seconds.items()}


def import_reference():
    """Torch, on a GPU where JAX is on one, and with the same precision.

    On a CPU, and beside a TPU, with as many threads as --threads says.

    Raises:
      BadInput: it is not installed, or not for the GPU that JAX uses.
    """
    try:
        import torch
    except ImportError:
        raise BadInput(
            "the reference is PyTorch: pip install -e '.[reference]'"
        ) from None
    torch.set_num_threads(flags.FLAGS.threads)
    if jax.default_backend() == "gpu":
        if not torch.cuda.is_available():
            raise BadInput("JAX uses a GPU, this PyTorch cannot: install one for CUDA")
        torch.set_default_device("cuda")
        torch.backends.cudnn.allow_tf32 = flags.FLAGS.tf32
        torch.backends.cuda.matmul.allow_tf32 = flags.FLAGS.tf32
    return torch
