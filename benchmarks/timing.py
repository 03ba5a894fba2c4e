"""What every benchmark is told, and medians of several runs of each side, in turn."""

import collections
import dataclasses
import os
import resource
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax

from benchmarks import resnet
from zf_jax import cli
from zf_jax.errors import BadInput


@dataclasses.dataclass(frozen=True)
class CommonConfig:
    """What the benchmarks share."""

    spec: str = cli.field("zfnet", "the net, as a Spec")
    net: str | None = cli.field(
        None, "a residual net in place of --spec", choices=list(resnet.NETS)
    )
    batch_size: int = cli.field(
        32,
        "images of a training step, or of the gallery's pass, in a batch",
        minimum=1,
        formerly="together",
    )
    runs: int = cli.field(5, "counted runs of each side", minimum=1)
    threads: int = cli.field(os.cpu_count(), "threads of the reference", minimum=1)
    tf32: bool = cli.field(False, "on a GPU, lets both sides multiply in TF32")


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


def once(run: Callable[[], object]) -> float:
    """Seconds that one run takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def measure(sides: dict[str, Callable[[], object]], runs: int) -> dict[str, Measured]:
    """Runs the sides in turn: `runs` times counted, after two that warm up."""
    timed = {name: lambda run=run: {"": once(run)} for name, run in sides.items()}
    measured = _measure(timed, warm_ups=2, runs=runs)
    return {name: measured[name, ""] for name in sides}


def measure_parts(
    sides: dict[str, Callable[[], dict[str, float]]], runs: int
) -> dict[str, Measured]:
    """Runs long sides in turn: `runs` times counted, after one that warms up.

    Args:
      sides: each returns the seconds that its parts took.
      runs: of each side.

    Returns:
      `Measured` by "SIDE PART".
    """
    measured = _measure(sides, warm_ups=1, runs=runs)
    return {f"{side} {part}": each for (side, part), each in measured.items()}


def peak_memory() -> float:
    """MiB that this process has used at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measure(
    sides: dict[str, Callable[[], dict[str, float]]], *, warm_ups: int, runs: int
) -> dict[tuple[str, str], Measured]:
    seconds, peaks = collections.defaultdict(list), {}
    for _ in cli.progress(range(warm_ups + runs), desc="runs"):
        for side, run in sides.items():
            for part, taken in run().items():
                seconds[side, part].append(taken)
            # At the first run: later it would count what the other sides took.
            peaks.setdefault(side, peak_memory())
    return {
        (side, part): Measured(all_[warm_ups:], all_[0], peaks[side])
        for (side, part), all_ in seconds.items()
    }


def import_torch(config: CommonConfig):
    """PyTorch, on a GPU where JAX is on one, and with the same precision.

    On a CPU, and beside a TPU, it has as many threads as --threads says.

    Raises:
      BadInput: it is not installed, or not for the GPU that JAX uses.
    """
    try:
        import torch
    except ImportError:
        raise BadInput(
            "the reference is PyTorch: pip install -e '.[reference]'"
        ) from None
    torch.set_num_threads(config.threads)
    if jax.default_backend() == "gpu":
        if not torch.cuda.is_available():
            raise BadInput("JAX uses a GPU, this PyTorch cannot: install one for CUDA")
        torch.set_default_device("cuda")
        torch.backends.cudnn.allow_tf32 = config.tf32
        torch.backends.cuda.matmul.allow_tf32 = config.tf32
    return torch
