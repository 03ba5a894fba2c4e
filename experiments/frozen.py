"""Features of a trained net, computed once and kept."""

import contextlib
import math
import pathlib
from collections.abc import Sequence

import numpy as np

from experiments.common import dataset, model, topk_pass
from zf_jax import cli, convnet, geometry, io
from zf_jax.errors import BadInput
from zf_jax.probes import batched, transfer

# Of a fingerprint, in a file's name.
_DIGITS = 16


def features(
    known: model.LoadedModel,
    data: dataset.Dataset,
    layers: Sequence[str],
    folder: pathlib.Path,
) -> dict[str, np.ndarray]:
    """What the next layer sees of each, flattened: pooled maps, or units.

    Each layer is a file of the folder, filled batch by batch and read where it lies.
    Its name tells the net's weights, the images and the layer: other features are
    computed anew, and a damaged file is set aside.

    Returns:
      By layer: [N, D] float32, N images in the order of `data`.

    Raises:
      BadInput: those of a layer would not fit into memory.
    """
    shapes = geometry.shapes(known.net, data.cut["size"])
    wide = {layer: (len(data), math.prod(shapes[layer].output)) for layer in layers}
    for layer, (count, each) in wide.items():
        if (size := 4 * count * each) > transfer.MAX_FEATURE_BYTES:
            raise BadInput(
                f"{layer}: the features of {count:,} images take {size / 2**30:.1f} "
                f"GiB, more than {transfer.MAX_FEATURE_BYTES / 2**30:.0f}; leave it "
                "out of --layers or give a smaller --per_class, --test or --folds"
            )
    paths = {}
    for layer in layers:
        key = topk_pass.fingerprint(known.net, known.params, data.key, layer)
        paths[layer] = folder / f"{layer}-{key[:_DIGITS]}.npy"
    found = {layer: _kept(paths[layer], wide[layer]) for layer in layers}
    missing = [layer for layer in layers if found[layer] is None]
    if missing:
        for layer in missing:
            # Of earlier weights or images.
            for old in folder.glob(f"{layer}-{'[0-9a-f]' * _DIGITS}.npy"):
                old.unlink()
        _compute(known, data, {layer: (paths[layer], wide[layer]) for layer in missing})
    return {layer: _kept(paths[layer], wide[layer]) for layer in layers}


def _compute(known: model.LoadedModel, data: dataset.Dataset, wanted: dict) -> None:
    """One pass for all layers; the files appear when it is through."""
    network = convnet.ConvNet(known.net.upto(max(wanted, key=known.net.index)))
    params = {layer.name: known.params[layer.name] for layer in model.net.layers}

    def read(pixels):
        prepared = convnet.prepare(pixels, known.net.input)
        outputs = network.apply({"params": params}, prepared)[1].outputs
        return {layer: outputs[layer].reshape(len(pixels), -1) for layer in wanted}

    with contextlib.ExitStack() as stack:
        kept = {}
        for layer, (path, shape) in wanted.items():
            fresh = stack.enter_context(io.atomic_write(path))
            kept[layer] = np.lib.format.open_memmap(
                fresh, "w+", dtype=np.float32, shape=shape
            )
        bar = cli.progress(total=len(data), desc="features", unit=" images")
        with bar:
            for found in batched.over(read, data.batches()):
                for layer, rows in found.items():
                    kept[layer][bar.n : bar.n + len(rows)] = rows
                bar.update(len(rows))
        for array in kept.values():
            array.flush()


def _kept(path: pathlib.Path, shape: tuple[int, int]) -> np.ndarray | None:
    if not path.exists():
        return None
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        array = None
    if array is None or array.shape != shape or array.dtype != np.float32:
        topk_pass.set_aside(path)
        return None
    return array
