"""The gallery: a pass over images, then nine projections a map; ours and Captum's.

Ours does all of it, the highest layer first. Captum projects a sample of each layer's
units one by one, and what it took is scaled to all of them; its pass is PyTorch's
forward pass and top-k over a sample of the images. What is scaled is to be what one of
thousands takes: the first ones after ours, which take up to twice as long, go untimed.
"""

import functools
import math
import resource
import time
from collections.abc import Callable

import jax
import numpy as np
from absl import flags

from benchmarks import timing
from zf_jax import convnet, geometry, spec, xla
from zf_jax.layers import Conv
from zf_jax.probes import projection, topk

_IMAGES = flags.DEFINE_integer("images", 2000, "of the pass", lower_bound=9)
_TOGETHER = flags.DEFINE_integer("together", 32, "images of the pass in a batch")
_SAMPLE = flags.DEFINE_integer("sample", 32, "units a layer that Captum projects")
_K, _SIDES = 9, ("zf_jax", "Captum")
# Units a layer that Captum projects before its time is taken, and then once more.
_AHEAD = 4


class Images:
    """Noise that is smooth at several scales, by index; quick to look at."""

    def __init__(self, count: int, size: tuple[int, int]):
        self._count = count
        side = math.isqrt(count - 1) + 1
        self._made = [_noise(number, size) for number in range(2 * side)]
        self._side = side

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        """[H, W, 3] float32, around 0: the sum of two, each pair but once."""
        return self._sum(index, None)

    def _sum(self, index: int, out: np.ndarray | None) -> np.ndarray:
        one, other = divmod(int(index), self._side)
        return np.add(self._made[one], self._made[self._side + other], out)

    def batches(self, size: int):
        """[N, H, W, 3], in order."""
        for first in range(0, self._count, size):
            count = min(size, self._count - first)
            batch = np.empty((count, *self._made[0].shape), np.float32)
            for number, image in enumerate(batch, first):
                self._sum(number, image)
            yield batch


def _noise(seed: int, size: tuple[int, int]) -> np.ndarray:
    rng, total = np.random.default_rng(seed), np.zeros((*size, 3), "f4")
    for step in (4, 16, 64):
        shape = [-(-n // step) for n in size]
        coarse = rng.normal(size=(*shape, 3)).astype("f4") * 28
        fine = coarse.repeat(step, axis=0).repeat(step, axis=1)
        total += fine[: size[0], : size[1]]
    return total


def bench() -> dict[str, timing.Measured]:
    """The pass, and the projections layer by layer, of both sides."""
    net = to_last_filter(spec.by_name(flags.FLAGS.spec))
    model = convnet.ConvNet(net, kernel_init=jax.nn.initializers.he_normal())
    images = Images(_IMAGES.value, net.input.size)
    params = xla.jit(model.init)(jax.random.key(0), images[0][None])["params"]

    def read_maps(pixels):
        return model.apply({"params": params}, pixels)[1].maps

    def run_pass():
        best = topk.scan(read_maps, images.batches(_TOGETHER.value), k=_K)
        return jax.device_get(best)

    best = run_pass()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory after a pass over {len(images)} images: {peak:.2f} GiB")

    def run_ours() -> dict[str, float]:
        seconds = {"pass": timing.once(run_pass)}
        began = time.perf_counter()
        every = {layer.name: None for layer in net.layers}
        projector = projection.Projector(net, params, images, best, every)
        # What is computed of images for all layers counts for the highest.
        for layer in reversed(every):
            projector.project(layer)
            seconds[layer] = time.perf_counter() - began
            began += seconds[layer]
        return seconds

    runs = dict(
        zip(_SIDES, (run_ours, _captum(net, params, images, best)), strict=True)
    )
    measured = timing.measure_parts(runs)
    _tell(net, measured)
    return measured


def to_last_filter(net: spec.Spec) -> spec.Spec:
    """The net up to its last filter: the layers that have maps."""
    return net.upto(
        [each.name for each in net.layers if isinstance(each.filter, Conv)][-1]
    )


def _captum(net, params, images: Images, best) -> Callable[[], dict[str, float]]:
    """PyTorch's pass over a batch, and Captum's projections of a sample; scaled."""
    torch = timing.import_reference()
    from captum import attr

    from benchmarks import reference

    model = reference.make(net).eval()
    reference.load(model, net, params)
    relus = [module for module in model if isinstance(module, torch.nn.ReLU)]
    relus = dict(zip([layer.name for layer in net.layers], relus, strict=True))

    def tensor(image):
        return torch.tensor(np.asarray(image).transpose(2, 0, 1)[None])

    def run_pass():
        with torch.no_grad():
            x = torch.cat([tensor(images[i]) for i in range(_TOGETHER.value)])
            for module in model:
                x = module(x)
                if isinstance(module, torch.nn.ReLU):
                    torch.topk(x.amax((2, 3)), min(_K, len(x)), dim=0).values.cpu()

    def sample(layer) -> np.ndarray:
        rng, (values, indices, _) = np.random.default_rng(0), best[layer]
        live = np.argwhere((indices >= 0) & (values > 0))
        return rng.permutation(live)[: _SAMPLE.value]

    def project(layer, units):
        method = attr.NeuronDeconvolution(model, relus[layer])
        _, indices, positions = best[layer]
        for channel, rank in units:
            image = tensor(images[indices[channel, rank]]).requires_grad_()
            place = channel, *positions[channel, rank].tolist()
            method.attribute(image, place).detach().cpu()

    def run() -> dict[str, float]:
        run_pass()
        seconds = {"pass": timing.once(run_pass) * len(images) / _TOGETHER.value}
        for layer in relus:
            units = sample(layer)
            project(layer, units[:_AHEAD])
            taken = timing.once(functools.partial(project, layer, units))
            seconds[layer] = taken * len(best[layer].values) * _K / len(units)
        return seconds

    return run


def _tell(net, measured: dict[str, timing.Measured]) -> None:
    """The table: what all units of a layer take on either side, and one of them."""
    rows, totals = [], np.zeros((2, 2))
    for name in ["pass", *(layer.name for layer in net.layers)]:
        own, other = (measured[f"{side} {name}"].median for side in _SIDES)
        totals += np.outer([1.0, float(name != "pass")], [own, other])
        rows.append((name, own, other))
    rows += [("projections", *totals[1]), ("all", *totals[0])]
    print(f"{net.name}, {_IMAGES.value} images, {_K} projections a map")
    print(f"{'':14} {'zf_jax':>10} {'Captum, scaled':>15} {'':10} {'one takes':>12}")
    for name, own, other in rows:
        line = f"{name:14} {own:8.2f} s {other:13.1f} s {other / own:8.1f} x"
        if name not in ("pass", "projections", "all"):
            count = _K * geometry.shapes(net)[name].maps[-1]
            line += f" {1e3 * own / count:9.2f} ms"
        print(line)
