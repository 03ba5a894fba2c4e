"""The gallery: a pass over images, then nine projections a channel; ours and Captum's.

Ours does all of it, the highest layer first. Captum projects a sample of each layer's
units one by one, and what it took is scaled to all of them; its pass is PyTorch's
forward pass and top-k over a sample of the images. What is scaled is to be what one of
thousands takes: the first ones after ours, which take up to twice as long, go untimed.
"""

import dataclasses
import functools
import time
from collections.abc import Callable

import jax
import numpy as np

from benchmarks import nets, noise, timing
from zf_jax import cli, spec
from zf_jax.probes import projection, topk

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


class _Gallery:
    """What both sides project: images, a net, and the units that excite it most."""

    def __init__(self, config: ProjectionConfig):
        self.config = config
        self.net = nets.to_last_filter(spec.by_name(config.common.spec))
        self._model, self.params = nets.initialise(self.net)
        self.images = noise.Images(config.images, self.net.input.size)
        self.best = self.run_pass()
        self.channels = {
            layer.name: _spread(len(self.best[layer.name].values), config.channels)
            for layer in self.net.layers
        }

    def run_pass(self) -> dict[str, topk.TopK]:
        def read_maps(pixels):
            return self._model.apply({"params": self.params}, pixels)[1].maps

        batches = self.images.batches(self.config.common.batch_size)
        return jax.device_get(topk.scan(read_maps, batches, k=_K))

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
    projector = projection.Projector(
        gallery.net, gallery.params, gallery.images, gallery.best, gallery.channels
    )
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

    from benchmarks import reference

    model = reference.make(gallery.net).eval()
    reference.load(model, gallery.net, gallery.params)
    relus = [module for module in model if isinstance(module, torch.nn.ReLU)]
    relus = dict(zip(gallery.channels, relus, strict=True))
    batch_size = gallery.config.common.batch_size

    def tensor(index):
        return torch.tensor(gallery.images[index].transpose(2, 0, 1)[None])

    def project(layer, units):
        method = attr.NeuronDeconvolution(model, relus[layer])
        _, indices, positions = gallery.best[layer]
        for channel, rank in units:
            image = tensor(indices[channel, rank]).requires_grad_()
            neuron = channel, *positions[channel, rank].tolist()
            method.attribute(image, neuron).detach().cpu()

    def run() -> dict[str, float]:
        batch = torch.cat([tensor(index) for index in range(batch_size)])
        run_pass = functools.partial(_torch_pass, torch, model, batch)
        run_pass()
        scale = len(gallery.images) / batch_size
        seconds = {"pass": timing.once(run_pass) * scale}
        for layer in relus:
            units = _sample(gallery, layer)
            project(layer, units[:_UNTIMED])
            taken = timing.once(functools.partial(project, layer, units))
            seconds[layer] = taken * gallery.units(layer) / len(units)
        return seconds

    return run


def _torch_pass(torch, model, batch) -> None:
    """The forward pass of a batch, and the top-k of every ReLU's channels."""
    with torch.no_grad():
        for module in model:
            batch = module(batch)
            if isinstance(module, torch.nn.ReLU):
                k = min(_K, len(batch))
                torch.topk(batch.amax((2, 3)), k, dim=0).values.cpu()


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
        f"{gallery.net.name}, {len(gallery.images)} images, {_K} projections a channel"
    )
    print(f"{'':14} {'zf_jax':>10} {'Captum, scaled':>15} {'':10} {'one takes':>12}")
    for name, (ours, captum) in rows.items():
        line = f"{name:14} {ours:8.2f} s {captum:13.1f} s {captum / ours:8.1f} x"
        if name in gallery.channels:
            line += f" {1e3 * ours / gallery.units(name):9.2f} ms"
        print(line)
