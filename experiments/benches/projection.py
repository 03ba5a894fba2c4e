"""The gallery: a pass over images, then nine projections a map; ours and Captum's.

Captum projects a sample of each layer's units one by one, and what it took is scaled to
all of them; its pass is PyTorch's forward pass and top-k over a sample of the images.
Ours does all of it, or with --maps as many maps of each layer, scaled as well.
"""

import functools
import math
import resource
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from absl import flags

from experiments.benches import timing
from zf_jax import convnet, geometry, spec
from zf_jax.layers import Conv
from zf_jax.probes import gallery

_IMAGES = flags.DEFINE_integer("images", 2000, "of the pass", lower_bound=9)
_TOGETHER = flags.DEFINE_integer("together", 32, "images of the pass in a batch")
_SAMPLE = flags.DEFINE_integer("sample", 4, "units a layer that Captum projects")
_MAPS = flags.DEFINE_integer(
    "maps", 0, "maps of each layer that ours projects; 0: all", lower_bound=0
)
_K, _SIDES = 9, ("zf_jax", "Captum")


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
        one, other = divmod(int(index), self._side)
        return self._made[one] + self._made[self._side + other]

    def batches(self, size: int):
        """[N, H, W, 3], in order."""
        for first in range(0, self._count, size):
            numbers = range(first, min(first + size, self._count))
            yield np.stack([self[i] for i in numbers])


def _noise(seed: int, size: tuple[int, int]) -> np.ndarray:
    rng, total = np.random.default_rng(seed), np.zeros((*size, 3), "f4")
    for step in (4, 16, 64):
        shape = [-(-n // step) for n in size]
        coarse = rng.normal(size=(*shape, 3)).astype("f4") * 28
        fine = coarse.repeat(step, axis=0).repeat(step, axis=1)
        total += fine[: size[0], : size[1]]
    return total


class Part(NamedTuple):
    """One side's part of the work.

    Attributes:
      run: does a share of it.
      scale: how many such shares there are.
    """

    run: Callable[[], None]
    scale: float


def bench() -> dict[str, timing.Measured]:
    """The pass, and the projections layer by layer, of both sides."""
    net = _filters(spec.by_name(flags.FLAGS.spec))
    model = convnet.ConvNet(net, kernel_init=jax.nn.initializers.he_normal())
    images = Images(_IMAGES.value, net.input.size)
    params = jax.jit(model.init)(jax.random.key(0), images[0][None])["params"]

    def read_maps(pixels):
        return model.apply({"params": params}, pixels)[1].maps

    def our_pass():
        best = gallery.strongest(read_maps, images.batches(_TOGETHER.value), k=_K)
        return jax.device_get(best)

    best = our_pass()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory after a pass over {len(images)} images: {peak:.2f} GiB")
    ours = {"pass": Part(our_pass, 1)}
    for layer in net.layers:
        count = len(best[layer.name].values)
        maps = np.arange(min(_MAPS.value or count, count))
        project = functools.partial(
            gallery.project, net, params, images, best, layer=layer.name, maps=maps
        )
        ours[layer.name] = Part(project, count / len(maps))
    theirs = _captum(net, params, images, best)
    sides = {f"zf_jax {name}": part for name, part in ours.items()}
    sides |= {f"Captum {name}": part for name, part in theirs.items()}
    found = timing.measure({name: part.run for name, part in sides.items()})
    measured = {name: side.scaled(sides[name].scale) for name, side in found.items()}
    _tell(net, measured)
    return measured


def _filters(net: spec.Spec) -> spec.Spec:
    """The net up to its last filter: the layers that have maps."""
    return net.upto(
        [each.name for each in net.layers if isinstance(each.filter, Conv)][-1]
    )


def _captum(net, params, images: Images, best) -> dict[str, Part]:
    """PyTorch's pass over a batch, and Captum's projections of a sample."""
    torch = timing.import_reference()
    from captum import attr

    from experiments import reference

    model = reference.make(net).eval()
    reference.load(model, net, params)
    relus = [module for module in model if isinstance(module, torch.nn.ReLU)]
    relus = dict(zip([layer.name for layer in net.layers], relus, strict=True))

    def tensor(image):
        return torch.from_numpy(np.asarray(image).transpose(2, 0, 1)[None].copy())

    def run_pass():
        with torch.no_grad():
            x = torch.cat([tensor(images[i]) for i in range(_TOGETHER.value)])
            for module in model:
                x = module(x)
                if isinstance(module, torch.nn.ReLU):
                    torch.topk(x.amax((2, 3)), min(_K, len(x)), dim=0)

    def run_layer(method, layer):
        rng = np.random.default_rng(0)
        values, indices, positions = best[layer]
        live = np.argwhere((indices >= 0) & (values > 0))
        for channel, rank in rng.permutation(live)[: _SAMPLE.value]:
            image = tensor(images[indices[channel, rank]]).requires_grad_()
            method.attribute(image, (channel, *positions[channel, rank].tolist()))

    parts = {"pass": Part(run_pass, len(images) / _TOGETHER.value)}
    for layer, relu in relus.items():
        method = attr.NeuronDeconvolution(model, relu)
        count = best[layer].values.shape[0] * _K
        run = functools.partial(run_layer, method, layer)
        parts[layer] = Part(run, count / _SAMPLE.value)
    return parts


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
