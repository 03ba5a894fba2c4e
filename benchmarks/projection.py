"""The gallery: a pass over images, then nine projections a channel; ours and Captum's.

Ours does all of it, the highest layer first. Captum projects a sample of each layer's
units, as many a call as it is fastest with, and what it took is scaled to all of
them; its pass is PyTorch's forward pass and top-k over a sample of the images. What is
scaled is to be what one of thousands takes: the first ones after ours, which take up to
twice as long, go untimed.
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable

import jax
import numpy as np

from benchmarks import nets, noise, timing
from zf_jax import cli
from zf_jax.probes import topk

_K = 9
_OURS, _CAPTUM = "zf_jax", "Captum"
# Units of a layer that Captum projects before its time is taken, and then once more.
_UNTIMED = 4


@dataclasses.dataclass(frozen=True)
class ProjectionConfig:
    """A net, how many images are passed through, and what is projected."""

    common: timing.CommonConfig = timing.CommonConfig()
    images: int = cli.field(2000, "images of the pass", minimum=_K)
    channels: int | None = cli.field(
        None, "channels projected of each layer, evenly spread; all if unset", minimum=1
    )
    sample: int = cli.field(32, "units of a layer that Captum projects", minimum=1)
    captum_batches: tuple[int, ...] = cli.field(
        (1, 4, 16), "units a call of Captum, of which the best is taken", minimum=1
    )


class _Gallery:
    """What both sides project: images, a net, and the units that excite it most."""

    def __init__(self, config: ProjectionConfig):
        self.config = config
        self.trunk = nets.trunk(config.common)
        self.images = noise.Images(config.images, self.trunk.size)
        self.best = self.run_pass()
        self.channels = {
            layer: _spread(count, config.channels)
            for layer, count in self.trunk.channels.items()
        }

    def run_pass(self) -> dict[str, topk.TopK]:
        batches = self.images.batches(self.config.common.batch_size)
        return jax.device_get(topk.scan(self.trunk.maps, batches, k=_K))

    def units(self, layer: str) -> int:
        """How many are projected of a layer."""
        return _K * len(self.channels[layer])


def bench(config: ProjectionConfig) -> dict[str, timing.Measured]:
    """The pass, and the projections layer by layer, of both sides."""
    gallery = _Gallery(config)
    print(
        f"peak memory after a pass over {config.images} images: "
        f"{timing.peak_memory() / 1024:.2f} GiB"
    )
    sides = {_OURS: functools.partial(_ours, gallery), _CAPTUM: _captum(gallery)}
    measured = timing.measure_parts(sides, config.common.runs)
    _print(gallery, measured)
    return measured


def _spread(count: int, wanted: int | None) -> np.ndarray:
    """`wanted` of `count` channels, evenly spread; all where it is None."""
    if wanted is None or wanted >= count:
        return np.arange(count)
    return np.arange(wanted) * count // wanted


def _ours(gallery: _Gallery) -> dict[str, float]:
    """Seconds of the pass and of each layer."""
    seconds = {"pass": timing.once(gallery.run_pass)}
    began = time.perf_counter()
    projector = gallery.trunk.projector(gallery.images, gallery.best, gallery.channels)
    # What is computed of images for all layers counts for the highest.
    for layer, channels in reversed(gallery.channels.items()):
        projector.project(layer, channels)
        seconds[layer] = time.perf_counter() - began
        began += seconds[layer]
    return seconds


def _captum(gallery: _Gallery) -> Callable[[], dict[str, float]]:
    """PyTorch's pass over a batch, and Captum's projections of a sample; scaled."""
    torch = timing.import_torch(gallery.config.common)
    from captum import attr

    model, relus = gallery.trunk.reference()
    batch_size = gallery.config.common.batch_size

    def tensor(indices):
        images = np.stack([gallery.images[index] for index in indices])
        return torch.tensor(images.transpose(0, 3, 1, 2))

    def project(layer, units, per_call):
        method = attr.NeuronDeconvolution(model, relus[layer])
        _, indices, positions = gallery.best[layer]
        for first in range(0, len(units), per_call):
            channels, ranks = units[first : first + per_call].T
            at = np.arange(len(ranks)), channels, *positions[channels, ranks].T
            images = tensor(indices[channels, ranks]).requires_grad_()
            method.attribute(images, lambda maps, at=at: maps[at]).detach().cpu()

    @functools.cache
    def best_per_call(layer) -> int:
        units, taken = _sample(gallery, layer), {}
        # The first ones of all may take ten times as long.
        project(layer, units, gallery.config.captum_batches[0])
        for per_call in gallery.config.captum_batches:
            seconds = timing.once(functools.partial(project, layer, units, per_call))
            taken[per_call] = seconds / len(units)
        found = ", ".join(f"{n}: {1e3 * s:.1f} ms" for n, s in taken.items())
        best = min(taken, key=taken.get)
        print(f"Captum's {layer} by units a call ({found} a unit): {best} is best")
        return best

    def run() -> dict[str, float]:
        batch = tensor(range(batch_size))
        run_pass = functools.partial(_torch_pass, torch, model, relus, batch)
        run_pass()
        scale = len(gallery.images) / batch_size
        seconds = {"pass": timing.once(run_pass) * scale}
        for layer in relus:
            units, per_call = _sample(gallery, layer), best_per_call(layer)
            project(layer, units[:_UNTIMED], per_call)
            taken = timing.once(functools.partial(project, layer, units, per_call))
            seconds[layer] = taken * gallery.units(layer) / len(units)
        return seconds

    return run


def _torch_pass(torch, model, relus, batch) -> None:
    """The forward pass of a batch, and the top-k of every layer's channels."""

    def keep(_, __, maps) -> None:
        k = min(_K, len(maps))
        torch.topk(maps.amax((2, 3)), k, dim=0).values.cpu()

    with torch.no_grad(), contextlib.ExitStack() as hooks:
        for relu in relus.values():
            hooks.callback(relu.register_forward_hook(keep).remove)
        model(batch)


def _sample(gallery: _Gallery, layer: str) -> np.ndarray:
    """[S, 2] int, channel and rank of some of the units that an image excites."""
    channels, best = gallery.channels[layer], gallery.best[layer]
    live = (best.images[channels] >= 0) & (best.values[channels] > 0)
    rows, ranks = np.nonzero(live)
    units = np.stack([channels[rows], ranks], axis=1)
    return np.random.default_rng(0).permutation(units)[: gallery.config.sample]


def _print(gallery: _Gallery, measured: dict[str, timing.Measured]) -> None:
    """A table: what all units of a layer take on either side, and one of them."""
    rows = {
        part: [measured[f"{side} {part}"].median for side in (_OURS, _CAPTUM)]
        for part in ("pass", *gallery.channels)
    }
    total = np.sum(list(rows.values()), axis=0)
    rows |= {"projections": total - rows["pass"], "all": total}
    print(
        f"{gallery.trunk.name}, {len(gallery.images)} images, "
        f"{_K} projections a channel"
    )
    print(f"{'':14} {'zf_jax':>10} {'Captum, scaled':>15} {'':10} {'one takes':>12}")
    for name, (ours, captum) in rows.items():
        line = f"{name:14} {ours:8.2f} s {captum:13.1f} s {captum / ours:8.1f} x"
        if name in gallery.channels:
            line += f" {1e3 * ours / gallery.units(name):9.2f} ms"
        print(line)
