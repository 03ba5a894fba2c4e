"""Random crops of JPEG files on one core: ours, PyTorch's DataLoader and tf.data.

The files are 500 x 375 pixels, as ImageNet's mostly are; what is timed begins with
their names and ends with batches of 224 x 224 pixels, of images whose smaller side is
256. All sides resize by the bicubic filter with antialiasing; tf.data by the bilinear
one without it, too, which is its default.
"""

import contextlib
import dataclasses
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image
from skimage import data

from benchmarks import timing
from zf_jax import cli
from zf_jax.data import batches, reading, sources
from zf_jax.errors import BadInput

_SIZE, _RESIZE, _BATCH = (224, 224), 256, 100
_TENSORFLOW = pathlib.Path(__file__).with_name("input_tensorflow.py")


@dataclasses.dataclass(frozen=True)
class InputConfig:
    """How many files there are, and who reads them."""

    common: timing.CommonConfig = timing.CommonConfig()
    files: int = cli.field(1600, "JPEG files that are read in a run", minimum=_BATCH)
    tensorflow_python: str = cli.field(
        sys.executable, "a Python that has tensorflow-cpu, which tf.data runs in"
    )


def bench(config: InputConfig) -> dict[str, timing.Measured]:
    """All sides on the same files and the same core, one after the other."""
    torch = timing.import_torch(config.common)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, _one_core():
        files = _write(pathlib.Path(folder), config.files)
        sides = {
            "zf_jax": _ours(files),
            "PyTorch, Pillow": lambda: {
                "": timing.once(lambda: _torch(torch, files, tensors=False))
            },
            "PyTorch, tensors": lambda: {
                "": timing.once(lambda: _torch(torch, files, tensors=True))
            },
        }
        for filter_ in ("bicubic", "bilinear"):
            sides[f"tf.data {filter_}"] = _tensorflow(config, folder, filter_)
        measured = timing.measure_parts(sides, config.common.runs)
    ours = measured["zf_jax "].median
    for name, side in measured.items():
        rate = len(files) // _BATCH * _BATCH / side.median
        print(f"{name:18} {rate:6.0f} images/s; zf_jax is {side.median / ours:.2f} x")
    return measured


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    """This thread, and what it starts, keep to one core."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _write(folder: pathlib.Path, count: int) -> list[str]:
    """Cuts of photographs, each 500 x 375 pixels, as JPEG files of 40 kB or so."""
    rng = np.random.default_rng(0)
    photographs = [
        Image.fromarray(image())
        for image in (data.astronaut, data.chelsea, data.coffee, data.rocket)
    ]
    files = []
    for index in range(count):
        image = photographs[index % len(photographs)]
        width, height = 380, 285
        left, upper = (
            int(rng.integers(n - m + 1))
            for n, m in zip(image.size, (width, height), strict=True)
        )
        box = left, upper, left + width, upper + height
        files.append(str(folder / f"{index:05}.jpg"))
        image.resize((500, 375), Image.Resampling.LANCZOS, box=box).save(
            files[-1], quality=90
        )
    return files


class _Files:
    """Encoded examples, as TFDS gives them."""

    def __init__(self, files: list[str]):
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> dict:
        return {"image": pathlib.Path(self._files[index]).read_bytes(), "label": 0}


def _ours(files: list[str]) -> Callable[[], dict[str, float]]:
    source = sources.Source("files", "train", _Files(files), ("one",))
    stream = batches.training(
        source, size=_SIZE, resize=_RESIZE, batch_size=_BATCH, seed=0
    )

    def run() -> dict[str, float]:
        # What was made while the other sides ran does not count. Threads end their
        # batches at about the same time: many are counted.
        for _ in itertools.islice(stream, 2 * reading.AHEAD.prefetch_buffer_size):
            pass
        counted = itertools.islice(stream, len(files) // _BATCH)
        return {"": timing.once(lambda: list(counted))}

    return run


def _torch(torch, files: list[str], *, tensors: bool) -> None:
    """Pillow reads; it resizes, or PyTorch does: torchvision's transforms do either."""
    rng = np.random.default_rng(0)

    class Crops(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int):
            image = Image.open(files[index]).convert("RGB")
            scale = _RESIZE / min(image.size)
            size = tuple(round(n * scale) for n in image.size)
            left, upper = (int(rng.integers(n - _SIZE[0] + 1)) for n in size)
            if tensors:
                pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
                whole = torch.nn.functional.interpolate(
                    pixels, size[::-1], mode="bicubic", antialias=True
                )[0]
                return whole[:, upper : upper + _SIZE[0], left : left + _SIZE[1]], 0
            whole = image.resize(size, Image.Resampling.BICUBIC)
            box = left, upper, left + _SIZE[1], upper + _SIZE[0]
            return torch.from_numpy(np.array(whole.crop(box))), 0

    loader = torch.utils.data.DataLoader(
        Crops(), batch_size=_BATCH, shuffle=True, drop_last=True
    )
    for _ in loader:
        pass


def _tensorflow(
    config: InputConfig, folder: str, filter_: str
) -> Callable[[], dict[str, float]]:
    def run() -> dict[str, float]:
        command = config.tensorflow_python, _TENSORFLOW, folder, filter_, str(_BATCH)
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise BadInput(
                "tf.data: the Python of --tensorflow_python has no tensorflow; pip "
                "install tensorflow-cpu in an environment and name its Python"
            )
        return {"": float(ran.stdout)}

    return run
