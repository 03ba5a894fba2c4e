"""Strict modes for every test, its devices, and what several tests share."""

import contextlib
import dataclasses
import gc
import hashlib
import os
import pathlib
import platform

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "PYTEST_XDIST_WORKER" in os.environ:
    # A thread a worker: several would wait for one another. XLA reads NPROC.
    os.environ |= {"NPROC": "1", "OMP_NUM_THREADS": "1"}

import jax
import numpy as np
import pytest

from tests import small_creatures
from zf_jax import layers, spec, xla
from zf_jax.data import sources
from zf_jax.training import loop, recipe

jax.config.update("jax_numpy_rank_promotion", "raise")

xla.set_flags()


def _processor() -> str:
    """Tells one kind of processor from another: a program is compiled for one."""
    described = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        described += next((line for line in lines if line.startswith("flags")), "")
    return hashlib.sha256(described.encode()).hexdigest()[:16]


# What is compiled is kept between runs and shared by workers, small programs too.
_CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
jax.config.update(
    "jax_compilation_cache_dir", str(_CACHE / "zf_jax_tests" / _processor())
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

_COMPILED = []


def _listen(event: str, seconds: float, **_) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _COMPILED.append(seconds)


# For good: JAX has no public way to take a listener away.
jax.monitoring.register_event_duration_secs_listener(_listen)


# A test and its fixtures see one device; a test marked with `devices` sees two.
_EVERY_DEVICE = tuple(jax.devices())
_seen = [1]
for _name in ("devices", "local_devices"):
    setattr(jax, _name, lambda *_, **__: list(_EVERY_DEVICE[: _seen[0]]))
for _name in ("device_count", "local_device_count"):
    setattr(jax, _name, lambda *_, **__: _seen[0])


@pytest.fixture(autouse=True)
def _see_devices(request):
    if request.node.get_closest_marker("devices"):
        _seen[0] = 2
    yield
    _seen[0] = 1


@pytest.fixture(scope="module", autouse=True)
def _forget_compilations():
    """Gives compiled programs back before the process runs out of memory maps.

    Each program takes several, and Linux allows a process some 65,530. What is needed
    again is read from the cache on disk.
    """
    yield
    with contextlib.suppress(OSError):
        limit = int(pathlib.Path("/proc/sys/vm/max_map_count").read_text())
        used = pathlib.Path("/proc/self/maps").read_bytes().count(b"\n")
        if used > limit / 2:
            jax.clear_caches()
            gc.collect()


@pytest.fixture
def compilations():
    """`with compilations() as found:` fills `found` with an entry per compilation."""

    @contextlib.contextmanager
    def count():
        before, found = len(_COMPILED), []
        yield found
        found += _COMPILED[before:]

    return count


@pytest.fixture(scope="session")
def creatures_dir(tmp_path_factory):
    """A data_dir that holds a small creatures/64, of `small_creatures`."""
    folder = tmp_path_factory.mktemp("data")
    small_creatures.prepare(folder)
    return folder


@pytest.fixture(scope="session")
def toy():
    """A net and a data set that train in a second: `toy.run(epochs=2, ...)`."""
    return _Toy()


class _Toy:
    """Three classes of images, told by colour, and a net that learns them at once."""

    def __init__(self):
        pool = layers.Pool(3, 2, ((0, 1), (0, 1)))
        self.net = spec.Spec(
            "toy",
            spec.Input(16, mean=(128.0, 128.0, 128.0), scale=1 / 64),
            (
                layers.Layer(
                    "layer1",
                    (layers.Conv(6, 3, 2, 1), layers.Relu(), pool, layers.LRN()),
                ),
                layers.Layer(
                    "layer2",
                    (
                        layers.Flatten(),
                        layers.Dense(12),
                        layers.Relu(),
                        layers.Dropout(),
                    ),
                ),
                layers.Layer("layer3", (layers.Dense(3),)),
            ),
        )

    def without_dropout(self):
        """The same net, the same from step to step."""
        kept = [
            dataclasses.replace(
                layer,
                ops=tuple(op for op in layer.ops if not isinstance(op, layers.Dropout)),
            )
            for layer in self.net.layers
        ]
        return dataclasses.replace(self.net, layers=tuple(kept))

    def source(self, count=48, split="train", seed=0, name="toy"):
        """`count` images of 18 x 20 pixels, each class brighter in its own colour."""
        rng, examples = np.random.default_rng([seed, len(split)]), []
        for index in range(count):
            image = rng.integers(0, 180, (18, 20, 3), np.uint8)
            image[..., index % 3] += 75
            examples.append({"image": image, "label": index % 3})
        return sources.Source(name, split, examples, ("red", "green", "blue"))

    def run(self, net=None, train=None, **recipe_fields):
        """A `loop.Run` of six steps an epoch."""
        fields = {
            "epochs": 2,
            "batch_size": 8,
            "learning_rate": 0.05,
            "init": "he",
            "filter_rms": 0.0,
            "resize": 18,
        }
        return loop.Run(
            net or self.net,
            recipe.Recipe(**fields | recipe_fields),
            train or self.source(),
            self.source(20, "validation"),
        )
