"""Features of a trained net, computed once and kept in files."""

import contextlib
import math
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from experiments.common import dataset, output, topk_pass
from experiments.common.model import LoadedModel
from zf_jax import cli, io
from zf_jax.errors import BadInput
from zf_jax.probes import batched, transfer

# Characters of a fingerprint in a file's name.
_DIGITS = 16


def compute(
    loaded: LoadedModel,
    data: dataset.Dataset,
    layers: Sequence[str],
    folder: pathlib.Path,
) -> dict[str, np.ndarray]:
    """The output of each layer, flattened.

    Each layer has a file in the folder, which is filled batch by batch and
    memory-mapped. Its name tells the net's weights, the images and the layer: other
    features are computed anew, and a damaged file is set aside.

    Returns:
      By layer: [N, D] float32, N images in the order of `data`.

    Raises:
      BadInput: those of a layer would not fit into memory.
    """
    one = jax.ShapeDtypeStruct((1, *data.cut["size"], loaded.input.channels), "f4")
    _, outputs = jax.eval_shape(loaded.with_outputs(layers), one)
    sizes = {
        layer: (len(data), math.prod(each.shape)) for layer, each in outputs.items()
    }
    _check_memory(sizes)
    paths = {}
    for layer in layers:
        key = topk_pass.fingerprint(loaded, data.key, layer)
        paths[layer] = folder / f"{output.slug(layer)}-{key[:_DIGITS]}.npy"
    kept = {layer: _read(paths[layer], sizes[layer]) for layer in layers}
    missing = [layer for layer in layers if kept[layer] is None]
    for layer in missing:
        # Of earlier weights or images.
        for old in folder.glob(f"{output.slug(layer)}-{'[0-9a-f]' * _DIGITS}.npy"):
            old.unlink()
    if missing:
        files = {layer: (paths[layer], sizes[layer]) for layer in missing}
        _fill(loaded, data, files)
    return {layer: _read(paths[layer], sizes[layer]) for layer in layers}


def _check_memory(sizes: dict[str, tuple[int, int]]) -> None:
    largest = transfer.MAX_FEATURE_BYTES
    for layer, (count, width) in sizes.items():
        if (size := 4 * count * width) > largest:
            raise BadInput(
                f"{layer}: the features of {count:,} images take {size / 2**30:.1f} "
                f"GiB, more than {largest / 2**30:.0f}; leave it out of --layers or "
                "give a smaller --per_class, --test_per_class or --folds"
            )


def _fill(
    loaded: LoadedModel,
    data: dataset.Dataset,
    files: dict[str, tuple[pathlib.Path, tuple[int, int]]],
) -> None:
    """One pass for all layers; the files appear when it is through."""
    apply = loaded.with_outputs(list(files))

    def features(pixels):
        _, outputs = apply(loaded.model.prepare(pixels))
        return {layer: outputs[layer].reshape(len(pixels), -1) for layer in files}

    with contextlib.ExitStack() as stack:
        arrays = {}
        for layer, (path, shape) in files.items():
            fresh = stack.enter_context(io.atomic_write(path))
            arrays[layer] = np.lib.format.open_memmap(
                fresh, "w+", dtype=np.float32, shape=shape
            )
        with cli.progress(total=len(data), desc="features", unit=" images") as bar:
            for found in batched.map_batches(features, data.batches()):
                for layer, rows in found.items():
                    arrays[layer][bar.n : bar.n + len(rows)] = rows
                bar.update(len(rows))
        for array in arrays.values():
            array.flush()


def _read(path: pathlib.Path, shape: tuple[int, int]) -> np.ndarray | None:
    """The features of a file; None where there is none, or it is damaged."""
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
